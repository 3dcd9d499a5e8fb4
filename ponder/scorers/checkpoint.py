"""A scorer's folder: its models, and how their outputs become ratings. `ponder.train` makes them, scorers load them.

FOLDER/scorer.json   Sheet: what the model is and how its outputs become ratings
FOLDER/model/        a transformers checkpoint with its tokenizer
FOLDER/reference/    for kind 'implicit': the model that its log-probs are compared with
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ponder.engines.hf import loading
from ponder.engines.hf.loading import quiet
from ponder.errors import UsageError, storage_error
from ponder.whole import whole_folder

Kind = Literal["implicit", "prm", "orm", "pairwise", "value"]
Aggregate = Literal["last", "min", "product", "mean"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Sheet:
    """scorer.json. `beta` scales an implicit reward; `aggregate` makes a chain's rating from those of its steps
    (implicit rewards are sums already: 'last'). A step ends with the token that completes `delimiter`. `chat`: prompts
    go through the tokenizer's chat template, if it has one. `trained_on`: whatever the trainer wants to be remembered.
    """

    kind: Kind
    delimiter: str = "\n\n"
    beta: float = 1.0
    aggregate: Aggregate = "last"
    chat: bool = True
    trained_on: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"kind {self.kind!r}: one of {', '.join(get_args(Kind))}")
        if self.aggregate not in get_args(Aggregate):
            raise UsageError(f"aggregate {self.aggregate!r}: one of {', '.join(get_args(Aggregate))}")
        if not self.delimiter or not 0 < self.beta < math.inf:
            raise UsageError(f"delimiter {self.delimiter!r} must not be empty and beta {self.beta} be above 0")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A scorer's folder, loaded: transformers' own models, in evaluation mode."""

    sheet: Sheet
    model: Any
    tokenizer: Any
    reference: Any = None


def save(path: str | os.PathLike[str], found: Checkpoint) -> Path:
    """Writes a checkpoint folder whole or not at all, and returns its path. Raises UsageError if something is there
    already, or an implicit one has no reference; StorageError if it cannot be written."""
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{path}: is there already; name another folder, or remove it first")
    if (found.reference is not None) is not (found.sheet.kind == "implicit"):
        raise UsageError(f"{path}: an implicit scorer is saved with its reference model, any other without")
    try:
        with whole_folder(target) as part, quiet():
            found.model.save_pretrained(part / "model")
            found.tokenizer.save_pretrained(part / "model")
            if found.reference is not None:
                found.reference.save_pretrained(part / "reference")
            sheet = json.dumps({"schema": SCHEMA, **asdict(found.sheet)}, indent=2, ensure_ascii=False)
            (part / "scorer.json").write_text(sheet + "\n", encoding="utf-8")
    except OSError as error:
        raise storage_error(path, error) from None
    return Path(path)


def sheet(path: str | os.PathLike[str]) -> Sheet:
    """What a folder holds, without loading it. Raises UsageError."""
    file = Path(path) / "scorer.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "has no scorer.json" if Path(path).is_dir() else "no such folder"
        raise UsageError(f"{path}: {what}; give a scorer's folder, as `ponder train prune` writes it") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({error}); save the scorer again") from None
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise UsageError(f"{file}: is not of schema {SCHEMA}; save the scorer again with this version of ponder")
    if odd := set(values) ^ {f.name for f in fields(Sheet)}:
        raise UsageError(f"{file}: {sorted(odd)[0]!r} is unknown or missing; save the scorer again")
    try:
        return Sheet(**values)
    except (UsageError, TypeError) as error:
        raise UsageError(f"{file}: {error}; save the scorer again") from None


def load(path: str | os.PathLike[str], device: str = "auto") -> Checkpoint:
    """The models of a folder, on the device ('auto': the first GPU, else the CPU). Raises UsageError."""
    found = sheet(path)
    loading.installed()
    import transformers

    where = loading.device(device)
    head = "AutoModelForCausalLM" if found.kind == "implicit" else "AutoModelForTokenClassification"
    tokenizer = _pretrained(transformers.AutoTokenizer, Path(path) / "model")
    models = [
        _pretrained(getattr(transformers, head), Path(path) / name, dtype="auto").to(where).eval()
        for name in ("model", "reference")[: 2 if found.kind == "implicit" else 1]
    ]
    return Checkpoint(found, models[0], tokenizer, models[1] if len(models) > 1 else None)


def _pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: holds no model; save the scorer again, or copy its folder whole")
    try:
        with quiet():
            return kind.from_pretrained(folder, **options)
    except Exception as error:  # whatever transformers, safetensors and tokenizers raise for a damaged file
        told = " ".join(str(error).split())[:300]
        raise UsageError(f"{folder}: cannot be loaded: {told}; save the scorer again") from None
