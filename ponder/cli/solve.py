"""ponder solve: one problem, one answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ponder.cli.flags import FLAGS, shared
from ponder.errors import UsageError
from ponder.settings import parse_set, resolve

GIVEN = tuple(name for name in FLAGS if name not in ("limit", "out"))

NO_MODEL = """no model; give one, for example one of these three lines:
  ponder solve --model openai:gpt-4o-mini --samples 8 --task number "What is 17 * 23?"
  ponder solve --model openai:NAME --base-url http://127.0.0.1:8000/v1 --samples 8 "…"
  ponder solve --model simulated:school "Problem 3 of the simulated world 'school'. Find its number.\""""


@click.command("solve")
@click.argument("problem", required=False)
@shared(*GIVEN)
@click.option("--demo", is_flag=True, help="By the newest model in ./runs that `ponder loop` made; it knows Countdown.")
@click.option("--stream", is_flag=True, help="Events as JSONL on stdout, the answer last.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(problem: str | None, demo: bool, stream: bool, as_json: bool, **flags: Any) -> int:
    """An answer to PROBLEM (- reads it from standard input), its confidence and its cost."""
    flags["set"] = parse_set(flags["set"])
    if demo:
        problem = problem or PUZZLE
        flags |= {key: value for key, value in _demo().items() if flags[key] in (None, {}, ())}
        click.echo(f"{problem}  by {flags['model']}", err=True)
    text = sys.stdin.read() if problem == "-" else problem
    if text is None:
        raise UsageError("no problem; give its text, or - to read it from standard input")
    if resolve(flags).settings.model is None:
        click.echo(f"ponder: {NO_MODEL}", err=True)
        return 2
    from ponder.thinker import Thinker

    model = flags.pop("model")
    thinker = Thinker(model, **flags)
    task = thinker.settings.task
    if task == "text" and (thinker.settings.model or "").startswith("simulated:"):
        task = "number"
    thought = thinker(text, task, watch=_event if stream else None)
    found = {
        "schema": 1,
        "answer": thought.answer,
        "confidence": thought.confidence,
        "cost": thought.cost.as_dict(),
        "chains": [
            {
                "answer": c.answer,
                "finish": c.finish,
                "tokens": c.tokens,
                "text": c.text,
                **({"reason": c.reason} if c.reason else {}),
            }
            for c in thought.chains
        ],
    }
    if stream:
        click.echo(json.dumps({"event": "answer", **{k: v for k, v in found.items() if k not in ("schema", "chains")}}))
    elif as_json:
        click.echo(json.dumps(found))
    else:
        _say(thought, found)
    if thought.answer is not None:
        return 0
    why = "the budget ended" if thought.cut or not thought.chains else "no chain gave an answer that could be read"
    click.echo(f"ponder: no answer: {why}; raise --tokens, --max-tokens or --samples", err=True)
    return 4 if thought.cut or not thought.chains else 1


PUZZLE = "6 : 4 7 3 6 ;"
"""Make 6 of 4, 7, 3 and 6."""


def _demo() -> dict[str, Any]:
    """Settings for the newest finished run of the loop: its steered policy, its taste weighs the votes. Raises
    UsageError if there is none."""
    runs = [path.parent for place in ("*", "*/*") for path in Path("runs").glob(f"{place}/report.json")]
    made = [run for run in runs if (run / "checkpoints" / "value").exists()]
    if not made:
        raise UsageError("--demo: no run of the loop in ./runs; make one with `ponder loop` (minutes, no download)")
    newest = max(made, key=lambda run: (run / "report.json").stat().st_mtime) / "checkpoints"
    taste = {"guide.value": str(newest / "value"), "guide.prm": str(newest / "prm")}
    return {
        "model": str(newest / "steered"), "task": "countdown", "samples": "8", "temperature": "1",
        "max_tokens": "40", "select": "weighted", "scorer": "guide", "set": taste,
    }  # fmt: skip


def _say(thought: Any, found: dict[str, Any]) -> None:
    if thought.answer is not None:
        click.echo(thought.answer)
    cost = thought.cost
    sure = "–" if thought.confidence is None else f"{thought.confidence:.2f}"
    dollars = f" · ${cost.dollars:.6f}" if cost.dollars else ""
    tokens = f"{cost.generated:,} generated + {cost.prompt:,} prompt tokens"
    chains = f"{cost.samples} chain{'' if cost.samples == 1 else 's'}"
    click.echo(f"confidence {sure} · {chains} · {tokens}{dollars}")


def _event(event: str, what: Any) -> None:
    """One line of JSON for each thing that happens."""
    if event == "delta":
        request, text = what
        click.echo(json.dumps({"event": "delta", "key": request.keys[0], "text": text}))
    elif event == "answered":
        request, result = what
        for key, output in zip(request.keys, result.outputs, strict=False):
            text = "".join(segment.text for segment in output.segments)
            click.echo(
                json.dumps(
                    {"event": "chain", "key": key, "finish": output.finish, "tokens": output.tokens, "text": text}
                )
            )
    sys.stdout.flush()
