"""Training in two processes is training in one: the same gradients, draws, figures and decisions, data parallel and
sharded (FSDP2, on CPUs by gloo).

The processes run this very file (`main`), all scenarios in one start, and leave what they found for the tests here.
"""

from __future__ import annotations

import gc
import importlib.util
import math
import os
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs ponder[local]")

import torch

from ponder.engines.hf import loading
from ponder.engines.hf.engine import HFEngine
from ponder.errors import UsageError
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.tasks.base import Row, RowTask, Rules
from ponder.train import parallel, prune, sft, steer, value
from ponder.train.batches import Example, chunks
from ponder.train.parallel import Processes
from ponder.train.trainer import Optimiser, Trainer
from ponder.types import Sampling, Verdict, correct, wrong

TOKENIZER = word_tokenizer(arithmetic_words(9))
PLAIN = Optimiser(lr=1e-3, warmup=1, clip=1e9)  # gradients are seen as they are
CLOSE: dict[str, Any] = {"atol": 1e-10, "rtol": 0}


def policy(seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    model = tiny_llama(TOKENIZER, hidden=16, layers=2, heads=2, mlp=16, context=64, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # a fresh model's predictions hardly differ
    return model.to(dtype).eval()


def examples(count: int) -> list[Example]:
    """Of unlike lengths."""
    return [
        Example.after((2 + i % 5, 3), [2 + (3 * i + j * j) % 17 for j in range(1 + i * i % 13)]) for i in range(count)
    ]


# --- what is done in one process and in two -----------------------------------------------------------------------


@dataclass
class Seen:
    """The gradients [steps][parameters] of all updates, and the weights and figures at the end."""

    gradients: list[list[Any]] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    told: list[dict[str, float]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def progress(self, step: int, steps: int, figures: dict[str, float]) -> None:
        self.told.append(dict(figures))

    def end(self, model: Any) -> None:
        self.weights = [p.detach().clone() for p in model.parameters()]


Scenario = Callable[[Path, Seen], None]


def supervised(batch: int, tokens: int) -> Scenario:
    def scenario(folder: Path, seen: Seen) -> None:
        model = policy()
        sft.train(
            sft.Config(steps=3, batch=batch, tokens=tokens, optimiser=PLAIN), model, examples(9), None, seen.progress
        )
        seen.end(model)

    return scenario


class Odd(Rules):
    """Chains are to have an odd number of words."""

    def extract(self, text: str) -> str:
        return text

    def judge(self, reference: Any, completion: str) -> Verdict:
        return correct("odd") if len(completion.split()) % 2 else wrong("even")


def steered(folder: Path, seen: Seen) -> None:
    engine = HFEngine(
        loading.prepared("tiny", policy(dtype=torch.float32), TOKENIZER), Sampling(temperature=1.0), name="tiny", rows=8
    )
    task = RowTask("odd", [Row(f"p{i}", f"{i} + {i % 3} =", None, Odd()) for i in range(7)])
    config = steer.Config(
        steps=2, problems=3, group=3, max_tokens=24, refill=2.5, tokens=60, entropy=0.01, every=1, optimiser=PLAIN
    )
    steer.train(config, engine, task, list(task.problems()), folder, seen.progress)
    seen.end(engine.model)
    seen.more["policy"] = engine.policy


def learned(folder: Path, seen: Seen) -> None:
    """The losses of a batch with an entropy bonus and a KL, in two updates, apart from what is drawn."""
    model, items = policy(), examples(9)
    config = steer.Config(steps=1, updates=2, tokens=40, entropy=0.01, kl=0.1, optimiser=PLAIN)
    trainer = Trainer(model, PLAIN, 2)
    sampled = [tuple(-2.5 + 0.1 * (i % 5) for i in range(item.count)) for item in items]
    gains = torch.tensor([(-1.0) ** i * (i + 1) for i in range(9)])
    told = steer._learn(config, trainer, steer._Batch(items, sampled, gains), policy(seed=1))
    seen.more["told"] = list(told.values())
    trainer.publish()
    seen.end(model)


def judged(count: int, seed: int = 0) -> list[prune.Judged]:
    found = []
    for i in range(count):
        words = tuple(2 + (7 * i + seed + j * j) % 17 for j in range(3 + (i + seed) % 5))
        found.append(
            prune.Judged(
                f"p{i // 4}", (2 + i // 4 % 7, 3), words, (3, len(words) + 1), float((i + i // 4) % 2), (0.5, 1.0)
            )
        )
    return found


def pruned(kind: prune.Kind) -> Scenario:
    def scenario(folder: Path, seen: Seen) -> None:
        config = prune.Config(kind=kind, steps=3, batch=10, tokens=60, check=2, optimiser=PLAIN)
        found = prune.train(config, policy(), judged(24), judged(12, 5), folder, seen.progress)
        seen.end(found.model)
        seen.more["auroc"] = [check.auroc for check in found.history]

    return scenario


def valued(folder: Path, seen: Seen) -> None:
    states = [
        value.State(f"p{i // 4}", tuple(2 + (i + j) % 17 for j in range(1 + i % 4)), i % 3, 2 + i % 3)
        for i in range(24)
    ]
    config = value.Config(steps=3, batch=6, tokens=12, check=1, stop="brier", optimiser=PLAIN)
    found = value.train(config, policy(), states[:16], states[12:], folder, seen.progress)
    seen.end(found.model)
    seen.more["auroc"] = [check.brier for check in found.history]


def losses(trainer: Trainer, items: Sequence[Example]) -> Iterator[torch.Tensor]:
    for part, real in trainer.world.parts(items, 30):
        batch = sft.pad([items[i] for i in part])
        yield real * -sft.logprobs(trainer.model, batch).sum() / sum(item.count for item in items)


def resumed(folder: Path, seen: Seen) -> None:
    """Two steps, a checkpoint, and a third step by another trainer on another model. Is there a checkpoint in `folder`
    already, only the third step is taken."""
    first = Trainer(policy(), PLAIN, 3, folder=folder, every=2)
    while first.step < 2:
        first.update(losses(first, examples(5 + first.step)))
        first.log(loss=1.0)
        first.maybe_save()
    first.publish()
    first.world.total(0.0)  # the main process has written
    model = policy(seed=1)
    second = Trainer(model, PLAIN, 3, folder=folder, every=2)
    assert second.step == 2
    assert all(torch.equal(a, b) for a, b in zip(first.given.parameters(), model.parameters(), strict=True))
    second.update(losses(second, examples(7)))
    second.publish()
    seen.end(model)


def adapted(folder: Path, seen: Seen) -> None:
    """Low-rank adapters alone are trained and kept, and drawn at random once, not once a process."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):  # peft's own, about transformers
        torch.manual_seed(3 + parallel.here().rank)
        model = get_peft_model(policy(), LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    trainer = Trainer(model, PLAIN, 2, folder=folder, every=1)
    kept = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainer.trained == kept == 2 * 2 * (16 + 16 + 16 + 16)
    for _ in range(2):
        trainer.update(losses(trainer, examples(5)))
    trainer.save()
    trainer.publish()
    seen.end(model)


def broken(folder: Path, seen: Seen) -> None:
    """A loss that is infinite in the last process stops all of them, before anything is changed."""
    trainer = Trainer(policy(), PLAIN, 2)
    factor = math.inf if trainer.world.rank == trainer.world.count - 1 else 1.0
    with pytest.raises(FloatingPointError, match="norm is"):
        trainer.update(loss * factor for loss in losses(trainer, examples(6)))
    trainer.publish()
    seen.end(trainer.given)


SCENARIOS: dict[str, Scenario] = {
    "sft": supervised(7, 30),
    "sft-idle": supervised(3, 1),  # the last row of micro-batches is not full
    "sft-one": supervised(1, 100),
    "steer": steered,
    "steer-learn": learned,
    "implicit": pruned("implicit"),
    "orm": pruned("orm"),
    "pairwise": pruned("pairwise"),
    "value": valued,
    "resumed": resumed,
    "broken": broken,
} | ({"peft": adapted} if importlib.util.find_spec("peft") else {})


def perform(folder: Path) -> dict[str, Seen]:
    """All scenarios in this process, and those beside it."""
    found = {}
    update = Trainer.update
    for name, scenario in SCENARIOS.items():
        seen = Seen()

        def watched(trainer: Trainer, losses: Any, seen: Seen = seen) -> float:
            norm = update(trainer, losses)
            own = [p.grad for p in trainer._trained]
            seen.gradients.append([None if g is None else trainer.world.full(g).clone() for g in own])
            return norm

        Trainer.update = watched  # type: ignore[method-assign]
        try:
            scenario(folder / name, seen)
        finally:
            Trainer.update = update  # type: ignore[method-assign]
        found[name] = seen
    return found


def shard() -> None:
    """FSDP2 as accelerate has it on GPUs: it does not turn it on for CPUs, where torch can do it all the same."""
    from accelerate import DistributedType, FullyShardedDataParallelPlugin
    from accelerate.state import PartialState

    state = parallel.here()._accelerator.state  # type: ignore[attr-defined]
    PartialState._shared_state["distributed_type"] = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    if parallel.here().mixed:
        state.fsdp_plugin.set_mixed_precision("bf16")


def mixed() -> dict[str, Any]:
    """bfloat16 weights, trained as float32 ones."""
    model = policy(dtype=torch.bfloat16)
    trainer = Trainer(model, Optimiser(lr=1e-4, warmup=1, clip=1e9), 3)
    before = [trainer.world.full(p).clone() for p in trainer._trained]
    trainer.update(losses(trainer, examples(7)))
    gradient = [trainer.world.full(p.grad).clone() for p in trainer._trained]
    after = [trainer.world.full(p).clone() for p in trainer._trained]
    trainer.publish()
    return {"before": before, "gradient": gradient, "after": after, "given": [p.detach() for p in model.parameters()]}


def child(folder: Path) -> None:
    """One of the processes: everything data parallel, then everything sharded."""
    torch.set_num_threads(1)
    world = parallel.here()
    found: dict[str, Any] = {}
    for name in ("data", "shards"):
        if name == "shards":
            shard()
            assert world.sharded  # type: ignore[attr-defined]
        if world.mixed:
            found[name] = mixed()
        else:
            found[name] = {key: vars(seen) for key, seen in perform(folder / name).items()}
            resumed(folder / "alone" / "resumed", seen := Seen())
            found[name]["from one"] = vars(seen)
    torch.save(found, folder / f"found-{'mixed' if world.mixed else 'plain'}-{world.rank}.pt")
    torch.distributed.destroy_process_group()


def main(folder: Path) -> int:
    """Two processes, then two that compute in bfloat16. They are forked, so that what they import is read once."""
    importlib.import_module("accelerate")
    gc.freeze()  # accelerate collects garbage at each training: not among all that was imported
    for precision in ("no", "bf16"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        running = []
        for rank in ("0", "1"):
            own = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port, "ACCELERATE_MIXED_PRECISION": precision}
            if not (number := os.fork()):
                os.environ.update(own)
                try:
                    child(folder)
                    os._exit(0)
                finally:
                    traceback.print_exc()
                    os._exit(1)
            running.append(number)
        while running:
            number, status = os.wait()
            running.remove(number)
            if status:
                for other in running:
                    os.kill(other, signal.SIGKILL)
                return 1
    return 0


# --- the tests ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


@pytest.fixture(scope="module")
def one(place: Path) -> dict[str, Any]:
    return {name: vars(seen) for name, seen in perform(place / "alone").items()}


@pytest.fixture(scope="module")
def both(place: Path, one: Any) -> dict[str, list[dict[str, Any]]]:
    """What each of two processes found, in full precision and in bfloat16."""
    pytest.importorskip("accelerate", reason="needs ponder[local]")
    about = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    about |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, __file__, str(place)]
    done = subprocess.run(command, env=os.environ | about, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-4000:]
    return {
        name: [torch.load(place / f"found-{name}-{rank}.pt", weights_only=False) for rank in range(2)]
        for name in ("plain", "mixed")
    }


@pytest.fixture(scope="module")
def two(both: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = both["plain"]
    return found


@pytest.mark.parametrize("how", ["data", "shards"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_are_one(one: Any, two: Any, name: str, how: str) -> None:
    expected, close = one[name], CLOSE | ({"atol": 2e-5} if name == "steer" else {})  # the sampler is float32's
    for rank, found in enumerate(run[how][name] for run in two):
        assert len(found["gradients"]) == len(expected["gradients"])
        for step, gradients in zip(expected["gradients"], found["gradients"], strict=True):
            assert any(g is not None and g.abs().max() > 1e-4 for g in step)
            for a, b in zip(step, gradients, strict=True):
                assert (a is None) == (b is None)
                assert a is None or torch.allclose(a, b, **close)
        assert all(
            torch.allclose(a, b, **close | {"atol": 1e-6})
            for a, b in zip(expected["weights"], found["weights"], strict=True)
        )
        assert len(found["told"]) == (0 if rank else len(expected["told"]))
        for a, b in zip(expected["told"], found["told"], strict=False):
            near = {"abs": 1e-5, "rel": 1e-5} if name == "steer" else {"abs": 1e-9}
            assert a == pytest.approx(b, **near)
        assert {key: pytest.approx(v, abs=1e-9) for key, v in found["more"].items()} == expected["more"]


def test_all_processes_end_with_the_same_weights(two: Any) -> None:
    for how in ("data", "shards"):
        for name, first in two[0][how].items():
            assert all(torch.equal(a, b) for a, b in zip(first["weights"], two[1][how][name]["weights"], strict=True))


def test_steering_had_something_to_learn_from(one: Any) -> None:
    told = one["steer"]["told"]
    assert len(told) == 2 and all(0 < row["dropped"] < 1 and row["problems"] > 3 for row in told)


def test_the_main_process_alone_writes(place: Path, two: Any) -> None:
    for how in ("data", "shards"):
        folder = place / how / "implicit"
        assert sorted(path.name for path in folder.glob("step-*")) == ["step-3"] and (folder / "best.pt").exists()
        for name in ("implicit", "steer"):
            lines = (place / how / name / "metrics.jsonl").read_text().splitlines()
            assert len(lines) == len(two[0][how][name]["told"])


@pytest.mark.parametrize("how", ["data", "shards"])
def test_another_number_of_processes_goes_on(place: Path, one: Any, two: Any, how: str) -> None:
    """From two to one, and (`from one`) from one to two."""
    seen = Seen()
    resumed(place / how / "resumed", seen)
    for own in (seen.weights, two[0][how]["from one"]["weights"]):
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(one["resumed"]["weights"], own, strict=True))
    kept = torch.load(place / how / "resumed" / "step-2" / "training.pt", weights_only=True)
    alone = torch.load(place / "alone" / "resumed" / "step-2" / "training.pt", weights_only=True)
    assert [w.shape for w in kept["weights"]] == [w.shape for w in alone["weights"]]
    assert kept["adam"]["param_groups"] == alone["adam"]["param_groups"]


def test_bfloat16_is_trained_as_float32(both: Any) -> None:
    exact = Trainer(policy(dtype=torch.bfloat16).float(), PLAIN, 3)
    exact.update(losses(exact, examples(7)))
    expected = torch.cat([p.grad.flatten() for p in exact._trained])
    for run in both["mixed"]:
        for how in ("data", "shards"):
            own = run[how]
            assert all(t.dtype == torch.float32 for key in ("before", "gradient", "after") for t in own[key])
            gradient = torch.cat([g.flatten() for g in own["gradient"]])
            assert torch.nn.functional.cosine_similarity(gradient, expected, dim=0) > 0.999
            moved = torch.cat([(a - b).abs().flatten() for a, b in zip(own["before"], own["after"], strict=True)])
            assert 0 < moved[moved > 0].median() < 2e-4  # a step that bfloat16 weights of this size would lose
            for given, after in zip(own["given"], own["after"], strict=True):
                assert given.dtype == torch.bfloat16 and torch.equal(given, after.bfloat16())


# --- one process --------------------------------------------------------------------------------------------------


def placed(rank: int, count: int) -> Processes:
    found = Processes()
    found.rank, found.count = rank, count
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_each_example_is_in_one_micro_batch_of_one_process(count: int, size: int) -> None:
    items = examples(size)
    for tokens in (1, 40, 10_000):
        parts = [list(placed(rank, count).parts(items, tokens)) for rank in range(count)]
        assert len({len(own) for own in parts}) == 1 and parts[0]
        assert sorted(i for own in parts for part, real in own if real for i in part) == list(range(size))
        for part, real in (one for own in parts for one in own):
            assert len(part) == 1 or len(part) * max(len(items[i].ids) for i in part) <= tokens
            assert real or len(part) == 1
        if count == 1:
            assert parts[0] == [(part, True) for part in chunks(items, tokens)]


def test_shares_come_together_in_order() -> None:
    items = list(range(7))
    assert [placed(rank, 3).share(items) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


def test_without_a_launcher_neither_accelerate_nor_processes_are_needed() -> None:
    code = "import sys; from ponder.train import parallel, sft, steer; w = parallel.here(); "
    code += "assert type(w) is parallel.Processes and w.main; print('accelerate' in sys.modules)"
    bare = {k: v for k, v in os.environ.items() if k != "LOCAL_RANK" and not k.startswith("ACCELERATE_")}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, timeout=600)
    assert done.stdout == "False\n", done.stderr


def accelerator(**about: Any) -> Any:
    kind = SimpleNamespace(value=about.pop("kind", "MULTI_GPU"))
    plain = {"mixed_precision": "no", "is_fsdp2": False, "process_index": 0, "num_processes": 1, "device": "cpu"}
    return SimpleNamespace(distributed_type=kind, **plain | about)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"kind": "FSDP"}, "--fsdp_version 2"),
        ({"kind": "DEEPSPEED"}, "DEEPSPEED"),
        ({"mixed_precision": "fp16"}, "bf16"),
    ],
)
def test_launches_that_are_not_supported_are_refused(about: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parallel.Launched(accelerator(**about))
    assert parallel.Launched(accelerator()).apart(model := policy()) is model


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
