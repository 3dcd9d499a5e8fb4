"""Rocq (Coq) as the judge of proofs: `coqc` for the verdict, `coqtop` for what each sentence does.

A proof is checked in two processes. The first compiles the theorem with the proof. The second, which never sees the
model's text, states the theorem anew, takes the compiled proof for it and asks for its assumptions. Coq's own account
of where sentences begin and end must be ours, so nothing can run that was not looked at.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ponder.sandbox import Broken, Limits, bwrap, chosen
from ponder.sandbox.external import Ended, run
from ponder.tasks.theorems import Theorem
from ponder.tasks.vernacular import ENDS, Script, Sentence, refusal, sentences, short, strange
from ponder.types import Verdict, correct, unverified, wrong

CLOSED = "Closed under the global context"
LIMITS = Limits(cpu=10, memory=2 * 2**30, file=32 * 2**20, tmp=32 * 2**20)
REMEMBERED = 256
"""Compiled definitions that are kept."""

_CHARS = re.compile(r"^Chars (\d+) - (\d+) \[", re.MULTILINE)
_ERROR = re.compile(r"^(?:Error|Anomaly):?\s*(.*)", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"<prompt>[^<\n]* < (\d+) \|([^|\n]*)\| \d+ < </prompt>")
_LINE = re.compile(r'^File "[^"\n]*", line (\d+),', re.MULTILINE)
_IDENTITY = re.compile(r" \(ID \d+\)")
_MESSAGE = re.compile(r"<(infomsg|warning)>.*?</\1>\n?", re.DOTALL)
_MEMORY = re.compile(r"out of memory", re.IGNORECASE)
_FINDLIB = ("/etc/ocamlfind.conf", "/etc/ocamlfind.conf.d")


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one sentence: whether it was accepted, and the goals after it, as the prover shows them."""

    sentence: Sentence
    accepted: bool
    state: str


