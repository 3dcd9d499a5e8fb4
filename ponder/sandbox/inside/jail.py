"""What a process gives up before it runs anything: namespaces, limits, capabilities, system calls.

Plain `ctypes` on libc, since the sandbox has no compiler. The order matters: mounts need the capability, which goes
before the filter, which comes last and cannot be taken off. The filter names what is allowed, by number; everything
else fails with EPERM. It is what keeps a program from forking: RLIMIT_NPROC does nothing for root.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from functools import cache

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x8000000, 0x20000000
CLONE_THREAD = 0x10000
NO_RANDOMIZE = 0x40000

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 15, 22, 38
_PR_SET_CHILD_SUBREAPER = 36

libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock: the child of a fork must have it

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of each machine that the filter is written for."""

_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
    "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "pipe": 22, "select": 23, "sched_yield": 24,
    "mremap": 25, "msync": 26, "madvise": 28, "dup": 32, "dup2": 33, "pause": 34, "nanosleep": 35, "getitimer": 36,
    "alarm": 37, "setitimer": 38, "getpid": 39, "sendfile": 40, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
    "recvmsg": 47, "shutdown": 48,
    "getsockname": 51, "getpeername": 52, "socketpair": 53, "setsockopt": 54, "getsockopt": 55, "exit": 60,
    "wait4": 61, "kill": 62, "uname": 63, "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76,
    "ftruncate": 77, "getdents": 78, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84,
    "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "fchmod": 91, "umask": 95,
    "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104,
    "geteuid": 107, "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115, "getpgid": 121, "getsid": 124,
    "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131, "statfs": 137,
    "fstatfs": 138, "arch_prctl": 158, "setrlimit": 160, "gettid": 186, "time": 201, "futex": 202,
    "sched_getaffinity": 204, "epoll_create": 213, "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219,
    "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "utimes": 235, "waitid": 247, "openat": 257, "mkdirat": 258,
    "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "readlinkat": 267,
    "fchmodat": 268, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "get_robust_list": 274,
    "utimensat": 280, "epoll_pwait": 281, "fallocate": 285, "eventfd2": 290, "epoll_create1": 291, "dup3": 292,
    "pipe2": 293, "preadv": 295, "pwritev": 296, "prlimit64": 302, "getcpu": 309, "renameat2": 316, "getrandom": 318,
    "membarrier": 324, "copy_file_range": 326, "statx": 332, "rseq": 334, "close_range": 436, "faccessat2": 439,
    "epoll_pwait2": 441,
}  # fmt: skip
_AARCH64 = {
    "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23, "dup3": 24,
    "fcntl": 25, "ioctl": 29, "flock": 32, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
    "renameat": 38, "statfs": 43, "fstatfs": 44, "truncate": 45, "ftruncate": 46, "fallocate": 47, "faccessat": 48,
    "chdir": 49, "fchdir": 50, "fchmod": 52, "fchmodat": 53, "openat": 56, "close": 57, "pipe2": 59, "getdents64": 61,
    "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69,
    "pwritev": 70, "sendfile": 71, "pselect6": 72, "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80,
    "fsync": 82, "fdatasync": 83, "utimensat": 88, "exit": 93, "exit_group": 94, "waitid": 95, "set_tid_address": 96,
    "futex": 98, "set_robust_list": 99, "get_robust_list": 100, "nanosleep": 101, "getitimer": 102, "setitimer": 103,
    "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
    "restart_syscall": 128, "kill": 129, "tgkill": 131, "sigaltstack": 132, "rt_sigsuspend": 133, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigpending": 136, "rt_sigtimedwait": 137, "rt_sigreturn": 139, "times": 153,
    "getpgid": 155, "getsid": 156, "getgroups": 158, "uname": 160, "getrlimit": 163, "setrlimit": 164,
    "getrusage": 165, "umask": 166, "getcpu": 168, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179, "socketpair": 199,
    "getsockname": 204, "getpeername": 205, "sendto": 206, "recvfrom": 207, "setsockopt": 208, "getsockopt": 209,
    "shutdown": 210, "sendmsg": 211,
    "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "fadvise64": 223, "mprotect": 226,
    "msync": 227, "madvise": 233, "wait4": 260, "prlimit64": 261, "renameat2": 276, "getrandom": 278,
    "membarrier": 283, "copy_file_range": 285, "statx": 291, "rseq": 293, "close_range": 436, "faccessat2": 439,
    "epoll_pwait2": 441,
}  # fmt: skip
_SPECIAL = {"x86_64": (56, 157, 435), "aarch64": (220, 167, 435)}
"""Numbers of clone (threads alone), prctl (a thread's name alone) and clone3 (absent, so that libc uses clone)."""


