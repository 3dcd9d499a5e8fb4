"""Makes reasoning-gym's problems and runs its scorers, in a process of its own: a line of JSON in, a line of JSON out.

It is started by its path, under bubblewrap, and imports nothing of ponder. Its hash seed is fixed, since some sets draw
from Python's own sets, so a problem comes out the same wherever it is made. Each answer is scored in a fork with
limits. Some scorers hand the model's text to `eval` or to sympy's `parse_expr`, which evaluates it: here these read
literals, and arithmetic with known functions, and nothing else.
"""

from __future__ import annotations

import ast
import importlib
import json
import math
import os
import re
import resource
import select
import signal
import sys
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from typing import Any

FUNCTIONS = {
    "sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "exp", "log", "ln", "sqrt",
}  # fmt: skip
PLAIN = re.compile(r"[\w\s+\-*/^().,]*")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
ONE_NUMBER = re.compile(rf"[^\w+-]*({NUMBER.pattern})(?:\D*|\.0*)")
WORD = re.compile(r"[A-Za-z_]\w*")
EVALUATING = ("string_insertion", "spiral_matrix", "binary_matrix", "number_sorting")


PATIENCE = 60.0
"""Seconds by the clock for each of processor time, so that a busy machine changes no verdict."""
EXAMPLES = ("possible_answer", "example_answer", "example_correct_answer")
"""Where an entry keeps a right answer that is not the only one."""


def main() -> None:
    """Serves until its input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints goes nowhere
    gym = guarded()
    for line in sys.stdin.buffer:
        try:
            reply = serve(gym, json.loads(line))
        except Exception as error:
            reply = {"fault": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        out.write(json.dumps(reply).encode() + b"\n")
        out.flush()


def guarded() -> Any:
    """reasoning_gym, without what would run a model's text."""
    gym = importlib.import_module("reasoning_gym")
    sympy = importlib.import_module("sympy")
    parser = importlib.import_module("sympy.parsing.sympy_parser")
    original = parser.parse_expr

    def parse(text: str, *arguments: Any, **named: Any) -> Any:
        words = WORD.findall(text)
        if not PLAIN.fullmatch(text) or re.search(r"[A-Za-z_)]\s*\.|\.\s*[A-Za-z_]", text) or len(text) > 2000:
            raise ValueError("not an expression")
        if any((len(word) > 1 or word == "_") and word not in FUNCTIONS for word in words):
            raise ValueError("a name that is no variable or function")
        return original(text, *arguments, **named)

    for name, module in list(sys.modules.items()):
        if name.startswith("reasoning_gym"):
            if getattr(module, "parse_expr", None) is original:
                module.parse_expr = parse  # type: ignore[attr-defined]
            if name.rpartition(".")[2] in (*EVALUATING, "n_queens"):
                module.eval = literal  # type: ignore[attr-defined]
    sympy.parse_expr = parse  # type: ignore[attr-defined]
    return gym


def literal(text: str) -> Any:
    """What `eval` may read."""
    if len(text) > 20_000:
        raise ValueError("too long")
    return ast.literal_eval(text)


