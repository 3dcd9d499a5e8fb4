"""The local sampler against transformers.generate, and against servers, on the same model and workload.

    python benchmarks/sampler.py [--model FOLDER] [--rounds 3] [--threads 2] [--dtype float32] [--json FILE]
                                 [--server NAME=URL …] [--without generate] [--only ragged,shared,profile]

Without `--model` it is a tiny Llama with random weights (64 wide, 2 layers, 112 words).

ragged   256 prompts of 16–64 tokens in random order, chains whose lengths are forced, uniform on 16–256. `generate`
         draws them in four batches of 64, as they come and sorted by length (which needs the lengths beforehand); ours
         has at most 64 live rows. Tokens a second count what was asked for, not what was thrown away. Target: at
         least 3 times generate's (random order) for the tiny Llama, 2 times for SmolLM2-135M. Whole chains of a
         tiny Llama are drawn in C; 'ours' is the sampler in torch, which trees and larger models go through.
shared   16 samples of one prompt of 512 tokens, of 1 and of 16 tokens: the prompt read once, against read for each
         sample, by ours and by generate. Target: at least 5 times.
servers  the ragged workload as 256 completion requests with token ids, 64 in flight, `ignore_eos`; a server must hold
         the model that `--model` names (recipes/serve_gguf.py, vLLM's api_server).
profile  where the time of ours goes, and how far the matrix products are from the rate that this machine reaches.

Every round times all contestants one after another; ratios are of one round, and their least and greatest are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

from ponder.engines.hf.forward import Forward
from ponder.engines.hf.kv import KV
from ponder.engines.hf.prefill import Prefix
from ponder.engines.hf.sampler import Ending, Limits, Row, Sampler
from ponder.engines.hf.tree import TreeCache
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.types import Sampling

PROMPTS, BATCH, SHORT, LONG = 256, 64, 16, 256
SHARED, COPIES, FEWEST = 512, 16, (1, 16)
ATTENTIONS = ("flash_attention_for_cpu", "attention_math", "efficient_attention", "flash_attention")


@dataclass(frozen=True)
class Work:
    """Prompts and the lengths that their chains are forced to have."""

    prompts: list[tuple[int, ...]]
    lengths: list[int]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)


class Until(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own length, as an end token would."""

    def __init__(self, start: int, lengths: list[int]) -> None:
        self.start, self.lengths = start, torch.tensor(lengths)

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        return ids.shape[1] - self.start >= self.lengths


