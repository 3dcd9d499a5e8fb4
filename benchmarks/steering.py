"""A steering step, sampling and update, against TRL's GRPOTrainer: the same model, problems, group and settings.

    python -m venv /tmp/trl && /tmp/trl/bin/pip install -c constraints.txt torch transformers trl accelerate datasets
    python benchmarks/steering.py --trl /tmp/trl/bin/python [--model FOLDER] [--rounds 5] [--steps 4] [--json FILE]
                                  [--trl-args '{"cache_implementation": "static"}']

Without `--trl` it shows ponder's own figures. Without `--model` (a checkpoint of the loop's, say
runs/loop-…/checkpoints/base) the loop's base phase first trains one, shorter.

Every contestant is a process of its own that loads the same checkpoint and takes a step when told to, in turn, on one
thread in float32; starting up and the first steps are not timed. Each step draws 64 problems × 8 chains of at most 40
tokens (`--problems`, `--cap`) at temperature 1, judges them by the same Countdown verifier, and takes one optimiser
step. A round is a few steps of each; ratios are of one round, and their median, least and greatest are shown.

ponder       as the loop runs it: groups without a range of rewards are left out of the update
ponder, all  every chain is in the update, as in TRL: the same work
TRL          no checkpointing, no reference model (beta = 0), the whole step in one batch, no logging or evaluation

Target: at least 5 times faster than TRL. Seconds are wall time; CPU seconds are less disturbed by other programs.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

ROOT = Path(__file__).parents[1]
PARTS = ("sampling", "verifying", "forward and loss", "backward", "optimiser", "rest")
WARM = 3  # steps before the first that counts
OURS, ALL, TRL = "ponder", "ponder, all", "TRL"


# --- in a contestant's process ------------------------------------------------------------------------------------


class Clock:
    """Takes steps when told to: reads how many, lets them happen, writes a JSON line on them. Parts do not overlap: one
    inside another is taken off it."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # whatever else is printed is no answer
        self._inside: list[float] = []
        self._told: list[dict[str, Any]] = []
        self.tokens = 0
        self.facts: dict[str, Any] = {}
        self._wait()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        self._wanted = int(line)
        self._start()

    def _start(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.tokens = 0
        self._began = time.perf_counter(), time.process_time()

    def part(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` with its time in part `name`."""

        @functools.wraps(call)
        def timed(*arguments: Any, **others: Any) -> Any:
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                return call(*arguments, **others)
            finally:
                took = time.perf_counter() - began
                self.parts[name] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return timed

    def common(self) -> None:
        """The parts that are torch's in both."""
        torch.Tensor.backward = self.part("backward", torch.Tensor.backward)  # type: ignore[method-assign]
        torch.optim.AdamW.step = self.part("optimiser", torch.optim.AdamW.step)  # type: ignore[method-assign]

    def step(self, **figures: float) -> None:
        """A step is done."""
        took, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self.parts["rest"] = took - sum(self.parts.values())
        self._told.append({"seconds": took, "cpu": cpu, "tokens": self.tokens, "parts": self.parts, **figures})
        if len(self._told) == self._wanted:
            print(json.dumps({"steps": self._told, "facts": self.facts}), file=self._out)
            self._told = []
            self._wait()
        self._start()


def setting(told: dict[str, Any]) -> tuple[Any, Any, list[Any], list[Any]]:
    """The configuration (GRPO with DAPO's loss, nothing refilled), the loop's task, its training problems, and those of
    all steps in their order."""
    from ponder.loop.recipe import read
    from ponder.train import steer
    from ponder.train.batches import Pool
    from ponder.train.trainer import Optimiser

    recipe = read(None)
    config = steer.Config(
        steps=told["steps"], problems=told["problems"], group=8, max_tokens=told["cap"], advantage="grpo", loss="dapo",
        tokens=told["tokens"], optimiser=Optimiser(lr=told["lr"], warmup=5, final=0.2),
    )  # fmt: skip
    task = recipe.task.task("train", 0)
    own = list(task.problems(recipe.task.train_problems))
    return config, task, own, Pool(own, config.seed, "problems").between(0, config.steps * config.problems)


def ponder_steps(told: dict[str, Any], every: bool) -> None:
    from ponder.engines.hf import loading
    from ponder.engines.hf.engine import HFEngine
    from ponder.tasks.countdown import Countdown, CountdownRules
    from ponder.train import steer
    from ponder.train.trainer import Trainer
    from ponder.types import Sampling

    config, task, problems, _ = setting(told)
    cpu = torch.device("cpu")
    loaded = loading.load(told["model"], dtype="float32", shorter="float32", device=cpu, revision="")
    engine = HFEngine(loaded, Sampling(temperature=1.0, max_tokens=config.max_tokens), name="base")
    clock = Clock()
    clock.common()
    clock.facts = {name: getattr(config, name) for name in ("group", "problems", "max_tokens", "tokens")}
    engine.generate = clock.part("sampling", engine.generate)  # type: ignore[method-assign]
    Countdown.verify = clock.part("verifying", Countdown.verify)  # type: ignore[method-assign]
    CountdownRules.extract = clock.part("verifying", CountdownRules.extract)  # type: ignore[method-assign]
    Trainer.update = clock.part("forward and loss", Trainer.update)  # type: ignore[method-assign]
    if every:
        steer.adv.keeps = lambda rewards, tolerance=0.0: torch.ones(rewards.shape[0], dtype=torch.bool)

    def done(step: int, steps: int, figures: dict[str, float]) -> None:
        clock.tokens = int(figures["tokens"])
        clock.step(trained=figures.get("trained_tokens", 0.0), reward=figures["reward"])

    steer.train(config, engine, task, problems, progress=done)


def trl_steps(told: dict[str, Any]) -> None:
    import transformers
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    transformers.utils.logging.set_verbosity_error()
    config, task, _, problems = setting(told)
    tokenizer = AutoTokenizer.from_pretrained(told["model"])
    model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32)
    chains = config.problems * config.group
    options = {
        "output_dir": told["folder"], "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": chains, "gradient_accumulation_steps": 1, "num_generations": config.group,
        "max_completion_length": config.max_tokens, "temperature": 1.0, "beta": 0.0, "loss_type": "dapo",
        "scale_rewards": "batch", "shuffle_dataset": False, "max_steps": config.steps,
        "learning_rate": config.optimiser.lr, "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": config.optimiser.final}, "warmup_steps": config.optimiser.warmup,
        "adam_beta1": config.optimiser.beta1, "adam_beta2": config.optimiser.beta2, "optim": "adamw_torch_fused",
        "max_grad_norm": config.optimiser.clip, "dataloader_num_workers": 0, "dataloader_pin_memory": False,
        "logging_strategy": "no", "save_strategy": "no", "eval_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "use_vllm": False,
    } | told["options"]  # fmt: skip

    clock = Clock()
    clock.common()
    clock.facts = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}

    def countdown(completions: list[str], problem: list[str], **_: Any) -> list[float]:
        return [task.verify(own, text).reward for own, text in zip(problem, completions, strict=True)]

    seen: dict[str, float] = {}

    class Timed(trl.GRPOTrainer):  # type: ignore[misc,name-defined]
        def _calculate_rewards(self, *arguments: Any, **others: Any) -> Any:
            found = super()._calculate_rewards(*arguments, **others)
            seen["reward"] = float(found.mean())
            return found

        def _generate_single_turn(self, *arguments: Any, **others: Any) -> Any:
            found = super()._generate_single_turn(*arguments, **others)
            clock.tokens += sum(map(len, found[0]))
            return found

    for name, method in (("sampling", "_generate_single_turn"), ("verifying", "_calculate_rewards"),
                         ("forward and loss", "compute_loss")):  # fmt: skip
        setattr(Timed, method, clock.part(name, getattr(Timed, method)))

    class Told(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step(trained=clock.tokens, reward=seen["reward"])

    rows = Dataset.from_list([{"prompt": problem.text, "problem": problem.id} for problem in problems])
    arguments = trl.GRPOConfig(**options)
    Timed(
        model=model, processing_class=tokenizer, reward_funcs=countdown, args=arguments, train_dataset=rows,
        callbacks=[Told()],
    ).train()  # fmt: skip
    clock._wait()


# --- the referee --------------------------------------------------------------------------------------------------


class Contestant:
    """A process that takes steps when told to."""

    def __init__(self, name: str, python: str, told: dict[str, Any], folder: Path) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        told = told | {"worker": name, "folder": str(folder / "trl")}
        self._process = subprocess.Popen(
            [python, __file__, "--worker", json.dumps(told)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log.open("w"), text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.rounds: list[list[dict[str, Any]]] = []
        self.facts: dict[str, Any] = self._take(WARM)["facts"]

    def _take(self, steps: int) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]
        except (ValueError, OSError):
            status = self._process.wait(30)
            raise SystemExit(f"{self.name} has stopped ({status}):\n{self._log.read_text()[-3000:]}") from None

    def run(self, number: int) -> None:
        """One step of round `number`."""
        if len(self.rounds) == number:
            self.rounds.append([])
        self.rounds[number] += self._take(1)["steps"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def by_round(self, figure: str) -> list[float]:
        """Its mean over each round's steps."""
        return [statistics.fmean(step[figure] for step in own) for own in self.rounds]

    def share(self, part: str) -> float:
        steps = [step for own in self.rounds for step in own]
        return sum(step["parts"][part] for step in steps) / sum(step["seconds"] for step in steps)


def base(folder: Path) -> Path:
    """A policy that writes chains as the loop's base does, trained for a shorter time."""
    from ponder.folder import Folder
    from ponder.loop import phases
    from ponder.loop.recipe import read

    recipe = read(None)
    shorter = replace(recipe.base, demonstrations=4, config=replace(recipe.base.config, steps=1200))
    run = phases.Run(replace(recipe, base=shorter), Folder(folder), lambda *_: None)
    torch.set_num_threads(1)
    phases.base(run, folder / "base")
    return run.checkpoint("base")


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def told(contestants: list[Contestant]) -> dict[str, Any]:
    """Prints the figures, and returns them."""
    found: dict[str, Any] = {}
    print(f"{'':<13}{'seconds a step':>24}{'CPU seconds a step':>24}{'tokens':>9}{'trained on':>12}{'reward':>9}")
    for own in contestants:
        middle = {k: statistics.median(own.by_round(k)) for k in ("tokens", "trained", "reward")}
        print(
            f"{own.name:<13}{spread(own.by_round('seconds'), '.3f'):>24}{spread(own.by_round('cpu'), '.3f'):>24}"
            f"{middle['tokens']:>9,.0f}{middle['trained']:>12,.0f}{middle['reward']:>9.3f}"
        )
        found[own.name] = {"rounds": own.rounds, "facts": own.facts}
    print(f"\n{'shares':<13}" + "".join(f"{part:>18}" for part in PARTS))
    for own in contestants:
        print(f"{own.name:<13}" + "".join(f"{own.share(part):>18.0%}" for part in PARTS))
    other = next((c for c in contestants if c.name == TRL), None)
    for own in contestants if other else ():
        assert other is not None
        if own is other:
            continue
        ratios = {
            figure: [b / a for a, b in zip(own.by_round(figure), other.by_round(figure), strict=True)]
            for figure in ("seconds", "cpu", "tokens")
        }
        ratios["tokens a second"] = [s / t for s, t in zip(ratios["seconds"], ratios["tokens"], strict=True)]
        found[own.name]["ratios"] = ratios
        print(
            f"\n{own.name}: a step is {spread(ratios['seconds'], '.2f')} times as fast as TRL's; by CPU seconds "
            f"{spread(ratios['cpu'], '.2f')}; by tokens a second {spread(ratios['tokens a second'], '.2f')}"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", metavar="PYTHON", help="an interpreter that has trl")
    parser.add_argument("--trl-args", type=json.loads, default={}, metavar="JSON", help="for GRPOConfig")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of each contestant in a round")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--problems", type=int, default=64, help="of a step, 8 chains each")
    parser.add_argument("--cap", type=int, default=40, help="most tokens of a chain")
    parser.add_argument("--tokens", type=int, default=4096, help="of ponder's micro-batches, with padding")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        torch.set_num_threads(1)
        name = arguments.worker["worker"]
        return trl_steps(arguments.worker) if name == TRL else ponder_steps(arguments.worker, every=name == ALL)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = (arguments.model or base(folder)).resolve()
        asked = {
            "model": str(model), "steps": WARM + arguments.rounds * arguments.steps, "lr": arguments.lr,
            "options": arguments.trl_args, "tokens": arguments.tokens, "problems": arguments.problems,
            "cap": arguments.cap,
        }  # fmt: skip
        pythons = {OURS: sys.executable, ALL: sys.executable} | ({TRL: arguments.trl} if arguments.trl else {})
        contestants = [Contestant(name, python, asked, folder) for name, python in pythons.items()]
        for number in range(arguments.rounds):
            for _ in range(arguments.steps):
                for own in contestants:
                    own.run(number)
        for own in contestants:
            own.close()
    facts = contestants[0].facts
    print(
        f"{arguments.model or 'a tiny Llama, trained here'}: {facts['problems']} problems × {facts['group']} chains of "
        f"at most {facts['max_tokens']} tokens a step; {arguments.rounds} rounds of {arguments.steps} steps, one "
        f"thread, load {os.getloadavg()[0]:.1f}; ponder's micro-batches: at most {facts['tokens']} padded tokens"
    )
    if arguments.trl:
        print(" ".join(f"{k} {v}" for k, v in contestants[-1].facts.items()), arguments.trl_args or "")
    found = told(contestants)
    if not arguments.trl:
        print("\nFor the comparison: --trl PYTHON, an interpreter that has trl (--help says how to make one).")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