class Rocq:
    """Checks proofs; safe from several threads. `mode`: as of the sandbox, 'bwrap' or 'none'."""

    def __init__(self, limits: Limits | None = None, mode: str = "") -> None:
        self.limits = limits or LIMITS
        self._mode = mode
        self._compiled: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._libraries: list[str] | None = None

    @property
    def isolated(self) -> bool:
        return chosen(self._mode) != "none"

    def missing(self) -> str:
        """Why proofs cannot be checked here; '' if they can."""
        if shutil.which("coqc") is None:
            return "no coqc was found; install Rocq (Debian: apt-get install --no-install-recommends coq)"
        return bwrap.missing() if self.isolated else ""

    def judge(self, theorem: Theorem, script: Script, allowed: Collection[str] = ()) -> Verdict:
        """Correct, wrong or unverified, with the reason. `allowed`: axioms that the proof may rest on."""
        refused = next((f"{short(s.text)}: {why}" for s in script.tactics if (why := refusal(s))), "")
        refused = refused or strange(script.tactics)
        if refused:
            return wrong(refused)
        if why := self.missing():
            return unverified(why)
        try:
            with tempfile.TemporaryDirectory(prefix="ponder-proof-") as place:
                os.chmod(place, 0o700)
                return self._judge(theorem, script, Path(place), allowed)
        except Broken as error:
            return unverified(str(error))

    def _judge(self, theorem: Theorem, script: Script, folder: Path, allowed: Collection[str]) -> Verdict:
        head = self._given(theorem, folder) + f"{theorem.stated}\n"
        text, places = _assembled(head, script)
        (folder / "Answer.v").write_bytes(text)
        ended = self._coq("coqc", folder, "-time", "Answer.v")
        if (failed := _failed(ended)) is not None:
            return failed
        said = [(int(a), int(b)) for a, b in _CHARS.findall(ended.output) if int(a) >= places[0][0]]
        if ended.status != 0:
            line = _LINE.search(ended.errors)
            if line is None and not said:
                return unverified(f"coqc ended with status {ended.status}: {short(ended.errors)}")
            if line is not None and int(line[1]) <= head.count("\n"):
                return unverified(f"the theorem itself is refused: {_error(ended.errors)}")
            return wrong(_where(script, len(said)) + _error(ended.errors))
        if said != places:
            return unverified("Coq reads the proof's sentences otherwise than they were checked")
        return self._assumptions(theorem, folder, allowed)

    def _assumptions(self, theorem: Theorem, folder: Path, allowed: Collection[str]) -> Verdict:
        """The second process: is it this theorem that was proved, and on what does the proof rest?"""
        text = f"{self._given(theorem, folder)}From Task Require Answer.\n"
        text += f"Definition stated : ({theorem.statement}) := Answer.{theorem.name}.\nPrint Assumptions stated.\n"
        (folder / "Check.v").write_text(text, encoding="utf-8")
        ended = self._coq("coqc", folder, "Check.v")
        if ended.how != "exit" or ended.status != 0:
            return unverified(f"the proof's assumptions could not be read: {_error(ended.errors)}")
        said = ended.output.strip()
        if said == CLOSED:
            return correct("proved; closed under the global context")
        title, *lines = said.splitlines()
        names = [line.split()[0] for line in lines if line[:1].strip()]
        if title == "Axioms:" and names and all(name in allowed for name in names):
            return correct(f"proved; rests on {', '.join(names)}, as it may")
        return wrong(f"rests on what is not proved: {', '.join(names)[:200] or short(said)}")

    def trace(self, theorem: Theorem, script: Script) -> list[Seen] | None:
        """What each tactic does, after those before it that were accepted; a refused one leads nowhere. Its end, if it
        was written, is the last. None if that cannot be told.

        A tactic that runs into the time limit is refused, and so is all that comes after it.
        """
        if self.missing():
            return None
        asked = [s for s in _written(script) if s is script.end or not refusal(s)]
        try:
            with tempfile.TemporaryDirectory(prefix="ponder-proof-") as place:
                given = self._given(theorem, Path(place))
                head = f"{given}Set Printing Unfocused.\n{theorem.stated}\n{script.opening}\n"
                ended = self._coq("coqtop", Path(place), "-emacs", given=head + "".join(f"{s.text}\n" for s in asked))
        except Broken:
            return None
        states = _states(ended.output)
        before = len(list(sentences(head)))
        if ended.how not in ("exit", "cpu") or len(states) <= before or states[before - 1].proof != theorem.name:
            return None
        if len(states) > before + 1 + len(asked) or (ended.how == "exit" and len(states) <= before + len(asked)):
            return None  # not one prompt a sentence: the proof prints what looks like prompts
        return _seen(script, states[before - 1 :])

    # --- running

    def _given(self, theorem: Theorem, folder: Path) -> str:
        """The lines that bring what is given; its definitions are compiled once and laid into the folder."""
        if not theorem.definitions:
            return f"{theorem.header}\n" if theorem.header else ""
        key = (theorem.header, theorem.definitions)
        with self._lock:
            found = self._compiled.get(key)
        if found is None:
            (folder / "Given.v").write_text(f"{theorem.header}\n{theorem.definitions}\n", encoding="utf-8")
            ended = self._coq("coqc", folder, "Given.v")
            if ended.how != "exit" or ended.status != 0:
                raise Broken(f"the theorem's definitions are refused: {_error(ended.errors)}")
            found = (folder / "Given.vo").read_bytes()
            with self._lock:
                self._compiled[key] = found
                if len(self._compiled) > REMEMBERED:
                    self._compiled.popitem(last=False)
        (folder / "Given.vo").write_bytes(found)
        return f"{theorem.header}\nFrom Task Require Import Given.\n"

    def _coq(self, name: str, folder: Path, *arguments: str, given: str = "") -> Ended:
        found = shutil.which(name)
        if found is None:
            raise Broken(f"no {name} was found beside coqc; install the whole of Rocq")
        line = [found, "-q", "-Q", ".", "Task", "-w", "none", *arguments]
        line[1:1] = ["-noglob"] if name == "coqc" else []
        return run(
            line,
            folder,
            given=given,
            readable=[*self._folders(found), *_FINDLIB],
            limits=self.limits,
            isolated=self.isolated,
            together=name == "coqtop",
        )

    def _folders(self, binary: str) -> list[str]:
        """Where Coq's own files are, as it says."""
        if self._libraries is None:
            coqc = shutil.which("coqc") or binary
            said = subprocess.run([coqc, "-config"], capture_output=True, text=True, timeout=60, check=False).stdout
            wanted = [
                line.partition("=")[2] for line in said.splitlines() if line.startswith(("COQLIB=", "COQCORELIB="))
            ]
            self._libraries = [os.path.realpath(path) for path in wanted if os.path.isdir(path)]
        return [*self._libraries, os.path.realpath(binary)]


