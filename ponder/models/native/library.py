"""llama.c as a library: compiled for this processor at its first use and kept in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from ponder.whole import cache_folder

SOURCE = Path(__file__).with_name("llama.c")
FLAGS = ("-O3", "-shared", "-fPIC")
SECONDS = 120


class Size(ctypes.Structure):
    """The sizes of a model, as llama.c has them."""

    _fields_ = (*((name, ctypes.c_int32) for name in (*"dhgwmvl", "pad")), ("eps", ctypes.c_float))


_P, _L, _I, _F = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float
_FUNCTIONS: dict[str, tuple[object, list[object]]] = {
    "packed_floats": (_L, [_P]),
    "saved_floats": (_L, [_P, _L, _L, _I]),
    "scratch_floats": (_L, [_P, _L, _L]),
    "draw_floats": (_L, [_P, _L, _L]),
    "pack_weights": (None, [_P, _P, _P, _P]),
    "forward": (None, [*[_P] * 6, _L, _L, _I, _P, _P, _P]),
    "backward": (None, [*[_P] * 6, _L, _L, _P, _P, _P, _P]),
    "draw": (None, [*[_P] * 7, _L, _L, _P, _P, _P, _L, _P, _F, _L, _P, _P, _P, _P]),
}


def library() -> ctypes.CDLL | None:
    """The library; None where it is switched off or cannot be built (`state` says why)."""
    return _opened()[0]


def state() -> str:
    """For a person: what small models run on here."""
    found, told = _opened()
    return f"C ({told})" if found is not None else f"torch ({told})"


@functools.cache
def _opened() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("PONDER_NATIVE", "1") == "0":
        return None, "PONDER_NATIVE=0"
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        return None, "no C compiler; several times slower"
    try:
        found = ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{compiler} failed: {' '.join(str(error).split())[:200]}"
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found, compiler


def _built(compiler: str) -> Path:
    """The compiled library's path. Raises OSError or SubprocessError if it cannot be compiled."""
    sources = b"".join(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]")))
    known = hashlib.sha256(sources + _processor().encode() + compiler.encode()).hexdigest()[:16]
    folder = cache_folder()
    path = folder / f"llama-{known}.so"
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        space = tempfile.mkdtemp(dir=folder)
    except OSError:  # a read-only home: it is compiled for this process alone
        space = tempfile.mkdtemp()
        path = Path(space) / "kept.so"
    part = Path(space) / path.name
    try:
        try:
            _compile(compiler, "-march=native", part)
        except subprocess.CalledProcessError:  # not every compiler knows its processor by that name
            _compile(compiler, "-O3", part)
        os.replace(part, path)
    finally:
        if path.parent != part.parent:
            shutil.rmtree(space, ignore_errors=True)
    return path


def _compile(compiler: str, flag: str, target: Path) -> None:
    command = [*shlex.split(compiler), *FLAGS, flag, "-o", str(target), str(SOURCE), "-lm"]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def _processor() -> str:
    """What it can do: a home may be shared by machines that differ."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.system()} {platform.processor()} {flags}"
