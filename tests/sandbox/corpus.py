"""Programs that try to be right without being right, or to harm what is checked after them.

    python tests/sandbox/corpus.py [FIRST [STEP]]    a JSON line for each: what it and its neighbours were found to be

None of them may be correct; each has an innocent neighbour before and after it, which must be, and must find nothing
left behind. By default the task is to double a number (TESTS); some have tests of their own. Standard library only,
since it is also run as another user, by whatever interpreter that user has.
"""

# ruff: noqa: E501  (tables of programs)

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TESTS = ["assert double(2) == 4", "assert double(7) == 14", "assert double(-3) == -6"]

NEIGHBOUR = """
import builtins, os, random, sys, threading
def double(x): return x + x
def left(): return [os.listdir("/tmp"), threading.active_count(), sorted(os.environ) == sorted(ENV), os.getpgid(0) == os.getpid()]
ENV = dict(os.environ)
def draw(): return [random.random(), hash("a")]
"""
NEIGHBOUR_TESTS = [*TESTS, "assert left()[:3] == [[], 1, True]", "assert sum([double(1), len('ab')]) == 4"]

LYING = """
class Lie(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
"""

HOSTILE: dict[str, str | tuple[str, list[str]]] = {
    # --- objects that compare as they like
    "an object equal to everything": LYING + "def double(x): return Lie(1)",
    "an object without a base": "class A:\n    def __eq__(self, o): return True\ndef double(x): return A()",
    "a subclass of int": "class I(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\ndef double(x): return I(x)",
    "a subclass of float": "class F(float):\n    __eq__ = lambda s, o: True\n    __hash__ = None\ndef double(x): return F(x)",
    "a subclass of list": (
        "class L(list):\n    __eq__ = lambda s, o: True\ndef twice(x): return L()",
        ["assert twice([1]) == [2]"],
    ),
    "a lie in a list": (LYING + "def twice(x): return [Lie()]", ["assert twice([1]) == [2]"]),
    "a lie in a dict": (LYING + "def twice(x): return {'a': Lie()}", ["assert twice(1) == {'a': 2}"]),
    "a lie as a key": (LYING + "def twice(x): return {Lie(3): 1}", ["assert twice(1) == {2: 1}"]),
    "a subclass of str": (
        "class S(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\ndef name(): return S('x')",
        ["assert name() == 'y'"],
    ),
    "unittest.mock.ANY": "from unittest.mock import ANY\ndef double(x): return ANY",
    "an object for an approximate test": (
        LYING + "class N(float):\n    def __sub__(s, o): return 0.0\n    __rsub__ = __sub__\ndef root(x): return N(5)",
        ["assert abs(root(2.0) - 1.41421) < 1e-3"],
    ),
    "an object that is less than all": (
        "class N:\n    def __sub__(s, o): return s\n    def __abs__(s): return s\n    def __lt__(s, o): return True\n"
        "def root(x): return N()",
        ["assert abs(root(2.0) - 1.41421) < 1e-3"],
    ),
    "nan for an approximate test": ("def root(x): return float('nan')", ["assert abs(root(2.0) - 1.41421) < 1e-3"]),
    "an object that iterates as it likes": (
        "import sys\nclass I:\n    def __len__(s): return 2\n    def __iter__(s): return iter([1])\ndef f(x): return I()",
        ["assert len(f(1)) == 2"],
    ),
    "a class that answers for its instances": (
        "class M(type):\n    def __instancecheck__(c, o): return True\nclass list(metaclass=M): pass\ndef f(x): return 3",
        ["assert isinstance(f(1), list)"],
    ),
    "a true object": ("class T: pass\ndef is_odd(x): return T()", ["assert is_odd(3)"]),
    "a true object, negated": ("class T:\n    __bool__ = lambda s: False\ndef is_odd(x): return T()", ["assert not is_odd(2)"]),
    # --- ending early
    "sys.exit at a call": "import sys\ndef double(x): sys.exit(0)",
    "sys.exit at the top": "import sys\nsys.exit(0)\ndef double(x): return 1",
    "os._exit at a call": "import os\ndef double(x): os._exit(0)",
    "os._exit at the top": "import os\nos._exit(0)",
    "SystemExit raised": "def double(x): raise SystemExit(0)",
    "KeyboardInterrupt raised": "def double(x): raise KeyboardInterrupt",
    "StopIteration in a loop of the test": (
        "def double(x): raise StopIteration",
        ["assert all(map(double, [1, 2]))", "assert list(map(double, [2])) == []"],
    ),
    "StopIteration by a subclass": (
        "class S(StopIteration): pass\ndef double(x): raise S",
        ["assert all(y == 4 for y in map(double, [2]))"],
    ),
    "GeneratorExit raised": "def double(x): raise GeneratorExit",
    "an exception that a careless test swallows, then exit": (
        "import os\ndef double(x): os._exit(0)",
        ["try:\n    r = double(2)\nexcept BaseException:\n    r = 4\nassert r == 4"],
    ),
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef double(x): return 1",
    "an exit hook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef double(x): raise ValueError",
    "a thread that exits": "import threading, os\nthreading.Thread(target=lambda: os._exit(0)).start()\ndef double(x):\n    while True: pass",
    "killed by itself": "import os\ndef double(x): os.kill(os.getpid(), 9)",
    "abort": "import os\ndef double(x): os.abort()",
    "a segmentation fault": "import ctypes\ndef double(x): ctypes.string_at(0)",
    # --- patched machinery
    "builtins patched": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.AssertionError = None\ndef double(x): return 1",
    "its own sorted": ("def sorted(x): return 0\ndef f(x): return 1", ["assert sorted(f([2, 1])) == sorted([1, 2])"]),
    "its own set": ("def set(x): return 0\ndef f(x): return 1", ["assert set(f([2])) == set([2])"]),
    "its own Counter": ("def Counter(x): return 0\ndef f(x): return [1]", ["assert Counter(f(1)) == Counter([2])"]),
    "its own math": (
        "class math:\n    isclose = lambda *a, **k: True\ndef root(x): return 0.0",
        ["assert math.isclose(root(2.0), 1.41421, rel_tol=1e-3)"],
    ),
    "its own isclose": ("def isclose(*a, **k): return True\ndef root(x): return 0.0", ["assert isclose(root(2.0), 1.41)"]),
    "its own check": (
        "def check(c): pass\ndef double(x): return 1",
        ["def check(candidate):\n    assert candidate(2) == 4\ncheck(double)"],
    ),
    "operator and json patched": (
        "import operator, json, math\noperator.eq = lambda a, b: True\njson.dumps = lambda *a: '4'\nmath.isclose = lambda *a, **k: True\n"
        "def double(x): return 1.0",
        ["import operator, math\nassert operator.eq(double(2), 4)", "assert math.isclose(double(2), 4)"],
    ),
    "sys.modules replaced": (
        "import sys, types\nm = types.ModuleType('math'); m.isclose = lambda *a, **k: True\nsys.modules['math'] = m\ndef double(x): return 1",
        ["import math\nassert math.isclose(double(2), 4)"],
    ),
    "an import hook": "import sys\nclass F:\n    def find_spec(s, *a): sys.exit(0)\nsys.meta_path.insert(0, F())\ndef double(x): return 1",
    "trace functions": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef double(x): return 1",
    "the harness's encoder patched": (
        "import sys\nfor n, m in list(sys.modules.items()):\n    if n.endswith('wire'): m.encode = lambda *a: b'T'\ndef double(x): return 1"
    ),
    "the harness's encoder forges an answer": (
        "import sys\nw = [m for n, m in sys.modules.items() if n.endswith('.wire')][0]\nreal = w.encode\n"
        "w.encode = lambda v, k=None: real(('value', True, None))\ndef double(x): return 1"
    ),
    "types beyond reach": (
        "import ctypes\ndef double(x):\n    d = ctypes.pythonapi.PyType_Modified\n"
        "    import gc\n    gc.get_referents(int.__dict__)[0]['__eq__'] = lambda a, b: True\n    return 1"
    ),
    # --- looking for the answers
    "frames walked": (
        "import sys\ndef double(x):\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()) + list(f.f_globals.values()):\n"
        "            if isinstance(v, (list, tuple)) and any('assert' in str(i) for i in v): return 2 * x\n        f = f.f_back\n    return 0"
    ),
    "the heap searched for tests": (
        "import gc\ndef double(x):\n    for o in gc.get_objects():\n        try:\n            if 'double(' + str(x) + ') ==' in str(o)[:20000]: return 2 * x\n"
        "        except Exception: pass\n    return 0"
    ),
    "memory searched for tests": (
        "def double(x):\n    for line in open('/proc/self/maps'):\n        if 'assert' in line: return 2 * x\n    return 0"
    ),
    "raw memory searched for tests": (
        "import ctypes, sys\ndef double(x):\n    a = id(sys) & ~0xfffff\n    raw = ctypes.string_at(a, 1 << 18)\n"
        "    return 2 * x if b'double(' + str(x).encode() + b') ==' in raw else 0"
    ),
    "all memory searched for tests": (
        "import ctypes, os\nwrite = ctypes.CDLL(None).write\nwrite.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t]\n"
        "def double(x):\n    r, w = os.pipe()\n    wanted = [b'double(' + str(n).encode() + b') =' for n in (2, 7, -3)]\n"
        "    for a in [*range(0x555555400000, 0x555558400000, 4096), *range(0x7ffff4000000, 0x7ffff8000000, 4096)]:\n"
        "        if write(w, a, 4096) == 4096:\n            page = os.read(r, 4096)\n            if sum(t + b'= ' in page for t in wanted) > 1: return 2 * x\n"
        "    return 0"
    ),
    "descriptors searched for tests": (
        "import os\ndef double(x):\n    for fd in range(64):\n        try:\n            os.set_blocking(fd, False)\n            if b'assert' in os.read(fd, 100000): return 2 * x\n"
        "        except OSError: pass\n    return 0"
    ),
    # --- forged answers
    "correct on every descriptor": (
        "import os\nfor fd in range(64):\n    for t in (b'correct', b'passed', b'{\"verdict\": \"correct\"}', b'0'):\n        try: os.write(fd, t)\n        except OSError: pass\n"
        "def double(x): return 1"
    ),
    "a forged frame ahead": (
        "import os, struct\nraw = b't' + struct.pack('<I', 4) + b''.join(b's' + struct.pack('<I', len(s)) + s for s in (b'correct', b'passed')) + b'i\\1\\0\\0\\0\\1' * 2\n"
        "os.write(4, struct.pack('<I', len(raw)) + raw)\ndef double(x): return 1"
    ),
    "answers of the right form, guessed": (
        "import os, sys\nw = [m for n, m in sys.modules.items() if n.endswith('.wire')][0]\n"
        "for v in (({}, None), (4, None), (4, None), (4, None)): os.write(4, w.frame(w.encode(('value', *v))))\ndef double(x): return 1"
    ),
    "a name that it does not define": "import os, sys\nw = [m for n, m in sys.modules.items() if n.endswith('.wire')][0]\n"
    "os.write(4, w.frame(w.encode(('value', {'double': ('exception', ['AssertionError'])}, None))))\nwhile True: pass",
    "correct on standard output": "print('passed'); print('OK'); print('correct')\ndef double(x): print(2 * x); return None",
    "a frame without an end": "import os\nos.write(4, b'\\xff\\xff\\xff\\x03abc')\ndef double(x): return 1",
    "a frame of four gigabytes": "import os\nos.write(4, b'\\xff\\xff\\xff\\xff')\ndef double(x): return 1",
    "bytes of no value": "import os\nos.write(4, b'\\x05\\0\\0\\0zzzzz')\ndef double(x): return 1",
    "a huge count": "import os\nos.write(4, b'\\x05\\0\\0\\0l\\xff\\xff\\xff\\x7f')\ndef double(x): return 1",
    "silence": "import os\nos.close(4)\ndef double(x): return 1",
    "the sockets of the worker": "import os\ndef double(x):\n    for fd in range(3, 4096):\n        try: os.write(fd, b'ready')\n        except OSError: pass\n    return 1",
    # --- the arguments
    "the list that it is compared with": (
        "def order(x):\n    x.clear()\n    return []",
        ["x = [3, 1]\nassert order(x) == sorted(x)"],
    ),
    "none": "def double(x): return None",
    "one case": "def double(x): return 4",
    "nothing": "",
    "no such name": "def halve(x): return x",
    "a program that does not parse": "def double(x) return 2 * x",
    "not the text of a program": "\x00\x01\udcff",
    "deeper than a stack": "def double(x):\n    v = []\n    for _ in range(100000): v = [v]\n    return v",
    "a list in itself": "def double(x):\n    v = []; v.append(v)\n    return v",
    "a property that lies": (
        "class A:\n    @property\n    def x(self): return self\n    def __eq__(s, o): return True\ndef f(): return A()",
        ["assert f().x == 3"],
    ),
    "a method that lies": (LYING + "class A:\n    def get(self): return Lie()\n", ["assert A().get() == 3"]),
    # --- bombs
    "an endless loop": "def double(x):\n    while True: pass",
    "an endless loop at the top": "while True: pass",
    "a loop that catches all": "def double(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "a signal handler against the limit": (
        "import signal\nfor s in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM): signal.signal(s, lambda *a: None)\ndef double(x):\n    while True: pass"
    ),
    "memory": "def double(x):\n    v = []\n    while True: v.append(bytearray(1 << 24))",
    "memory that is caught": "def double(x):\n    v = []\n    while True:\n        try: v.append(bytearray(1 << 24))\n        except MemoryError: pass",
    "a huge power": "def double(x): return 9 ** 9 ** 9",
    "a huge answer": "def double(x): return 'a' * (1 << 27)",
    "many answers": "def double(x): return [0] * 10_000_000",
    "output without end": "def double(x):\n    while True: print('x' * 1000000)",
    "a file without end": "def double(x):\n    with open('/tmp/f', 'wb') as f:\n        while True: f.write(b'x' * (1 << 20))",
    "many files": "def double(x):\n    i = 0\n    while True:\n        i += 1\n        open(f'/tmp/{i}', 'w').write('x' * 100000)",
    "many descriptors": "import os\nkept = []\ndef double(x):\n    while True: kept.append(os.dup(0))",
    "a fork bomb": "import os\ndef double(x):\n    while True: os.fork()",
    "a fork bomb that goes on": "import os\ndef double(x):\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "a thread bomb": "import threading, time\ndef double(x):\n    while True:\n        try: threading.Thread(target=time.sleep, args=(1000,)).start()\n        except RuntimeError: return 1",
    "pools of processes": "from multiprocessing import Pool\ndef double(x):\n    with Pool(4) as p: return p.map(abs, [x])[0]",
    "a shell": "import subprocess\ndef double(x): return int(subprocess.check_output(['sh', '-c', 'echo 1']))",
    "exec of another program": "import os, sys\ndef double(x): os.execv(sys.executable, [sys.executable, '-c', 'pass'])",
    # --- what is not its own
    "its group killed": "import os\ndef double(x): os.kill(0, 9)",
    "everything killed": "import os\ndef double(x):\n    os.kill(-1, 9)\n    return 1",
    "its parent killed": "import os\ndef double(x):\n    os.kill(os.getppid(), 9)\n    return 1",
    "each process killed": "import os\ndef double(x):\n    for p in range(2, 3000):\n        try: os.kill(p, 9)\n        except OSError: pass\n    return 1",
    "files left behind": "import os\nfor d in ('/tmp', '/', '/box', '/box/inside', '/dev', '/dev/shm', '/var/tmp', '/usr/lib'):\n"
    "    try: open(d + '/left', 'w').write('x')\n    except OSError: pass\ndef double(x): return os.path.exists('/tmp/left') + 100",
    "the harness rewritten": "import os\nfor f in os.listdir('/box/inside'):\n    open('/box/inside/' + f, 'w').write('')\ndef double(x): return 1",
    "devices written": "import os\ndef double(x):\n    os.mknod('/tmp/sda', 0o60600, 0x800)\n    return open('/tmp/sda').read()",
    "the network": "import socket\ndef double(x):\n    s = socket.socket(); s.connect(('1.1.1.1', 80)); return 1",
    "a local server": "import socket\ndef double(x):\n    s = socket.socket(socket.AF_UNIX); s.bind('\\0left'); s.listen(); return 1",
    "shared memory left": "import ctypes\ndef double(x):\n    return ctypes.CDLL(None).shmget(77, 4096, 0o1600)",
    "keys left": "import ctypes\ndef double(x):\n    return ctypes.CDLL(None).syscall(248, b'user', b'a', b'b', 1, -3)",
    "ptrace of another": "import ctypes\ndef double(x):\n    libc = ctypes.CDLL(None)\n    return sum(libc.ptrace(16, p, 0, 0) == 0 for p in range(1, 50)) and 2 * x",
    "memory of another": "def double(x):\n    for p in range(1, 50):\n        try: open(f'/proc/{p}/mem', 'rb+')\n        except OSError: pass\n    return 1",
    "new namespaces": "import ctypes\ndef double(x):\n    return 2 * x if ctypes.CDLL(None).unshare(0x10000000) == 0 else 0",
    "a mount": "import ctypes\ndef double(x):\n    return 2 * x if ctypes.CDLL(None).mount(b'tmpfs', b'/box', b'tmpfs', 0, None) == 0 else 0",
    "capabilities": "import os\ndef double(x):\n    os.setuid(0); os.chroot('/tmp')\n    return 1",
    "limits raised": "import resource as r\ndef double(x):\n    r.setrlimit(r.RLIMIT_CPU, (1000, 1000))\n    return 1",
    "to outlive its parent": "import ctypes\ndef double(x):\n    return 2 * x if ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0 else 0",
    "a system call by the other table": "import ctypes\ndef double(x):\n    return ctypes.CDLL(None).syscall(0x40000039)",
    "secrets in the environment": "import os\ndef double(x): return 2 * x if any('KEY' in k or 'USER' in k for k in os.environ) else 0",
    "files of the machine": "def double(x):\n    for f in ('/etc/passwd', '/root/.bashrc', '/work/main/README.md'):\n        try: return len(open(f).read()) and 2 * x\n        except OSError: pass\n    return 0",
}  # fmt: skip


def check(sandbox: Any, name: str, limits: Any) -> dict[str, str]:
    """A hostile program between two innocent ones: the verdicts of the three."""
    entry = HOSTILE[name]
    program, tests = (entry, TESTS) if isinstance(entry, str) else entry
    before = sandbox.check(NEIGHBOUR, NEIGHBOUR_TESTS)
    found = sandbox.check(program, tests, limits=limits)
    after = sandbox.check(NEIGHBOUR, NEIGHBOUR_TESTS)
    return {
        "name": name,
        "verdict": found.verdict,
        "reason": found.reason,
        "before": before.verdict,
        "after": after.verdict,
        "harm": "" if after.verdict == "correct" else after.reason,
    }


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from ponder.sandbox import Limits, Sandbox

    first, step = [*map(int, sys.argv[1:]), 0, 1][:2] if len(sys.argv) != 2 else (int(sys.argv[1]), 1)
    with Sandbox() as sandbox:
        for name in list(HOSTILE)[first::step]:
            print(json.dumps(check(sandbox, name, Limits(cpu=1))), flush=True)


if __name__ == "__main__":
    main()
