"""ponder verify: verdicts for completions, in input order."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Thread
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
@click.option(
    "--sandbox",
    metavar="MODE",
    help="Where checks of code, proofs, puzzles run: bwrap, or none. [default: bwrap]",
)
@click.option("--audit", "audited", is_flag=True, help="Error rates of the verdicts on lines with a label, instead.")
@click.option("--json", "as_json", is_flag=True, help="With --audit: one JSON document.")
def command(file: Path | None, task: str, workers: int, sandbox: str | None, audited: bool, as_json: bool) -> int:
    """Reads JSONL {"id", "reference" or "tests", "completion"} from FILE (or standard input, -) and writes JSONL
    {"id", "verdict", "reward", "reason", "seconds"} in the same order, each as soon as it and those before it are
    known. Task code runs the tests on the program, in a sandbox. A bad line is named on stderr and gives no
    row; the others are judged all the same (exit 2). Exit 3: some could not be verified.

    With --audit each line may have a "label" (true: the completion is correct), and what is printed is how far the
    verdicts can be trusted: false positives and negatives with their intervals, each disagreement, references that fail
    as they are or written otherwise, changed references that pass, and the slowest checks. Exit 1: a reference failed,
    or a changed one passed."""
    from ponder.tasks import load_rules

    if as_json and not audited:
        raise UsageError("--json is for --audit; verdicts are JSONL already")
    rules = load_rules(task)
    if audited:
        _may_be_audited(rules, workers)
    if rules.sandboxed:
        rules = _sandboxed(rules, sandbox)
    elif sandbox is not None:
        raise UsageError("--sandbox is for tasks whose verdict runs in one: code, proof, puzzles; leave it out")
    if file is None or str(file) == "-":
        return _read(rules, sys.stdin.buffer, "standard input", workers, audited, as_json)
    try:
        with open(file, "rb") as stream:
            return _read(rules, stream, str(file), workers, audited, as_json)
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file; give a JSONL file, or - for standard input") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; give a JSONL file, or - for standard input") from None


def _read(rules: Rules, stream: Iterable[bytes], name: str, workers: int, audited: bool, as_json: bool) -> int:
    if audited:
        from ponder.cli.audit import run

        return run(rules, stream, name, as_json=as_json)
    return _judge_all(rules, stream, name, workers)


def _may_be_audited(rules: Rules, workers: int) -> None:
    """Raises UsageError."""
    if rules.kind == "code":
        raise UsageError("--audit is for tasks whose lines have a reference; a program has tests: leave it out")
    if workers != 1:
        raise UsageError("--audit takes the time of each check, so it makes one at a time; leave --workers out")


def _sandboxed(rules: Rules, mode: str | None) -> Rules:
    """Raises UsageError for an unknown mode."""
    from ponder.sandbox import chosen

    if chosen(mode or "") == "none":
        click.echo("ponder: --sandbox none: what a model wrote is not isolated from this machine", err=True)
    return rules.with_sandbox(mode or "")


def _rows(rules: Rules, stream: Iterable[bytes], name: str) -> Iterator[Any]:
    if rules.kind == "code":
        from ponder.tasks.code import CodeRules
        from ponder.tasks.codelines import read_programs

        assert isinstance(rules, CodeRules)
        return read_programs(stream, name, rules)
    from ponder.tasks.files import read_answers

    return read_answers(stream, name, rules)


def _judge_all(rules: Rules, stream: Iterable[bytes], name: str, workers: int) -> int:
    """Judges a few rows ahead of what is printed: memory does not grow with the file."""
    printer = _Printer(4 * workers)
    with ThreadPoolExecutor(workers) as pool:
        try:
            for row in _rows(rules, stream, name):
                printer.take(pool.submit(_judged, row))
                if printer.error is not None:
                    break
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            printer.finish()
    if printer.error is not None:
        raise printer.error
    return 2 if printer.bad else 3 if printer.unsure else 0


class _Printer:
    """Prints results in the order in which they were taken, each as soon as it may, while the next lines are still
    being read. `error`: what stopped it, a closed pipe as a rule."""

    def __init__(self, ahead: int) -> None:
        self.bad = self.unsure = 0
        self.error: BaseException | None = None
        self._waiting: Queue[Future[Any] | None] = Queue(ahead)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self, result: Future[Any]) -> None:
        """Waits while too many are ahead."""
        self._waiting.put(result)

    def finish(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (result := self._waiting.get()) is not None:
            if self.error is None and not result.cancelled():
                try:
                    self._print(result.result())
                except BaseException as error:
                    self.error = error

    def _print(self, item: Any) -> None:
        from ponder.tasks.files import BadLine

        if isinstance(item, BadLine):
            self.bad += 1
            click.echo(f"ponder: {item.message}", err=True)
            return
        self.unsure += item["verdict"] == "unverified"
        click.echo(json.dumps(item, ensure_ascii=False))


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
