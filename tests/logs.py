"""Small logs of other tools, in their documented formats, with content of our own: a class of ten-year-olds' sums.

python tests/logs.py docs/guides/data     writes the ones that ship with the guide 'I have logs'
"""

from __future__ import annotations

import json
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL = "mockllm/model"


def attempts(problems: int, samples: int, seed: int = 0) -> Iterator[tuple[int, int, str, str, str | None, int]]:
    """(problem, sample, question, target, answer, tokens): harder problems have strong wrong answers."""
    draw = random.Random(seed)
    for i in range(problems):
        a, b = 12 + 7 * i, 9 + 4 * i
        target = a * b if i % 2 else a + b
        question = f"{a} {'×' if i % 2 else '+'} {b} = ?"
        right = 0.95 - 0.09 * i
        for j in range(samples):
            chance = draw.random()
            answer = str(target) if chance < right else None if chance > 0.96 else str(target + draw.choice((1, 1, 10)))
            yield i, j, question, str(target), answer, draw.randint(20, 120)


def inspect_sample(i: int, j: int, question: str, target: str, answer: str | None, tokens: int) -> dict[str, Any]:
    text = f"I think it is {answer}." if answer else "I do not know."
    usage = {"input_tokens": 15, "output_tokens": tokens, "total_tokens": 15 + tokens}
    value = "C" if answer == target else "I" if answer else "N"
    return {
        "id": i + 1,
        "epoch": j + 1,
        "input": question,
        "target": target,
        "output": {
            "model": MODEL,
            "choices": [{"message": {"role": "assistant", "content": text}, "stop_reason": "stop"}],
            "completion": text,
            "usage": usage,
        },
        "scores": {"match": {"value": value, "answer": answer}},
        "model_usage": {MODEL: usage},
    }


HEADER = {"version": 2, "status": "success", "eval": {"task": "sums", "model": MODEL, "config": {"epochs": 8}}}


def write_inspect(path: Path, samples: list[dict[str, Any]]) -> Path:
    """A .eval or .json log, by its name."""
    if path.suffix == ".json":
        tail = {"reductions": [{"scorer": "match", "samples": [{"sample_id": s["id"], "value": 1.0} for s in samples]}]}
        path.write_text(json.dumps(HEADER | {"results": {"total": len(samples)}, "samples": samples} | tail))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for sample in samples:
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            archive.writestr(info, json.dumps(sample, separators=(",", ":")), zipfile.ZIP_DEFLATED)
        info = zipfile.ZipInfo("header.json", (2026, 1, 1, 0, 0, 0))
        archive.writestr(info, json.dumps(HEADER), zipfile.ZIP_DEFLATED)
    return path


def lm_eval_lines(i: int, question: str, target: str, answer: str | None) -> list[dict[str, Any]]:
    """The lines of one document: as gsm8k, under a strict and a flexible filter."""
    text = f" The sum is {answer}." if answer else " I give up"
    strict = answer if answer and i % 3 else "[invalid]"
    kept = {"strict-match": strict, "flexible-extract": answer or "[invalid]"}
    return [
        {
            "doc_id": i,
            "doc": {"question": question, "answer": target},
            "target": target,
            "arguments": {"gen_args_0": {"arg_0": question, "arg_1": {"until": ["Q:"], "temperature": 0.7}}},
            "resps": [[text]],
            "filtered_resps": [found],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": f"{i:08x}",
            "exact_match": float(found == target),
        }
        for name, found in kept.items()
    ]


def write_lm_eval(path: Path, problems: int, seed: int) -> Path:
    found = [
        lm_eval_lines(i, question, target, answer) for i, _, question, target, answer, _ in attempts(problems, 1, seed)
    ]
    lines = [
        line for name in range(2) for line in (pair[name] for pair in found)
    ]  # the harness writes filter by filter
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def eee_record(i: int, j: int, question: str, target: str, answer: str | None, tokens: int) -> dict[str, Any]:
    """Every Eval Ever, instance level 0.2."""
    return {
        "schema_version": "0.2.1",
        "evaluation_id": "sums/mock/1",
        "model_id": "mock/model",
        "evaluation_name": "sums",
        "sample_id": f"sums_{i:04}",
        "interaction_type": "single_turn",
        "input": {"raw": question, "reference": [target]},
        "output": {"raw": [f"I think it is {answer}."]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": answer or "",
                "extraction_method": "regex",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": float(answer == target), "is_correct": answer == target},
        "token_usage": {"input_tokens": 15, "output_tokens": tokens, "total_tokens": 15 + tokens},
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_inspect(folder / "sums.eval", [inspect_sample(*one) for one in attempts(10, 8)])
    for seed in range(4):
        write_lm_eval(folder / f"samples_sums_seed{seed}.jsonl", 8, seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
