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
