"""Small Llamas in C against torch: a training pass and drawing, by size of the model.

    python benchmarks/native.py [--rounds 5] [--threads 2] [--json FILE]

pass   forward and backward over 64 sequences of 40 random tokens, which share nothing; with `alike`, eight of them
       each begin with the same 12 tokens, as a group's chains do.
draw   256 chains of 40 tokens after 32 prompts of 12, by the sampler in torch and in C.

Every round times torch on one thread, torch on `--threads`, and C (which uses one) one after another; ratios are of one
round, their median, least and greatest are shown. Target: at least 2 times torch on one thread at the loop's size.
`LARGEST` in ponder/models/native/quick.py is the size up to which C is not behind torch on two threads.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from ponder.engines.hf.forward import Forward
from ponder.engines.hf.prefill import Prefix
from ponder.engines.hf.sampler import Ending, Limits, Row, Sampler
from ponder.engines.hf.tree import TreeCache
from ponder.models.native import quick
from ponder.models.native.library import state
from ponder.models.tiny import arithmetic_words, parameters, tiny_llama, word_tokenizer
from ponder.types import Sampling

SIZES = ((64, 2, 4, 128), (128, 3, 4, 256), (192, 3, 6, 384), (256, 4, 8, 512))  # hidden, layers, heads, mlp
SEQUENCES, TOKENS, GROUP, PROMPT, CHAINS = 64, 40, 8, 12, 256
LEAST = 0.2  # seconds of one timing


def pair(sizes: tuple[int, int, int, int]) -> tuple[Any, Any]:
    """A model in torch and the same in C."""
    hidden, layers, heads, mlp = sizes
    plain = tiny_llama(word_tokenizer(arithmetic_words(30)), hidden=hidden, layers=layers, heads=heads, mlp=mlp)
    quick.LARGEST = 1 << 40
    return plain, quick.quicken(copy.deepcopy(plain))


def batch(alike: bool) -> torch.Tensor:
    ids = torch.randint(2, 43, (SEQUENCES, TOKENS), generator=torch.Generator().manual_seed(0))
    if alike:
        ids[:, :PROMPT] = ids[::GROUP, :PROMPT].repeat_interleave(GROUP, 0)
    return ids


def learn(model: Any, ids: torch.Tensor) -> None:
    model.zero_grad(set_to_none=True)
    logits = model(input_ids=ids, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()


def drawing(model: Any, plain: bool) -> Callable[[], Any]:
    sampler = Sampler(Forward(model), Sampling(temperature=1.0), Limits(rows=512), TreeCache(1000))
    chance = torch.Generator().manual_seed(0)
    prompts = torch.randint(2, 43, (CHAINS // GROUP, PROMPT), generator=chance).tolist()
    prefixes = [Prefix(tuple(ids), (str(i), "")) for i, ids in enumerate(prompts)]
    rows = [Row(i // GROUP, i, TOKENS) for i in range(CHAINS)]
    sampler.forward.quick = not plain
    return lambda: sampler.draw(prefixes, rows, Ending(frozenset(), torch.zeros(43, dtype=torch.bool)))


def seconds(call: Callable[[], Any]) -> float:
    """Of one call; the mean of as many as fill LEAST."""
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < LEAST:
        call()
        count += 1
    return took / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"small Llamas run in {state()}; load {os.getloadavg()[0]:.1f}; times torch, median (least–greatest)")
    several = f"torch, {arguments.threads} threads"
    print(f"{'parameters':>10}  {'work':<12}{'ms in C':>9}{'torch, 1 thread':>24}{several:>24}")
    found = []
    for sizes in SIZES:
        plain, ours = pair(sizes)
        works: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "pass": (partial(learn, plain, batch(False)), partial(learn, ours, batch(False))),
            "pass, alike": (partial(learn, plain, batch(True)), partial(learn, ours, batch(True))),
            "draw": (drawing(copy.deepcopy(plain), True), drawing(ours, False)),
        }
        for name, (torchs, cs) in works.items():
            rounds: list[tuple[float, ...]] = []
            for number in range(arguments.rounds + 1):
                times = []
                for call, threads in ((torchs, 1), (torchs, arguments.threads), (cs, 1)):
                    torch.set_num_threads(threads)
                    times.append(seconds(call))
                if number:  # the first warms up
                    rounds.append(tuple(times))
            ratios = [[times[k] / times[2] for times in rounds] for k in (0, 1)]
            told = [f"{statistics.median(own):.2f} ({min(own):.2f}–{max(own):.2f})" for own in ratios]
            took = statistics.median(times[2] for times in rounds)
            print(f"{parameters(plain):>10,}  {name:<12}{1000 * took:>9.1f}{told[0]:>24}{told[1]:>24}")
            found.append({"parameters": parameters(plain), "work": name, "seconds": took, "ratios": ratios})
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