def generate(model: Any, prompts: list[tuple[int, ...]], lengths: list[int]) -> None:
    """One batch, left-padded, sampled at temperature 1."""
    widest = max(map(len, prompts))
    ids = torch.tensor([[0] * (widest - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (widest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    model.generate(
        ids,
        attention_mask=mask,
        do_sample=True,
        top_k=0,
        max_new_tokens=max(lengths),
        stopping_criteria=StoppingCriteriaList([Until(widest, lengths)]),
    )


def in_batches(model: Any, work: Work, order: list[int]) -> None:
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        generate(model, [work.prompts[i] for i in part], [work.lengths[i] for i in part])


def ours(sampler: Sampler, work: Work, never: Ending) -> None:
    prefixes = [Prefix(ids, (str(i), "")) for i, ids in enumerate(work.prompts)]
    drawn = sampler.draw(prefixes, [Row(i, i, length) for i, length in enumerate(work.lengths)], never)
    assert sum(len(row.ids) for row in drawn.rows) == work.tokens


async def _ask(client: Any, name: str, ids: tuple[int, ...], length: int, slots: asyncio.Semaphore) -> int:
    async with slots:
        found = await client.completions.create(
            model=name, prompt=list(ids), max_tokens=length, temperature=1.0, extra_body={"ignore_eos": True}
        )
        return int(found.usage.completion_tokens)


async def served(url: str, work: Work) -> int:
    """Tokens that the server wrote."""
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=1800, max_retries=0) as client:
        name = (await client.models.list()).data[0].id
        slots = asyncio.Semaphore(BATCH)
        asked = [_ask(client, name, ids, n, slots) for ids, n in zip(work.prompts, work.lengths, strict=True)]
        return sum(await asyncio.gather(*asked))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ragged(model: Any, sampler: Sampler, never: Ending, arguments: argparse.Namespace) -> dict[str, Any]:
    draw = random.Random(arguments.seed)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    work = Work(
        [tuple(draw.randrange(3, vocabulary) for _ in range(draw.randint(16, 64))) for _ in range(PROMPTS)],
        [draw.randint(SHORT, LONG) for _ in range(PROMPTS)],
    )
    plain = list(range(PROMPTS))
    by_length = sorted(plain, key=work.lengths.__getitem__)
    contestants: dict[str, Callable[[], Any]] = {
        "generate": lambda: in_batches(model, work, plain),
        "generate sorted": lambda: in_batches(model, work, by_length),
        "ours": lambda: ours(sampler, work, never),
    }
    if sampler.forward.quick and not arguments.plain:
        contestants["ours in C"] = lambda: ours(sampler, work, replace(never, complete=None))
    for given in arguments.server:
        name, _, url = given.partition("=")
        contestants[name] = lambda url=url: asyncio.run(served(url, work))  # type: ignore[misc]
    contestants = {name: call for name, call in contestants.items() if name not in arguments.without.split(",")}
    ours(sampler, Work(work.prompts[:8], [4] * 8), never)
    generate(model, work.prompts[:8], [4] * 8)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, call in contestants.items():
            rates[name].append(work.tokens / seconds(call))
    print(f"\nragged: {PROMPTS} prompts, {work.tokens} tokens, {arguments.rounds} rounds")
    return compared(rates, "tokens/s")


def shared(model: Any, sampler: Sampler, never: Ending, arguments: argparse.Namespace) -> dict[str, Any]:
    draw = random.Random(arguments.seed + 1)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    prompt = tuple(draw.randrange(3, vocabulary) for _ in range(SHARED))

    found: dict[str, Any] = {}
    for few in FEWEST:

        def once(few: int = few) -> None:
            sampler.draw([Prefix(prompt, ("p", ""))], [Row(0, i, few) for i in range(COPIES)], never)

        def each(few: int = few) -> None:
            own = [Prefix(prompt, (str(i), "")) for i in range(COPIES)]
            sampler.draw(own, [Row(i, i, few) for i in range(COPIES)], never)

        contestants: dict[str, Callable[[], Any]] = {
            "generate, each": lambda few=few: generate(model, [prompt] * COPIES, [few] * COPIES),  # type: ignore[misc]
            "ours, each": each,
            "ours": once,
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(arguments.rounds + 1):
            for name, call in contestants.items():
                took = seconds(call)
                if number:  # the first round warms up
                    rates[name].append(COPIES * few / took)
        print(f"\nshared: {COPIES} samples of {few} tokens after one prompt of {SHARED}")
        found[str(few)] = compared(rates, "tokens/s")
    return found


def compared(rates: dict[str, list[float]], unit: str) -> dict[str, Any]:
    """Prints each contestant's median rate and ours over it, with the least and greatest ratio of a round."""
    found: dict[str, Any] = {}
    for name, own in rates.items():
        ratios = [mine / other for mine, other in zip(rates["ours"], own, strict=True)]
        found[name] = {"rates": own, "ratios": ratios}
        middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"  {name:<18}{statistics.median(own):>10,.0f} {unit}   ours is {middle} times")
    return found


def profile(sampler: Sampler, never: Ending, arguments: argparse.Namespace) -> dict[str, Any]:
    """Shares of a decoding run's time by kind of operation, and the rate of its matrix products."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    draw = random.Random(arguments.seed)
    vocabulary = sampler.forward.model.get_input_embeddings().weight.shape[0]
    steps = 100 if sampler.forward.shape.weights < 10**7 else 16
    prefixes = [Prefix(tuple(draw.randrange(3, vocabulary) for _ in range(64)), (str(i), "")) for i in range(BATCH)]
    rows = [Row(i, i, steps) for i in range(BATCH)]
    sampler.draw(prefixes, rows, never)
    whole = seconds(lambda: sampler.draw(prefixes, rows, never))
    kinds = {
        "matrix products": ("aten::addmm", "aten::mm", "mkldnn::_linear_pointwise", "aten::mkldnn_linear"),
        "attention": tuple(f"aten::_scaled_dot_product_{kind}" for kind in ATTENTIONS),
    }
    with profiled(activities=[ProfilerActivity.CPU]) as recorded:
        sampler.draw(prefixes, rows, never)
    events = recorded.key_averages()
    every = sum(event.self_cpu_time_total for event in events) / 1e6
    found: dict[str, Any] = {"seconds": whole}
    shape = sampler.forward.shape
    flops = 2.0 * (shape.weights + shape.head) * BATCH * (steps - 1) + 2.0 * shape.weights * BATCH * 64
    print(f"\nprofile: {BATCH} rows, {steps} steps: {whole / steps * 1e3:.2f} ms a step")
    for kind, names in kinds.items():
        took = sum(event.cpu_time_total for event in events if event.key in names) / 1e6
        found[kind] = took
        print(f"  {kind:<18}{took / whole:>6.0%} of the time unprofiled")
    small = every - sum(found[kind] for kind in kinds)
    print(f"  {'other operations':<18}{small / whole:>6.0%} (as profiled, which slows small ones)")
    plain = Forward(sampler.forward.model)
    plain._few = None
    found["operations"], found["operations of transformers' pass"] = operations(sampler.forward), operations(plain)
    print(f"  a step starts {operations(sampler.forward)} operations, transformers' own pass {operations(plain)}")
    peak = rate(sampler, arguments)
    achieved = flops / found["matrix products"] if found["matrix products"] else float("nan")
    print(f"  matrix products run at {achieved / 1e9:,.0f} GFLOP/s; the same shapes alone at {peak / 1e9:,.0f}")
    print(f"  the whole runs at {flops / whole / peak:.0%} of that rate")
    return found | {"achieved": achieved, "peak": peak, "whole": flops / whole / peak}


class Counted(TorchDispatchMode):  # type: ignore[misc]
    """How many of torch's operations are started, views included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def operations(forward: Forward) -> int:
    """What one decoding step starts."""
    kv = KV(BATCH, 64)
    forward.begin()
    forward.read(kv, [[5] * 8] * BATCH, [0] * BATCH)
    at = torch.full((BATCH,), 8, device=forward.device)
    with Counted() as counted:
        forward.step(kv, torch.full_like(at, 5), at, 9)
    return counted.count


def rate(sampler: Sampler, arguments: argparse.Namespace) -> float:
    """FLOP/s of the model's own linear layers at the batch's height, one after another and nothing else."""
    model = sampler.forward.model
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    inputs = {
        layer.in_features: torch.randn(BATCH, layer.in_features, dtype=model.dtype, device=model.device)
        for layer in layers
    }
    work = sum(2.0 * BATCH * layer.in_features * layer.out_features for layer in layers)

    def run() -> None:
        with torch.inference_mode():
            for layer in layers:
                layer(inputs[layer.in_features])

    run()
    return work / min(seconds(run) for _ in range(10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--without", default="", help="contestants to leave out, with commas between")
    parser.add_argument("--plain", action="store_true", help="transformers' own pass for small Llamas, too")
    parser.add_argument("--only", default="ragged,shared,profile")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.model:
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
    else:
        model = tiny_llama(word_tokenizer(arithmetic_words(99)), context=1024)
    model = model.to(device).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    forward = Forward(model)
    if arguments.plain:
        forward._few = None
    sampler = Sampler(forward, Sampling(temperature=1.0), Limits(rows=BATCH), TreeCache(0))
    vocabulary = model.get_output_embeddings().weight.shape[0]
    never = Ending(frozenset(), torch.zeros(vocabulary, dtype=torch.bool, device=device), lambda ids: False)
    count = sum(p.numel() for p in model.parameters())
    name = arguments.model or "tiny Llama"
    machine = f"{device}, {arguments.threads} threads, load {os.getloadavg()[0]:.1f}"
    print(f"{name}: {count:,} parameters, {model.dtype}, {machine}")
    only = arguments.only.split(",")
    found: dict[str, Any] = {"model": str(arguments.model or "tiny"), "threads": arguments.threads}
    if "ragged" in only:
        found["ragged"] = ragged(model, sampler, never, arguments)
    if "shared" in only:
        found["shared"] = shared(model, sampler, never, arguments)
    if "profile" in only:
        found["profile"] = profile(sampler, never, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
