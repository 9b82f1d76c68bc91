"""What a process gives up before it looks at a stranger's file: memory, time, files, sockets, processes.

`confine` is called once, in a process that has loaded all that it will need, and cannot be undone. The limits
of the system (setrlimit) hold on every POSIX system; on Linux the list of system calls (seccomp) holds, too.
"""

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from functools import lru_cache
from typing import Any

NO_NEW_PRIVILEGES, DUMPABLE, PARENT_DEATH_SIGNAL, SECCOMP = 38, 4, 1, 22  # of prctl(2)
KILLED = 9

# Numbers of the system calls that stay: reading and writing what is open, memory, time, and the end.
CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
        "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17,
        "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35,
        "getpid": 39, "exit": 60, "ftruncate": 77, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99,
        "times": 100, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
        "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
        "getrandom": 318, "membarrier": 324, "rseq": 334,
    },
    "aarch64": {
        "ftruncate": 46, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
        "pread64": 67, "ppoll": 73, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123,
        "sched_yield": 124, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigreturn": 139, "times": 153, "getrusage": 165, "gettimeofday": 169, "getpid": 172,
        "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
        "mprotect": 226, "madvise": 233, "getrandom": 278, "membarrier": 283, "rseq": 293,
    },
}  # fmt: skip
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_...
REFUSED = errno.EPERM
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | REFUSED
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_MORE, RETURN = 0x20, 0x15, 0x25, 0x06  # of classic BPF


def confine(*, memory: int, cpu_seconds: int, open_files: int, file_bytes: int = 0) -> None:
    """Keep this process to what it has: nothing can be opened, started or signalled from here on.

    Args:
        memory: bytes of address space beyond what is in use now.
        cpu_seconds: of processor time, beyond what was used; then the process is killed.
        open_files: descriptors below this number stay; they must all be open, so that none is free.
        file_bytes: how long a file that is open for writing may become.
    """
    import resource

    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")  # where the whole machine is short of memory, this process goes first
    used = address_space()
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _limit(resource.RLIMIT_AS, used + memory)
    _limit(resource.RLIMIT_CPU, int(spent) + cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        _limit(resource.RLIMIT_NPROC, 0)
        prctl = _prctl()
        prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        prctl(DUMPABLE, 0, 0, 0, 0)
    os.closerange(open_files, 1 << 16)
    _limit(resource.RLIMIT_NOFILE, open_files)
    if sys.platform == "linux":
        _filter_calls(prctl)


def die_with_parent(number: int = KILLED) -> None:
    """Be sent a signal when the thread that started this process ends, on Linux; 0 for none."""
    if sys.platform == "linux":
        _prctl()(PARENT_DEATH_SIGNAL, number, 0, 0, 0)


def address_space() -> int:
    """Bytes of address space that this process has mapped; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - faster, and it is run for every file
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _limit(kind: int, value: int) -> None:
    """Lower a limit for good."""
    import resource

    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some; the others hold
        resource.setrlimit(kind, (value, value))


def filter_program(machine: str) -> bytes:
    """The filter of system calls for a machine, as the kernel takes it: what is not listed fails with EPERM.

    >>> len(filter_program("x86_64")) % 8
    0
    """
    calls = sorted(CALLS[machine].values())
    steps = [(LOAD_WORD, 0, 0, 4), (JUMP_IF_EQUAL, 1, 0, MACHINES[machine]), (RETURN, 0, 0, FAIL)]
    steps.append((LOAD_WORD, 0, 0, 0))
    if machine == "x86_64":  # the x32 calls have numbers of their own, far above
        steps += [(JUMP_IF_MORE, 0, 1, 0x3FFFFFFF), (RETURN, 0, 0, FAIL)]
    for place, call in enumerate(calls):
        steps.append((JUMP_IF_EQUAL, len(calls) - place, 0, call))
    steps += [(RETURN, 0, 0, FAIL), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


@lru_cache(maxsize=1)
def _prctl() -> Any:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return prctl


def _filter_calls(prctl: Any) -> bool:
    """Put the filter in place; False where this kernel or machine has none."""
    machine = platform.machine()
    if machine not in CALLS or sys.maxsize <= 2**32:
        return False
    program = filter_program(machine)
    held = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    whole = Program(len(program) // 8, ctypes.addressof(held))
    return bool(prctl(SECCOMP, 2, ctypes.addressof(whole), 0, 0) == 0)
