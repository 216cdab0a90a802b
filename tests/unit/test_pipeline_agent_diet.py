"""The agent lives beside a database: what it holds in memory is what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

_IMPORT = """
import sys
import casscade.cli.run, casscade.pipeline.agent
print(*sorted(name for name in sys.modules if name.startswith(("psycopg", "casscade.load.", "casscade.snapshot."))))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
# For terminals, the loader, numbers and other event loops: a megabyte or more each.
HEAVY = {"numpy", "psycopg", "psycopg_pool", "pygments", "rich", "twisted", "gevent", "eventlet", "psutil", "jgo"}

# Blocks of a megabyte, each with a smaller one behind it that stays (and is never touched).
_HOLD_AND_FREE = """
import ctypes, sys
from casscade.pipeline.process import spare_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if sys.argv[1] == "spared":
    spare_memory()
before = resident()
for _ in range(3):
    blocks = []
    for _ in range(64):
        blocks.append(libc.malloc(1 << 20))
        ctypes.memset(blocks[-1], 1, 1 << 20)
        libc.malloc(100_000)
    for block in blocks:
        libc.free(block)
print((resident() - before) >> 20)
"""


def kept_mb(how: str) -> int:
    """Megabytes that a process keeps of 64 that it has freed."""
    ran = subprocess.run([sys.executable, "-c", _HOLD_AND_FREE, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


def test_what_an_agent_frees_goes_back_to_the_system() -> None:
    assert kept_mb("spared") < 8


@pytest.mark.requirement("FR-001")
def test_the_agent_imports_neither_the_loader_nor_postgresql() -> None:
    text = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True).stdout
    loaders, everything = text.splitlines()
    # The monitor, which all processes share, knows what a loader would tell it.
    assert loaders.split() == ["casscade.load.counters", "casscade.load.observer"]
    assert set(everything.split()) & HEAVY == set()


def test_what_was_left_out_can_be_imported_afterwards() -> None:
    code = "import casscade.observability.logs, rich.console; print(rich.console.Console.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "Console\n"
