"""Every Eval Ever: instance-level records (schema 0.2), JSONL, one a line.

`sample_id` is the problem; records that repeat one are its samples. `evaluation.is_correct` is the verdict, the last
terminal `answer_attribution` the answer, `token_usage.output_tokens` the tokens. A file with several evaluations (or
several metrics of one, `evaluation_result_id`) needs --metric, or the same answer would count once for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ponder.errors import UsageError
from ponder.imports.base import Bad, Found, Options, Row, count, identity, objects, text, verdict


def records(path: Path, options: Options) -> Iterator[Found]:
    series: dict[tuple[str, str], None] = {}
    names: dict[str, None] = {}
    for where, fields in objects(path):
        if isinstance(fields, Bad):
            yield Found(where, error=str(fields))
            continue
        key = (str(fields.get("evaluation_name", "")), str(fields.get("evaluation_result_id") or ""))
        names |= {name: None for name in key if name}
        if options.metric is not None and options.metric not in key:
            continue
        series[key] = None
        if len(series) > 1:
            known = ", ".join(names)
            raise UsageError(f"{where}: field 'evaluation_name': the file has {known}; choose one with --metric")
        try:
            yield Found(where, (_row(fields, options),))
        except Bad as error:
            yield Found(where, error=str(error))
    if options.metric is not None and names and not series:
        raise UsageError(f"{path}: no record of {options.metric!r}; known: {', '.join(names)}")


def _row(fields: Mapping[str, Any], options: Options) -> Row:
    evaluation = fields.get("evaluation")
    if not isinstance(evaluation, dict) or "is_correct" not in evaluation:
        raise Bad("field 'evaluation.is_correct': missing; give instance-level records (…_samples.jsonl)")
    problem = identity(fields.get("sample_id"), "sample_id")
    row: Row = {"problem": problem, "answer": _answer(fields)}
    if fields.get("error") and evaluation["is_correct"] is not True:
        row |= {"correct": None, "reason": str(fields["error"])}
    elif options.threshold != 1.0:
        row |= verdict(evaluation.get("score"), "evaluation.score", options.threshold)
    elif isinstance(evaluation["is_correct"], bool):
        row["correct"] = evaluation["is_correct"]
        score = evaluation.get("score")
        if isinstance(score, float) and 0 < score < 1:
            row["quality"] = score
    else:
        raise Bad("field 'evaluation.is_correct': is neither true nor false; correct the record")
    usage = fields.get("token_usage")
    if (
        isinstance(usage, dict)
        and (tokens := count(usage.get("output_tokens"), "token_usage.output_tokens")) is not None
    ):
        row["tokens"] = tokens
    output = fields.get("output")
    if isinstance(output, dict) and isinstance(output.get("raw"), list) and len(output["raw"]) == 1:
        row["text"] = str(output["raw"][0])
    if fields.get("model_id"):
        row["policy"] = str(fields["model_id"])
    return row


def _answer(fields: Mapping[str, Any]) -> str | None:
    found = fields.get("answer_attribution")
    if not isinstance(found, list):
        raise Bad("field 'answer_attribution': missing; give instance-level records (…_samples.jsonl)")
    terminal = [one for one in found if isinstance(one, dict) and one.get("is_terminal", True)]
    return text(terminal[-1].get("extracted_value"), "answer_attribution.extracted_value") if terminal else None