def _written(script: Script) -> list[Sentence]:
    return [*script.tactics, *([] if script.end is None else [script.end])]


def _assembled(head: str, script: Script) -> tuple[bytes, list[tuple[int, int]]]:
    """The file, a sentence a line, and where in it Coq must find the sentences of the proof, in bytes."""
    text = head.encode()
    places: list[tuple[int, int]] = []
    for sentence in [script.opening, *(s.text for s in script.tactics), ENDS[0]]:
        raw = sentence.encode()
        places.append((len(text), len(text) + len(raw)))
        text += raw + b"\n"
    return text, places


def _failed(ended: Ended) -> Verdict | None:
    """The verdict on a run that did not end by itself, or for want of memory."""
    if ended.how == "cpu":
        return wrong("time limit: the proof takes too long to check")
    if ended.how == "output":
        return wrong("the proof writes too much")
    if ended.how == "late":
        return unverified("the machine was too busy: the check did not get its processor time")
    if ended.how == "killed":
        return unverified("the check was killed from outside")
    if ended.status > 128 and ended.status != 129:  # 129 is Coq's own, for an anomaly
        return wrong(f"the proof crashes the prover (signal {ended.status - 128})")
    if ended.status != 0 and _MEMORY.search(ended.errors):
        return wrong("memory limit: the proof takes too much of it")
    return None


def _where(script: Script, accepted: int) -> str:
    """Which sentence failed; the opening is the first."""
    if not accepted:
        return f"{short(script.opening)}: "
    if accepted <= len(script.tactics):
        return f"step {accepted} of {len(script.tactics)}, {short(script.tactics[accepted - 1].plain, 60)}: "
    return "at the end of the proof: "


def _error(errors: str) -> str:
    found = _ERROR.search(errors)
    return " ".join((found[1] if found else errors).split())[:300] or "no message"


class State(NamedTuple):
    """A prompt: the open proof, the state's number, and what was printed since the prompt before."""

    proof: str
    number: str
    printed: str


def _states(output: str) -> list[State]:
    found: list[State] = []
    at = 0
    for prompt in _PROMPT.finditer(output):
        found.append(State(prompt[2], prompt[1], output[at : prompt.start()]))
        at = prompt.end()
    return found


def _seen(script: Script, states: Sequence[State]) -> list[Seen]:
    """`states`: after the theorem, after the opening, and after each sentence that was asked. Those that may not stand
    in a proof were not."""
    found: list[Seen] = []
    stated, opened, *rest = states
    number, goals = opened.number, _goals(opened.printed) or _goals(stated.printed)
    after = iter(rest)
    for sentence in _written(script):
        state = None if sentence is not script.end and refusal(sentence) else next(after, None)
        accepted = state is not None and state.number != number
        if state is not None and accepted:
            number = state.number
            goals = "" if sentence is script.end else _goals(state.printed) or goals
        found.append(Seen(sentence, accepted, goals))
    return found


def _goals(printed: str) -> str:
    """The goals alone: without messages, and without numbers that say how they came about."""
    return _IDENTITY.sub("", _MESSAGE.sub("", printed)).strip()
