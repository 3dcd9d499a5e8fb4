#!/usr/bin/env python3
"""Real answers of a small model to GSM8K and MATH, and labels that know nothing of ponder's verifier.

    python recipes/answers.py draw --source NAME --style grade OUT.jsonl [--port 8091] [--seconds 1200]
    python recipes/answers.py label DRAWN.jsonl… > tests/tasks/corpora/answers.jsonl

`draw` asks a server of plain completions (recipes/serve_gguf.py) with a few examples before each problem, until the
time is over: `grade` GSM8K's test set, `worked` MATH's short training problems with a solution, `direct` the same with
nothing but the answer, twelve draws at temperature 0.7. A file that is there is
added to.

`label` says 'correct' if what the text commits to and the reference are the same string after white space, dollar signs
and size commands are dropped, or the same floating-point number (1e-9); math-verify as it comes is the second opinion.
Where the two opinions differ, a person has looked: LOOKED holds those decisions by id. Needs math-verify.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import operator
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

LOOKED: dict[str, bool] = {
    f"{model}/{name}": found
    for model, own in {
        "smollm2-135m-instruct": {
            "math/direct/00bcb89df5/0": False,  # 'at what value of x': y = 4
            "math/direct/00bcb89df5/3": True,  # x = 4
            "math/direct/02d2f95d74/0": False,  # 'the value of b', which is 1: a = 1
            "math/direct/02d2f95d74/2": False,  # 2b + 1 = 1
            "math/direct/02d2f95d74/3": False,  # 2a + 1 = 1, as given
            "math/direct/02d2f95d74/5": False,  # 2a + b = 1
            "math/direct/035056e190/10": False,  # 5^4 = 25: false, though 25 is right
            "math/direct/0416a81e93/2": False,  # 3 + 9 + 15 = 15
            "math/direct/04918da5a7/1": False,  # 4^3 = 16: false, though 16 is right
            "math/direct/05063bba66/0": True,  # 4 * 2 * 2 = 16
            "math/direct/05063bba66/7": False,  # 2^2 * 4 * 4 = 16
        },
        "qwen2.5-coder-0.5b-instruct": {
            "gsm8k/grade/gsm8k-test-23/0": True,  # 'The answer is 8.', and goes on until it is cut
            "gsm8k/grade/gsm8k-test-80/0": True,  # 'The answer is 10.', the same
            "math/direct/00bcb89df5/5": False,  # x = 0 or x = 4
            "math/direct/00bcb89df5/8": True,  # x = 4
            "math/direct/00bcb89df5/9": True,
            "math/direct/00bcb89df5/10": True,
            "math/direct/00bcb89df5/11": True,
            "math/direct/01b523d579/10": False,  # 16 or 0 or 4 or …
            "math/direct/032f2f5e71/0": False,  # 2 or 3 or 4
            "math/direct/03f9b2241b/6": False,  # 6 (… on day 7, and so on), for 7
            "math/direct/043e73dde1/9": False,  # 361 + 2(19)(6) + 36 = x: the equation that was to be solved
            "math/direct/04918da5a7/5": False,  # 12 or 16
            "math/direct/04918da5a7/11": True,  # 16, and then something else
            "math/direct/0508ce3807/8": False,  # 1.(27) = 1.(27): what was to be written as a fraction
            "math/direct/05f747f783/9": True,  # x = -3
            "math/worked/00bcb89df5/0": False,  # 'so there is no vertical asymptote', again and again
            "math/worked/08cbc49248/0": True,  # … = sqrt(25) = 5
            "math/worked/0bafe2ffdc/0": True,  # … = 2
            "math/worked/0fc7fd177f/0": True,  # So n = 2
            "math/worked/1232434f83/0": True,  # So x = 2
            "math/worked/1792d31033/0": False,  # 'is 3. This is because … 81 is 1 modulo 10', for 1
            "math/worked/181c8a3d66/0": True,  # 1293!/(1!(1293 - 1)!)
        },
    }.items()
    for name, found in own.items()
}
"""Ids on which the opinions differ, or the verdict differs from both, and what is true."""

GSM8K = """Question: Tom has 3 boxes with 4 pens each. He gives away 5 pens. How many pens are left?
Solution: He has 3 * 4 = 12 pens. After giving away 5 he has 12 - 5 = 7. The answer is 7.

