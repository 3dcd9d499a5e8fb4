"""CPU time a request: ponder against a bare loop over the official client, both against the same loopback server.

    python benchmarks/client.py [--requests 1500] [--rounds 7] [--concurrency 32] [--json FILE]

Each run is a process of its own, and the two sides alternate, so that both meet the same machine. CPU time (user and
system) is taken from the first request to the last, imports left out, after 20 requests to warm up. The bare side does
nothing with an answer; ponder journals it, reads its answer, verifies it and writes its row. Target: at most 1.2 times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serving import books, served

WARM = 20
TARGET = 1.2


def bare(url: str, requests: int, concurrency: int) -> float:
    """CPU milliseconds a request of a loop that only asks."""
    import openai

    async def loop(count: int, client: openai.AsyncOpenAI) -> None:
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                reply = await client.chat.completions.create(
                    model="toy",
                    messages=[{"role": "user", "content": f"What is {number} + 1?"}],
                    temperature=0.8,
                    max_tokens=1024,
                    seed=number,
                )
                assert reply.choices[0].message.content

        await asyncio.gather(*(work() for _ in range(concurrency)))

    async def both() -> float:
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
            await loop(WARM, client)
            began = time.process_time()
            await loop(requests, client)
            return time.process_time() - began

    return 1000 * asyncio.run(both()) / requests


def ours(url: str, requests: int, concurrency: int) -> float:
    """CPU milliseconds a request of a whole evaluation, run folder included."""
    from driver import Lazy

    from ponder.arms import Parts, cross
    from ponder.engines.openai import OpenAIEngine
    from ponder.evaluate import Plan, run
    from ponder.journal import Journal
    from ponder.ledger import Purse
    from ponder.types import Budget, Sampling

    def evaluate(count: int, folder: Path) -> None:
        parts = Parts(cross(["sample"], ["vote"], [], ["fixed"], [1]), {})
        plan = Plan(Lazy(count), parts, Sampling(), Budget(), live=concurrency)
        engine = OpenAIEngine("toy", base_url=url, sampling=plan.sampling, concurrency=concurrency)
        journal = Journal(folder / f"journal-{count}.jsonl")
        done = run(plan, engine, journal, Purse(), folder / f"samples-{count}.jsonl")
        journal.close()
        assert done.cost.samples == count

    with tempfile.TemporaryDirectory() as folder:
        evaluate(WARM, Path(folder))
        began = time.process_time()
        evaluate(requests, Path(folder))
        return 1000 * (time.process_time() - began) / requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print({"bare": bare, "ponder": ours}[options.side](options.url, options.requests, options.concurrency))
        return
    times: dict[str, list[float]] = {"bare": [], "ponder": []}
    with served("--latency", "0.005") as url:
        for number in range(options.rounds):
            for side in ("bare", "ponder") if number % 2 == 0 else ("ponder", "bare"):
                command = [sys.executable, __file__, "--side", side, "--url", url]
                command += ["--requests", str(options.requests), "--concurrency", str(options.concurrency)]
                times[side].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        answered = books(url)["answers"]
    assert answered == 2 * options.rounds * (options.requests + WARM)
    ratios = [mine / theirs for mine, theirs in zip(times["ponder"], times["bare"], strict=True)]
    print(f"{options.rounds} alternating runs of {options.requests} requests, {options.concurrency} in flight\n")
    print("| | median | lowest | highest |")
    print("|---|--:|--:|--:|")
    for name, values in (("bare loop, CPU ms a request", times["bare"]), ("ponder, CPU ms a request", times["ponder"])):
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    print(f"| ratio | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")
    met = statistics.median(ratios) <= TARGET
    print(f"\ntarget (≤ {TARGET} × the bare loop): {'met' if met else 'missed'}")
    if options.json:
        options.json.write_text(json.dumps({**times, "ratios": ratios, "met": met}, indent=1) + "\n")


if __name__ == "__main__":
    main()
