"""Failpoints: what is registered is in the code, and the other way round; off, they do nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from casscade.core import failpoints
from casscade.core.errors import InvariantError
from tests.unit.test_tools_build import tool

SOURCE: Final = Path(__file__).resolve().parents[2] / "src"
REACHED: Final = re.compile(
    r"^( *)if failpoints\.ARMED(?: and [a-z_.]+)?:\n\1    failpoints\.reach\((?:\"([a-z_]+)\"|failpoint)\)$", re.M
)
# The steps of `replace_file`, which looks at the switch itself.
PASSED_ON: Final = re.compile(r"\b(?:written|synced|renamed)=\"([a-z_]+)\"")


def test_every_name_in_the_code_is_registered_and_the_other_way_round() -> None:
    texts = [path.read_text("utf-8") for path in SOURCE.rglob("*.py")]
    used = {name for text in texts for _, name in REACHED.findall(text) if name}
    used |= {name for text in texts for name in PASSED_ON.findall(text)}
    assert used == set(failpoints.POINTS)


def test_no_failpoint_is_reached_without_a_look_at_the_switch() -> None:
    calls = sum(path.read_text("utf-8").count("failpoints.reach(") for path in SOURCE.rglob("*.py"))
    assert calls == sum(len(REACHED.findall(path.read_text("utf-8"))) for path in SOURCE.rglob("*.py"))


def test_no_hot_module_has_one() -> None:
    assert [name for name in tool.HOT_MODULES if "failpoints" in (SOURCE / name).read_text("utf-8")] == []


def test_they_are_off_in_a_process_that_was_told_nothing() -> None:
    assert failpoints.ARMED is False


@pytest.mark.parametrize("wanted", ["nowhere:1", "committed", "committed:", "committed:-1", "committed:x"])
def test_what_is_no_failpoint_is_refused(wanted: str) -> None:
    with pytest.raises(InvariantError, match="no name:number"):
        failpoints.arm({"CASSCADE_FAILPOINT": wanted})
    assert failpoints.ARMED is False


def test_the_process_dies_at_the_hit_it_was_told_of(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "from casscade.core import failpoints\n"
        "for name in ('committed', 'purged', 'committed', 'committed'): failpoints.reach(name)"
    )
    environment = {**os.environ, "CASSCADE_FAILPOINT": "committed:2", "CASSCADE_FAILPOINT_LOG": str(log)}
    ended = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment | {"PYTHONPATH": str(SOURCE)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert log.read_text("ascii").split() == ["committed", "purged", "committed"]
