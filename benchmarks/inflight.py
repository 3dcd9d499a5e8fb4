"""A thousand requests in flight at a server that takes five seconds for each: none lost, and how long it takes.

    python benchmarks/inflight.py [--concurrency 1000] [--requests 2000] [--latency 5] [--json FILE]

A whole evaluation (journal and samples on disk) of `--requests` problems with one chain each. At best it takes
requests / concurrency × latency seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from driver import Lazy
from serving import books, served

from ponder.arms import Parts, cross
from ponder.engines.openai import OpenAIEngine
from ponder.evaluate import Plan, run
from ponder.journal import Journal
from ponder.ledger import Purse
from ponder.types import Budget, Sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * options.concurrency + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:  # a connection is a file
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))
    parts = Parts(cross(["sample"], ["vote"], [], ["fixed"], [1]), {})
    plan = Plan(Lazy(options.requests), parts, Sampling(), Budget(), live=options.concurrency)
    with served("--latency", str(options.latency)) as url, tempfile.TemporaryDirectory() as folder:
        engine = OpenAIEngine("toy", base_url=url, sampling=plan.sampling, concurrency=options.concurrency)
        journal = Journal(Path(folder) / "journal.jsonl")
        began, cpu = time.perf_counter(), time.process_time()
        done = run(plan, engine, journal, Purse(), Path(folder) / "samples.jsonl")
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        journal.close()
        counted = books(url)
        rows = [json.loads(line) for line in (Path(folder) / "samples.jsonl").read_text().splitlines()]
    unique = len({(row["problem"], row["sample"]) for row in rows if row["finish"] == "stop"})
    best = options.requests / options.concurrency * options.latency
    found = {
        "requests": options.requests,
        "answered by the server": counted["answers"],
        "requests it counted": counted["requests"],
        "unique rows": unique,
        "most in flight": counted["busiest"],
        "seconds": round(seconds, 2),
        "seconds at best": best,
        "CPU ms a request": round(1000 * cpu / options.requests, 2),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    print("| | |\n|---|--:|")
    for name, value in found.items():
        print(f"| {name} | {value:,} |")
    lost = options.requests - unique
    met = lost == 0 and counted["requests"] == options.requests == done.cost.requests
    print(f"\nnone lost, none asked twice: {'met' if met else f'missed ({lost} lost)'}")
    if options.json:
        options.json.write_text(json.dumps({**found, "lost": lost, "met": met}, indent=1) + "\n")


if __name__ == "__main__":
    main()
