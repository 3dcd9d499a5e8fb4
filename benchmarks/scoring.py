"""Scoring a chain that grows: with the tree cache, and by a scorer that reads all of it again.

    python benchmarks/scoring.py [--model FOLDER] [--to 2048] [--step 64] [--rounds 3] [--threads 1] [--json FILE]

A chain grows by steps of 64 tokens, and `prm` with an implicit reward (a model and its reference) rates it after each.
'grown' is one scorer all along; 'afresh' is the same with empty memory at each call. Both give the same ratings.
Without `--model` it is a tiny Llama with random weights (256 wide, 4 layers, a context of 4,096).

Tokens are those that went through each of the two models. Targets: grown, a call reads exactly the new ones; its time
grows by no more than its FLOPs, which grow with the length by attention alone (4 · layers · width FLOPs a token and
token before it).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ponder.engines.hf.forward import shape_of
from ponder.engines.hf.text import Texts
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.scorers.base import Seen
from ponder.scorers.checkpoint import Checkpoint, Sheet
from ponder.scorers.trained import ChainScorer, build_prm
from ponder.types import Chain, Message, Problem, Rating, Segment

PROMPT = "6 : 4 7 3 6 ;"
CLOSE = 1e-3  # of ratings, in float32: sums of log-ratios over the whole chain


@dataclass(slots=True)
class Call:
    """One rating of a chain of `length` tokens after its prompt."""

    length: int
    tokens: int
    seconds: float


def load(arguments: argparse.Namespace) -> Checkpoint:
    if arguments.model:
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
        sheet = Sheet("implicit", delimiter="\n\n", beta=0.05)
        return Checkpoint(sheet, model, AutoTokenizer.from_pretrained(arguments.model), model)
    tokenizer = word_tokenizer(arithmetic_words(99))
    models = [
        tiny_llama(tokenizer, hidden=256, layers=4, heads=8, mlp=512, context=4096, seed=s).eval() for s in (0, 1)
    ]
    return Checkpoint(Sheet("implicit", delimiter=";", beta=0.05), models[0], tokenizer, models[1])


def growing(found: Checkpoint, steps: int, size: int, draw: random.Random) -> list[Chain]:
    """One chain after each of its steps: random numbers, then the delimiter."""
    texts = Texts.of(found.tokenizer, found.model, found.sheet.chat)
    numbers = " ".join(str(draw.randrange(100)) for _ in range(size))
    known = found.tokenizer(numbers, add_special_tokens=False)["input_ids"]
    tail = found.tokenizer(found.sheet.delimiter, add_special_tokens=False)["input_ids"]
    root = Chain("p", prompt=(Message("user", PROMPT),))
    before, segments, chains = list(texts.ids(root)), (), []
    for number in range(steps):
        ids = (*(draw.choice(known) for _ in range(size - len(tail))), *tail)
        segments = (*segments, Segment(texts.written(before, ids), ids=ids, tokens=size))  # type: ignore[assignment]
        key = "/".join(f"s{i}" for i in range(number + 1))
        chains.append(Chain("p", key, root.prompt, segments, "step", tokens=size))
        before += ids
    return chains


def rated(scorer: ChainScorer, chain: Chain) -> tuple[Rating, Call]:
    seen, before = Seen(Problem("p", PROMPT, chain.prompt)), scorer.tokens
    began = time.perf_counter()
    rating = scorer.rate(seen, [chain])[0]
    took = time.perf_counter() - began
    return rating, Call(sum(s.tokens for s in chain.segments), (scorer.tokens - before) // 2, took)


def once(found: Checkpoint, chains: list[Chain]) -> dict[str, list[Call]]:
    """Both scorers on one growing chain."""
    grown, afresh = build_prm(path="-"), build_prm(path="-")
    grown.use(found)
    calls: dict[str, list[Call]] = {"grown": [], "afresh": []}
    for chain in chains:
        afresh.use(found)
        (ours, mine), (theirs, own) = rated(grown, chain), rated(afresh, chain)
        assert ours.value is not None and theirs.value is not None
        assert abs(ours.value - theirs.value) < CLOSE, (ours.value, theirs.value)
        calls["grown"].append(mine)
        calls["afresh"].append(own)
    return calls


def exponent(lengths: list[int], values: list[float]) -> float:
    """The slope of log value over log length, over the longer half."""
    points = [(math.log(a), math.log(b)) for a, b in zip(lengths, values, strict=True)][len(lengths) // 2 :]
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--to", type=int, default=2048, help="tokens of the longest chain")
    parser.add_argument("--step", type=int, default=64, help="tokens of a step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = load(arguments)
    draw = random.Random(arguments.seed)
    steps = arguments.to // arguments.step
    once(found, growing(found, 2, arguments.step, draw))
    rounds = [once(found, growing(found, steps, arguments.step, draw)) for _ in range(arguments.rounds)]

    count = sum(p.numel() for p in found.model.parameters())
    print(
        f"{arguments.model or 'tiny Llama'}: {count:,} parameters and a reference as large, {arguments.threads} "
        f"threads, {arguments.rounds} rounds, load {os.getloadavg()[0]:.1f}"
    )
    shape = shape_of(found.model)
    lengths = [call.length for call in rounds[0]["grown"]]
    tokens = {name: [c.tokens for c in rounds[0][name]] for name in ("grown", "afresh")}
    times = {
        name: [statistics.median(r[name][i].seconds for r in rounds) for i in range(steps)]
        for name in ("grown", "afresh")
    }
    flops = [shape.flops(arguments.step, length - arguments.step, arguments.step) for length in lengths]
    print(
        f"\n{'chain':>6}{'tokens a call':>20}{'milliseconds a call (least–greatest)':>52}"
        f"{'grown, times the second':>30}\n"
        f"{'':>6}{'grown':>10}{'afresh':>10}{'grown':>26}{'afresh':>26}{'time':>18}{'FLOPs':>12}"
    )
    for i in sorted({0, 1, *(2**k - 1 for k in range(1, 20) if 2**k <= steps), steps - 1}):
        spans = []
        for name in ("grown", "afresh"):
            own = [r[name][i].seconds * 1e3 for r in rounds]
            spans.append(f"{statistics.median(own):.1f} ({min(own):.1f}–{max(own):.1f})")
        base = min(1, steps - 1)  # the first call reads the prompt as well
        print(
            f"{lengths[i]:>6}{tokens['grown'][i]:>10,}{tokens['afresh'][i]:>10,}{spans[0]:>26}{spans[1]:>26}"
            f"{times['grown'][i] / times['grown'][base]:>18.2f}{flops[i] / flops[base]:>12.2f}"
        )
    assert all(c.tokens == arguments.step for r in rounds for c in r["grown"][1:]), (
        "a call read more than the new tokens"
    )
    slopes = {name: exponent(lengths, times[name]) for name in times}
    ratios = [r["afresh"][-1].seconds / r["grown"][-1].seconds for r in rounds]
    wholes = [sum(c.seconds for c in r["afresh"]) / sum(c.seconds for c in r["grown"]) for r in rounds]
    sums = {name: sum(own) for name, own in tokens.items()}
    print(
        f"\neach call after the first read exactly {arguments.step} tokens; the whole chain {sums['grown']:,} of ",
        end="",
    )
    print(
        f"{sums['afresh']:,}; time ~ length^{slopes['grown']:.2f} grown, ^{slopes['afresh']:.2f} afresh (longer half)"
    )
    print(
        f"at {lengths[-1]:,} tokens a call reads {tokens['afresh'][-1] / tokens['grown'][-1]:.1f} times fewer and is "
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f}) times faster; all calls together "
        f"{statistics.median(wholes):.1f} ({min(wholes):.1f}–{max(wholes):.1f}) times"
    )
    if arguments.json:
        found_json = {"lengths": lengths, "tokens": tokens, "seconds": times, "flops": flops, "ratios": ratios}
        arguments.json.write_text(json.dumps(found_json, indent=1) + "\n")


if __name__ == "__main__":
    main()
