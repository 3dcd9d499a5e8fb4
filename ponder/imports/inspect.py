"""Inspect logs: .eval (a zip with one JSON document a sample) and .json (one document, read sample by sample).

Epochs become samples. A score's value says what is correct: C and I, true and false, 1 and 0; partial credit and other
grades in [0, 1] are kept as `quality` and are correct from --threshold (1) on. N (no answer) is wrong and abstains. A
sample that errored before it was scored is unverified. `tokens` are the evaluated model's output tokens; those of other
models (graders) go to `verifier_tokens`.

New logs are compressed with zstandard, which Python before 3.14 reads with the package of that name only.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from ponder.errors import UsageError
from ponder.imports.base import Bad, Found, Options, Row, count, identity, opened, text, verdict
from ponder.imports.stream import members

ZSTD = 93
FINISH = {"stop": "stop", "max_tokens": "length", "model_length": "length", "tool_calls": "stop"}
PARTIAL = {"P": 0.5, "p": 0.5}


def records(path: Path, options: Options) -> Iterator[Found]:
    seen: dict[str, None] = {}
    try:
        with opened(path) as stream:
            pairs = _zipped(path, stream) if stream.read(2) == b"PK" else _document(path, stream)
            for where, sample, model in pairs:
                yield _found(path, where, sample, model, options, seen)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{path}: is a broken .eval log ({error}); give a finished log") from None


def _zipped(path: Path, stream: BinaryIO) -> Iterator[tuple[str, Any, str]]:
    """(where, sample, model) of a .eval log, in order of its members."""
    with zipfile.ZipFile(stream) as archive:
        infos = archive.infolist()
        names = {info.filename: info for info in infos}
        header = names.get("header.json") or names.get("_journal/start.json")
        if header is None:
            raise UsageError(f"{path}: holds no header.json; give an Inspect log (.eval or .json)")
        read = _reader(path, archive, stream)
        model = str(json.loads(read(header)).get("eval", {}).get("model", ""))
        for info in infos:
            if info.filename.startswith("samples/") and info.filename.endswith(".json"):
                try:
                    yield info.filename, json.loads(read(info)), model
                except ValueError as error:
                    yield info.filename, Bad(f"broken JSON ({error}); write the log again"), model


def _reader(path: Path, archive: zipfile.ZipFile, stream: BinaryIO) -> Callable[[zipfile.ZipInfo], bytes]:
    def read(info: zipfile.ZipInfo) -> bytes:
        try:
            return archive.read(info)
        except NotImplementedError:
            if info.compress_type != ZSTD:
                raise UsageError(f"{path}: is compressed in an unknown way; `inspect log convert --to json`") from None
        stream.seek(info.header_offset)
        head = stream.read(30)
        stream.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
        return _unzstd(path, stream.read(info.compress_size), info.file_size)

    return read


def _unzstd(path: Path, data: bytes, size: int) -> bytes:
    try:
        return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data))
    except zstandard.ZstdError as error:
        raise zipfile.BadZipFile(str(error)) from None


def _document(path: Path, stream: BinaryIO) -> Iterator[tuple[str, Any, str]]:
    """(where, sample, model) of a .json log."""
    stream.seek(0)
    model = ""
    any_samples = False
    try:
        for key, index, value in members(stream, each="samples", skip=("reductions", "results", "stats", "plan")):
            if key == "eval" and isinstance(value, dict):
                model = str(value.get("model", ""))
            elif key == "samples":
                any_samples = True
                yield f"sample {index + 1}", value, model
    except ValueError as error:
        raise UsageError(f"{path}: is no Inspect log ({error}); give a finished .eval or .json") from None
    if not any_samples and not model:
        raise UsageError(f"{path}: is no Inspect log (no samples, no model); give a .eval or .json log")


def _found(path: Path, place: str, sample: Any, model: str, options: Options, seen: dict[str, None]) -> Found:
    where = f"{path}:{place}"
    try:
        if isinstance(sample, Bad):
            raise sample
        if not isinstance(sample, dict):
            raise Bad("is no object; write the log again")
        return Found(where, (_row(sample, model, options, seen),))
    except Bad as error:
        return Found(where, error=str(error))


def _row(sample: Mapping[str, Any], model: str, options: Options, seen: dict[str, None]) -> Row:
    row: Row = {"problem": identity(sample.get("id"), "id"), "answer": None, "correct": None}
    if (epoch := count(sample.get("epoch"), "epoch")) is not None and epoch > 0:
        row["sample"] = epoch - 1
    scores = sample.get("scores") or {}
    if not isinstance(scores, dict):
        raise Bad("field 'scores': is no object; write the log again")
    if scores:
        row |= _score(scores, options, seen)
    elif error := sample.get("error"):
        row["reason"] = str(error.get("message", error) if isinstance(error, dict) else error)[:500]
    else:
        raise Bad("field 'scores': missing; score the log first (`inspect score`)")
    return row | _output(sample, model)


def _score(scores: Mapping[str, Any], options: Options, seen: dict[str, None]) -> Row:
    seen |= dict.fromkeys(scores)
    name = options.metric
    if name is None:
        if len(seen) > 1:
            raise UsageError(f"the log has scores by {', '.join(seen)}; choose one with --metric")
        name = next(iter(scores))
    if name not in scores:
        raise Bad(f"field 'scores.{name}': missing; the sample has scores by {', '.join(scores)}")
    score = scores[name] if isinstance(scores[name], dict) else {"value": scores[name]}
    value = score.get("value")
    if isinstance(value, str):
        value = PARTIAL.get(value, value)
    row = verdict(value, f"scores.{name}.value", options.threshold)
    row["answer"] = None if value in ("N", "n") else text(score.get("answer"), f"scores.{name}.answer")
    return row


def _output(sample: Mapping[str, Any], model: str) -> Row:
    row: Row = {}
    output = sample.get("output")
    choices = output.get("choices") if isinstance(output, dict) else None
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    if isinstance(output, dict) and isinstance(output.get("completion"), str):
        row["text"] = output["completion"]
    if sample.get("limit"):
        row["finish"] = "length"
    elif first.get("stop_reason") in FINISH:
        row["finish"] = FINISH[first["stop_reason"]]
    usage = sample.get("model_usage")
    if isinstance(usage, dict) and usage:
        spent = {
            name: count(used.get("output_tokens"), f"model_usage.{name}.output_tokens") or 0
            for name, used in usage.items()
            if isinstance(used, dict)
        }
        own = spent.pop(model) if model in spent else None
        if own is None:  # the evaluated model was replaced or renamed: all tokens are its own
            own, spent = sum(spent.values()), {}
        row["tokens"] = own
        if spent:
            row["verifier_tokens"] = sum(spent.values())
    if model:
        row["policy"] = model
    return row