def serve(gym: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Of an answer {"score"} or {"failed": why}, and "question", a hash of it; without an answer the problem: {"text",
    "question", "gold"}; without a name {"names"}. {"fault"}: the reference cannot be used."""
    if "name" not in asked:
        return {"names": sorted(set(gym.factory.DATASETS) - {"composite"})}  # which has no problems of its own
    data, entry = problem(gym, asked["name"], asked["seed"], asked["size"], asked["index"], asked["config"])
    mark = sha256(entry["question"].encode()).hexdigest()[:16]
    if "answer" not in asked:
        return {"text": entry["question"], "question": mark, "gold": gold(entry)}
    return {"question": mark, **scored(data, entry, asked["name"], asked["answer"], asked["cpu"], asked["memory"])}


def gold(entry: dict[str, Any]) -> str | None:
    """A right answer, as the entry has it; None if it has none."""
    answer = entry["answer"]
    if answer is None:
        answer = next((entry["metadata"][key] for key in EXAMPLES if entry["metadata"].get(key) is not None), None)
    return answer if answer is None or isinstance(answer, str) else json.dumps(answer)


@lru_cache(maxsize=4096)
def problem(gym: Any, name: str, seed: int, size: int, index: int, config: str) -> tuple[Any, dict[str, Any]]:
    """The data set and one of its entries, generated again."""
    data = dataset(gym, name, seed, size, config)
    return data, data[index]


@lru_cache(maxsize=256)
def dataset(gym: Any, name: str, seed: int, size: int, config: str) -> Any:
    return gym.create_dataset(name, seed=seed, size=size, **json.loads(config))


def scored(data: Any, entry: dict[str, Any], name: str, answer: str, cpu: int, memory: int) -> dict[str, Any]:
    """The score, from a fork with limits."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        inside(data, entry, name, answer, cpu, memory, writer)
    os.close(writer)
    said, late = b"", False
    while True:
        ready, _, _ = select.select([reader], [], [], PATIENCE * cpu)
        if not ready:
            late = True
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(reader, 65536)
        if not part:
            break
        said += part
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if late:
        return {"late": True}
    if os.WIFSIGNALED(status):
        return {"late": True} if os.WTERMSIG(status) == signal.SIGKILL else {"failed": how(os.WTERMSIG(status))}
    return json.loads(said) if said else {"late": True}


def how(number: int) -> str:
    return "time limit" if number == signal.SIGXCPU else f"the scorer crashes on it (signal {number})"


def inside(data: Any, entry: dict[str, Any], name: str, answer: str, cpu: int, memory: int, writer: int) -> None:
    """Never returns."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    try:
        score = float(data.score_answer(answer=answer, entry=entry))
        if score >= 1 and name in STRICTER and not holds(name, answer, entry):
            score = 0.0
        found: dict[str, Any] = {"score": score if math.isfinite(score) else 0.0}
    except MemoryError:
        found = {"failed": "memory limit"}
    except BaseException as error:
        found = {"failed": f"the scorer cannot read it ({type(error).__name__})"}
    os.write(writer, json.dumps(found).encode())
    os._exit(0)


def holds(name: str, answer: str, entry: dict[str, Any]) -> bool:
    try:
        return STRICTER[name](answer, entry)
    except (ArithmeticError, ValueError, SyntaxError, TypeError, RecursionError):
        return False


# --- what must hold besides, where a scorer gives 1 to what is wrong; `tests/tasks/test_puzzles.py` shows each case


def same(answer: str, entry: dict[str, Any]) -> bool:
    """The same text, but for case and white space. game_of_life_halting takes any text that is not empty for 'True',
    figlet_font ten right letters for the whole of a longer word, spell_backward some words with others after them."""
    return "".join(answer.lower().split()) == "".join(str(entry["answer"]).lower().split())


def same_json(answer: str, entry: dict[str, Any]) -> bool:
    """The same JSON: game_of_life takes a larger grid."""
    return bool(json.loads(answer) == json.loads(entry["answer"]))


def same_number(answer: str, entry: dict[str, Any]) -> bool:
    """One number, and the same. calendar_arithmetic, where -1 is right, takes any; number_format takes one that differs
    by less than .01; gsm_symbolic takes the first of several, without its sign, and 'not 5'."""
    found = ONE_NUMBER.fullmatch(answer.replace(",", ""))
    return found is not None and Decimal(found[1]) == Decimal(str(entry["answer"]))


def same_count(answer: str, entry: dict[str, Any]) -> bool:
    """calendar_arithmetic: weekdays are compared by the scorer, counts here."""
    return not NUMBER.fullmatch(str(entry["answer"]).strip()) or same_number(answer, entry)


def no_more_numbers(answer: str, entry: dict[str, Any]) -> bool:
    """Not more numbers than the right answer has, nor another sign: time_intervals reads the first of '5 or 6 days' and
    no sign of zero hours, advanced_geometry the first two of three, fraction_simplification the first fraction."""
    right = str(entry["answer"])
    same_sign = answer.startswith("-") == right.startswith("-")
    return same_sign and len(NUMBER.findall(answer)) <= len(NUMBER.findall(right))


def no_more_words(answer: str, entry: dict[str, Any]) -> bool:
    """Not more words: letter_jumble and word_sorting take others after the right ones, knights_knaves takes a 'not'."""
    return len(re.findall(r"[^\s,.]+", answer)) <= len(re.findall(r"[^\s,.]+", entry["answer"]))


def bits_alone(answer: str, entry: dict[str, Any]) -> bool:
    """kakurasu picks its zeros and ones out of any text."""
    return re.fullmatch(r"[\s01,|\[\]]*", answer) is not None


def digits_alone(answer: str, entry: dict[str, Any]) -> bool:
    """survo skips what is no number."""
    return re.fullmatch(r"[\s\d,|\[\]]*", answer) is not None


def moves_alone(answer: str, entry: dict[str, Any]) -> bool:
    """sokoban picks its moves out of any text."""
    return re.fullmatch(r"[\sUDLR,]*", answer) is not None


def finite(answer: str, entry: dict[str, Any]) -> bool:
    """complex_arithmetic gives 1 for 'nan'."""
    return "n" not in answer.lower()


def all_numbers(answer: str, entry: dict[str, Any]) -> bool:
    """polynomial_equations skips what is no number, so that any text is right where there is no solution."""
    parts = [part.strip() for part in answer.split(",")] if answer.strip() else []
    return all(NUMBER.fullmatch(part) for part in parts)


def same_list(answer: str, entry: dict[str, Any]) -> bool:
    """number_sorting takes numbers that differ by 1, and NaN."""
    left, right = (json.loads(text.replace("'", '"')) for text in (answer, entry["answer"]))
    return all(math.isclose(float(a), float(b), rel_tol=1e-9) for a, b in zip(left, right, strict=True))


def same_matrix(answer: str, entry: dict[str, Any]) -> bool:
    """pool_matrix takes numbers that differ by 1 %; they are given to two places."""
    left, right = answer.split(), entry["answer"].split()
    return all(abs(float(a) - float(b)) <= 0.0051 for a, b in zip(left, right, strict=True))


def same_rounded(answer: str, entry: dict[str, Any]) -> bool:
    """decimal_arithmetic takes the neighbour in the last place."""
    right = Decimal(entry["answer"])
    places = right.as_tuple().exponent
    assert isinstance(places, int)
    return abs(Decimal(answer) - right) <= Decimal(10) ** places / 2


def same_probability(answer: str, entry: dict[str, Any]) -> bool:
    """coin_flip takes 0 for a small probability: it lets numbers differ by .0001."""
    return math.isclose(float(Fraction(answer.replace(",", ""))), float(entry["answer"]), rel_tol=0.0005)


def one_digit_each(answer: str, entry: dict[str, Any]) -> bool:
    """cryptarithm takes the last of two digits for a letter."""
    letters = [pair.partition("=")[0].strip() for pair in answer.split(",")]
    return len(set(letters)) == len(letters)


def buttons_alone(answer: str, entry: dict[str, Any]) -> bool:
    """quantum_lock picks its buttons out of any text."""
    return re.fullmatch(r"[\sA-Ca-c,→>-]*", answer) is not None


def arithmetic(answer: str) -> tuple[Fraction, list[int]]:
    """The value of an expression of + - * /, and the numbers in it. Raises ValueError for anything else."""
    used: list[int] = []

    def value(node: ast.AST) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp):
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Add):
                return left + right
            if isinstance(node.op, ast.Sub):
                return left - right
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.Div):
                return left / right
        raise ValueError("not arithmetic")

    return value(ast.parse(answer.strip(), mode="eval").body), sorted(used)


def makes_24(answer: str, entry: dict[str, Any]) -> bool:
    """puzzle24 takes 24.9, and any four numbers in the range."""
    return arithmetic(answer) == (Fraction(24), sorted(entry["metadata"]["numbers"]))


def makes_target(answer: str, entry: dict[str, Any]) -> bool:
    """countdown takes roots, powers and what is nearly the target."""
    return arithmetic(answer) == (Fraction(entry["metadata"]["target"]), sorted(entry["metadata"]["numbers"]))


STRICTER = {
    "advanced_geometry": no_more_numbers,
    "calendar_arithmetic": same_count,
    "coin_flip": same_probability,
    "complex_arithmetic": finite,
    "countdown": makes_target,
    "cryptarithm": one_digit_each,
    "decimal_arithmetic": same_rounded,
    "figlet_font": same,
    "fraction_simplification": no_more_numbers,
    "game_of_life": same_json,
    "game_of_life_halting": same,
    "gsm_symbolic": same_number,
    "kakurasu": bits_alone,
    "knights_knaves": no_more_words,
    "letter_jumble": no_more_words,
    "number_format": same_number,
    "number_sorting": same_list,
    "polynomial_equations": all_numbers,
    "pool_matrix": same_matrix,
    "puzzle24": makes_24,
    "quantum_lock": buttons_alone,
    "sokoban": moves_alone,
    "spell_backward": same,
    "survo": digits_alone,
    "time_intervals": no_more_numbers,
    "word_sorting": no_more_words,
}
"""By set. One that raises says no."""

if __name__ == "__main__":
    main()
