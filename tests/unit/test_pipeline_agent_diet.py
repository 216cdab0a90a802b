"""The agent lives beside a database: what it holds in memory is what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

_IMPORT = """
import sys
import casscade.cli.run, casscade.pipeline.agent
print(*sorted(name for name in sys.modules if name.startswith(("psycopg", "casscade.load.", "casscade.snapshot."))))
"""


@pytest.mark.requirement("FR-001")
def test_the_agent_imports_neither_the_loader_nor_postgresql() -> None:
    found = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True).stdout.split()
    # The monitor, which all processes share, knows what a loader would tell it.
    assert found == ["casscade.load.counters", "casscade.load.observer"]