def refuse_to_outlive_parent() -> None:
    """Killed when the parent ends. Only what forked it may have done so, before anything untrusted runs."""
    _done(libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    _done(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def fork(isolated: bool) -> int:
    """As os.fork, into pid, mount and IPC namespaces of its own if it is to be `isolated`: it is their init there, so
    all that it starts ends with it. One call instead of unshare and fork, since a process may unshare its pid namespace
    only once. Raises OSError."""
    flags = signal.SIGCHLD | (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC if isolated else 0)
    number = _SPECIAL[platform.machine()][0]
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _held.syscall(number, flags, 0, 0, 0, 0)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    failed = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(failed, f"clone: {os.strerror(failed)}")
    return pid


def private_tmp(size: int) -> None:
    """An empty /tmp of `size` bytes in a mount namespace of its own, which is gone with the process."""
    options = f"size={size},nr_inodes=2048,mode=1777".encode()
    _done(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 6, options), "mount")  # 6: nosuid, nodev


def limit(memory: int, cpu: int | None, file: int, files: int) -> None:
    """Limits in bytes, CPU seconds, bytes a file and open files; at the hard limit of CPU time the kernel kills."""
    for which, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        if most is None:
            continue
        hard = resource.getrlimit(which)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (value, value))


_CAPABILITIES = (ctypes.c_uint32 * 2)(0x20080522, 0)
_NONE = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """All of them; without new privileges, and without exec, there is no way back."""
    _done(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _done(libc.capset(_CAPABILITIES, _NONE), "capset")


def filter_calls() -> None:
    """Allows the system calls that Python needs to compute, and no process, no socket, no mount, no tracing."""
    _, program = compiled()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


@cache
def compiled() -> tuple[object, object]:
    """The filter for this machine, and the structure that points to it."""
    machine = platform.machine()
    code = _filter(ARCHES[machine], sorted(CALLS[machine].values()), *_SPECIAL[machine])
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
    return buffer, ctypes.create_string_buffer(program, len(program))


CALLS = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""Allowed system calls by machine."""


def _filter(arch: int, allowed: list[int], clone: int, prctl: int, clone3: int) -> bytes:
    """A classic BPF program over seccomp_data: number at 0, architecture at 4, first argument at 16."""
    load, equal, at_least, bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, deny, absent, kill = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM is 1, ENOSYS 38
    lines = [(load, 0, 0, 4), (equal, 1, 0, arch), (give, 0, 0, kill), (load, 0, 0, 0)]
    lines += [(at_least, 0, 1, 0x40000000), (give, 0, 0, kill)]  # the x32 numbers
    lines += [(equal, 0, 1, clone3), (give, 0, 0, absent)]
    lines += [(equal, 0, 4, clone), (load, 0, 0, 16), (bits, 0, 1, CLONE_THREAD), (give, 0, 0, allow)]
    lines += [(give, 0, 0, deny)]
    lines += [(equal, 0, 4, prctl), (load, 0, 0, 16), (equal, 0, 1, _PR_SET_NAME), (give, 0, 0, allow)]
    lines += [(give, 0, 0, deny)]
    for first, last in _runs(allowed):
        lines += [(at_least, 0, 2, first), (at_least, 1, 0, last + 1), (give, 0, 0, allow)]
    lines.append((give, 0, 0, deny))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Consecutive numbers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def same_addresses() -> bool:
    """Whether objects get the same addresses in each process; else asks for it, which holds from the next exec on."""
    now = libc.personality(0xFFFFFFFF)
    if now & NO_RANDOMIZE or libc.personality(now | NO_RANDOMIZE) == -1:
        return True
    return not libc.personality(0xFFFFFFFF) & NO_RANDOMIZE  # refused in silence: do not try for ever


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
