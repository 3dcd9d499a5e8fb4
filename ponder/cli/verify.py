"""ponder verify: verdicts for completions, in input order."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ponder.errors import UsageError
from ponder.types import Verdict, unverified

if TYPE_CHECKING:
    from ponder.tasks.base import Rules


@click.command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--task", required=True, metavar="NAME", help="The task whose rules judge; no data set is loaded.")
@click.option("--workers", default=1, type=click.IntRange(1, 256), metavar="N", help="Checks at once. [default: 1]")
def command(file: Path | None, task: str, workers: int) -> int:
    """Reads JSONL {"id", "reference" or "tests", "completion"} from FILE (or standard input, -) and writes JSONL
    {"id", "verdict", "reward", "reason", "seconds"} in the same order. A bad line is named on stderr and gives no
    row; the others are judged all the same (exit 2). Exit 3: some could not be verified."""
    from ponder.tasks import load_rules

    rules = load_rules(task)
    if file is None or str(file) == "-":
        return _judge_all(rules, sys.stdin.buffer, "standard input", workers)
    try:
        with open(file, "rb") as stream:
            return _judge_all(rules, stream, str(file), workers)
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file; give a JSONL file, or - for standard input") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; give a JSONL file, or - for standard input") from None


def _judge_all(rules: Rules, stream: Iterable[bytes], name: str, workers: int) -> int:
    from ponder.tasks.files import BadLine, read_answers

    bad = unsure = 0
    with ThreadPoolExecutor(workers) as pool:
        for item in _ordered(pool, read_answers(stream, name, rules), workers):
            if isinstance(item, BadLine):
                bad += 1
                click.echo(f"ponder: {item.message}", err=True)
                continue
            unsure += item["verdict"] == "unverified"
            click.echo(json.dumps(item, ensure_ascii=False))
    return 2 if bad else 3 if unsure else 0


def _ordered(pool: ThreadPoolExecutor, rows: Iterable[Any], workers: int) -> Iterator[Any]:
    """Judges a few rows ahead, gives results in input order: memory does not grow with the file."""
    ahead: deque[Future[Any]] = deque()
    for row in rows:
        ahead.append(pool.submit(_judged, row))
        if len(ahead) > 4 * workers:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _judged(row: Any) -> Any:
    """A row's verdict as it is printed; a bad line as it is."""
    if not hasattr(row, "judge"):
        return row
    started = time.perf_counter()
    try:
        verdict: Verdict = row.judge()
    except Exception as error:  # a verifier that breaks is the instrument's failure
        verdict = unverified(f"the verifier raised {type(error).__name__}: {error}")
    seconds = round(time.perf_counter() - started, 6)
    return {
        "id": row.id,
        "verdict": verdict.verdict,
        "reward": verdict.reward,
        "reason": verdict.reason,
        "seconds": seconds,
    }
