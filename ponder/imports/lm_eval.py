"""lm-evaluation-harness: samples_TASK_TIME.jsonl, as `--log_samples` writes them.

A line is one document under one filter: `doc_id`, `filter`, `resps` and `filtered_resps` (a list a request), `target`,
and a value for each name in `metrics`. With repeats and a filter that keeps them all, filtered_resps[0] is a list; its
answers become samples if the metric is a list of as many values. One value for several answers (a vote, a pass@k)
judges none of them: that line is bad. Multiple-choice documents have one log-likelihood a choice; the likeliest is the
answer (under acc: what a normalised metric chose is not in the log). The harness writes no token counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ponder.errors import UsageError
from ponder.imports.base import Bad, Found, Options, Row, identity, objects, text, verdict

KNOWN = ("exact_match", "acc", "pass@1", "pass_at_1", "prompt_level_strict_acc", "em", "score")
"""Metrics of right and wrong, by preference, for lines without `metrics`."""
FIELDS = frozenset(
    {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
     "target_hash"}
)  # fmt: skip
INVALID = "[invalid]"
"""What the regex filters write where nothing matched."""


def records(path: Path, options: Options) -> Iterator[Found]:
    filters: dict[str, None] = {}
    for where, fields in objects(path):
        if isinstance(fields, Bad):
            yield Found(where, error=str(fields))
            continue
        name = str(fields.get("filter", "none"))
        filters[name] = None
        if options.filter is not None:
            if name == options.filter:
                yield _found(where, fields, options)
            continue
        if len(filters) > 1:
            raise UsageError(f"{where}: field 'filter': the file has {', '.join(filters)}; choose one with --filter")
        yield _found(where, fields, options)
    if options.filter is not None and filters and options.filter not in filters:
        raise UsageError(f"{path}: no line has filter {options.filter!r}; known: {', '.join(filters)}")


def _found(where: str, fields: Mapping[str, Any], options: Options) -> Found:
    try:
        return Found(where, tuple(_rows(fields, options)))
    except Bad as error:
        return Found(where, error=str(error))


def _rows(fields: Mapping[str, Any], options: Options) -> list[Row]:
    problem = identity(fields.get("doc_id"), "doc_id")
    metric = _metric(fields, options)
    kept = fields.get("filtered_resps")
    if not isinstance(kept, list) or not kept:
        raise Bad("field 'filtered_resps': missing; write the log with --log_samples")
    if len(kept) > 1 or _likelihood(kept[0]):
        answer = _likeliest(kept) if metric == "acc" else None
        return [{"problem": problem, "answer": answer, **verdict(fields[metric], metric, options.threshold)}]
    answers = kept[0] if isinstance(kept[0], list) else [kept[0]]
    values = fields[metric] if isinstance(fields[metric], list) else [fields[metric]]
    if len(answers) != len(values):
        raise Bad(
            f"field {metric!r}: {len(values)} value for {len(answers)} answers judges none of them; log a filter that "
            "keeps one answer (take_first), a run a seed, or a metric a response"
        )
    texts = _texts(fields.get("resps"), len(answers))
    return [
        {"problem": problem, "answer": _answer(answer), **verdict(value, metric, options.threshold), **more}
        for answer, value, more in zip(answers, values, texts, strict=True)
    ]


def _metric(fields: Mapping[str, Any], options: Options) -> str:
    named = fields.get("metrics")
    names = [str(n) for n in named] if isinstance(named, list) and named else [n for n in fields if n not in FIELDS]
    if options.metric is not None:
        if options.metric not in fields:
            raise Bad(f"field {options.metric!r}: missing; the line has metrics {', '.join(names) or 'none'}")
        return options.metric
    known = [name for name in KNOWN if name in names and name in fields]
    if known:
        return known[0]
    if len(names) == 1 and names[0] in fields:
        return names[0]
    raise Bad(f"field 'metrics': has {', '.join(names) or 'none'}; choose one with --metric")


def _likelihood(value: object) -> bool:
    """Of a multiple-choice request: [log-likelihood, whether it is the greedy one], numbers or text."""
    if not isinstance(value, list) or len(value) != 2 or value[1] not in (True, False, "True", "False"):
        return False
    try:
        float(value[0])
    except (TypeError, ValueError):
        return False
    return True


def _likeliest(kept: list[Any]) -> str:
    if not all(_likelihood(value) for value in kept):
        raise Bad("field 'filtered_resps': has several requests that are no log-likelihoods; map them as jsonl")
    scores = [float(value[0]) for value in kept]
    return str(scores.index(max(scores))) if len(scores) > 1 else str(kept[0][1])


def _answer(value: object) -> str | None:
    found = text(value, "filtered_resps")
    return None if found is None or found.strip() in ("", INVALID) else found


def _texts(resps: object, wanted: int) -> list[Row]:
    """The full responses, where there are as many as answers (a filter may have kept fewer)."""
    first = resps[0] if isinstance(resps, list) and resps else None
    found = first if isinstance(first, list) else [first]
    if len(found) == wanted and all(isinstance(one, str) for one in found):
        return [{"text": one} for one in found]
    return [{} for _ in range(wanted)]