Question: A shirt costs $20 and is 10% off. What do 3 shirts cost?
Solution: One shirt costs 20 * 0.9 = 18 dollars. Three cost 3 * 18 = 54 dollars. The answer is $54.

"""
WORKED = r"""Problem: Solve $2x + 3 = 11$ for $x$.
Solution: Subtract 3: $2x = 8$. So $x = \boxed{4}$.

Problem: What is the probability that a fair die shows a number greater than 4?
Solution: The numbers 5 and 6 of 6 are greater: $\frac{2}{6} = \boxed{\frac{1}{3}}$.

Problem: Factor $x^2 - 9$.
Solution: It is a difference of squares: $\boxed{(x-3)(x+3)}$.

"""
DIRECT = r"""Problem: Solve $2x + 3 = 11$ for $x$.
Answer: $4$

Problem: What is the probability that a fair die shows a number greater than 4?
Answer: $\frac{1}{3}$

Problem: Factor $x^2 - 9$.
Answer: $(x-3)(x+3)$

"""


# --- draw


@dataclass(frozen=True)
class Job:
    """`task`: the set; `most`: tokens an answer; `draws`: answers."""

    task: str
    name: str
    reference: str
    prompt: str
    stop: str
    most: int
    draws: int

    @property
    def begun(self) -> str:
        """What the prompt has of the answer already."""
        return "$" if self.prompt.endswith("$") else ""


def problems(data: Path, style: str) -> Iterator[Job]:
    questions = (data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = json.loads((data / "math" / "train_qa.json").read_text(encoding="utf-8"))
    short = {
        hashlib.sha256(row["problem"].encode()).hexdigest()[:10]: row
        for row in rows
        if row["final_answer"] and len(row["problem"]) < 90 and "[asy]" not in row["problem"]
    }
    if style == "grade":
        for number, row in enumerate(json.loads(line) for line in questions):
            gold = row["answer"].rpartition("####")[2].strip()
            asked = f"{GSM8K}Question: {row['question']}\nSolution:"
            yield Job("gsm8k", f"gsm8k-test-{number}", gold, asked, "\nQuestion:", 150, 1)
    for name in sorted(short):
        text, reference = short[name]["problem"], short[name]["final_answer"]
        if style == "worked":
            yield Job("math", name, reference, f"{WORKED}Problem: {text}\nSolution:", "\nProblem:", 200, 1)
        elif style == "direct":
            yield Job("math", name, reference, f"{DIRECT}Problem: {text}\nAnswer: $", "\n", 40, 12)


def draw(options: argparse.Namespace) -> None:
    ends = time.time() + options.seconds
    lock = threading.Lock()
    lines = options.file.read_text(encoding="utf-8").splitlines() if options.file.exists() else []
    there = {json.loads(line)["id"] for line in lines}
    with options.file.open("a", encoding="utf-8") as sink:

        def ask(job: Job) -> None:
            for seed in range(job.draws):
                name = f"{options.source}/{job.task}/{options.style}/{job.name}/{seed}"
                if time.time() > ends:
                    return
                if name in there:
                    continue
                body = {"prompt": job.prompt, "max_tokens": job.most, "stop": [job.stop], "seed": seed}
                body |= {"temperature": 0.7 if job.draws > 1 else 0.0, "cache_prompt": True}
                choice = _post(f"http://127.0.0.1:{options.port}/v1/completions", body)["choices"][0]
                text = f"{job.begun}{choice['text']}".strip()
                row = {"id": name, "source": options.source, "set": job.task, "reference": job.reference}
                row["completion"] = text
                with lock:
                    print(json.dumps(row, ensure_ascii=False), file=sink, flush=True)

        with ThreadPoolExecutor(options.parallel) as pool:
            list(pool.map(ask, problems(options.data, options.style)))


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


# --- label

OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def committed(text: str, task: str) -> str:
    """What a text commits to: its last box, else what follows the last 'answer is', else its last number (GSM8K) or
    all of its one line (MATH); '' if there is nothing."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        depth, place = 1, start + len("\\boxed{")
        while place < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 1
        return text[start + len("\\boxed{") : place - 1] if not depth else ""
    said = re.findall(r"answer is:?\s*([^\n]*)", text)
    if said:
        return str(said[-1])
    if task == "gsm8k":
        found = re.findall(r"-?\$?[0-9][0-9,]*(?:\.[0-9]+)?", text)
        return str(found[-1]) if found else ""
    return text if "\n" not in text else ""


def plain(text: str) -> str:
    """Without what does not change a value."""
    text = re.sub(r"\\(?:left|right|displaystyle|,|!|;|:| )|\$|\s|\\\$", "", text)
    text = re.sub(
        r"\\(?:text|mathrm|textbf|mbox)\{([^{}]*)\}", r"\1", text.replace("dfrac", "frac").replace("tfrac", "frac")
    )
    return text.rstrip(".").replace("^\\circ", "").replace("\\%", "").replace("%", "")


def number(text: str) -> float | None:
    """The value of a number with fractions, roots, powers and π, in floating point; None for anything else."""
    text = plain(text)
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text)
    for _ in range(4):
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
        text = re.sub(r"\\sqrt\{([^{}]*)\}", r"((\1)**0.5)", text)
        text = re.sub(r"\^\{([^{}]*)\}", r"**(\1)", text)
    text = re.sub(r"\\frac([0-9])([0-9])", r"(\1/\2)", text).replace("\\sqrt", "").replace("^", "**")
    text = text.replace("\\cdot", "*").replace("\\times", "*").replace("\\pi", f"({math.pi})")
    text = re.sub(r"(?<=[0-9)])(?=\()", "*", text)
    try:
        return _worth(ast.parse(text, mode="eval").body)
    except (SyntaxError, ArithmeticError, TypeError, KeyError, RecursionError):
        return None


def _worth(node: ast.expr) -> float:
    """In floating point throughout, so that no power takes long. Raises KeyError or TypeError for anything else."""
    if isinstance(node, ast.BinOp):
        return float(OPERATORS[type(node.op)](_worth(node.left), _worth(node.right)))  # complex: TypeError
    if isinstance(node, ast.UnaryOp):
        return -_worth(node.operand) if isinstance(node.op, ast.USub) else _worth(node.operand)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (int, float)):
        raise TypeError("no number")
    return float(node.value)


def opinions(row: dict[str, Any]) -> tuple[bool, bool]:
    """What strings and floating point say, and what math-verify says."""
    from math_verify import parse, verify

    answer, reference = committed(row["completion"], row["set"]), row["reference"]
    one, other = number(answer), number(reference)
    if row["set"] == "gsm8k" and one is None:
        found = re.findall(r"-?[0-9][0-9,]*(?:\.[0-9]+)?", answer.replace("$", ""))
        one = float(found[-1].replace(",", "")) if found else None
    close = one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    first = close or (bool(plain(answer)) and plain(answer) == plain(reference))
    return first, bool(verify(parse(f"${reference}$"), parse(f"${answer.replace('$', '')}$")))


def label(options: argparse.Namespace) -> None:
    seen: set[str] = set()
    for line in chain.from_iterable(path.read_text(encoding="utf-8").splitlines() for path in options.files):
        row = json.loads(line)
        if row["id"] in seen:
            continue
        seen.add(row["id"])
        first, second = opinions(row)
        row["label"] = LOOKED.get(row["id"], first)
        if first != second and row["id"] not in LOOKED:
            print(f"{row['id']}: {row['reference']!r} {first} {second} {row['completion'][-200:]!r}", file=sys.stderr)
        print(json.dumps(row, ensure_ascii=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    drawing = commands.add_parser("draw")
    drawing.set_defaults(run=draw)
    drawing.add_argument("file", type=Path)
    drawing.add_argument("--source", required=True)
    drawing.add_argument("--port", type=int, default=8091)
    drawing.add_argument("--seconds", type=float, default=1200)
    drawing.add_argument("--data", type=Path, default=Path("../shared/data"))
    drawing.add_argument("--parallel", type=int, default=8, help="requests in flight")
    drawing.add_argument("--style", choices=["grade", "worked", "direct"], required=True)
    labelling = commands.add_parser("label")
    labelling.set_defaults(run=label)
    labelling.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
