"""What a chaos run found: a table for the terminal, Markdown for the docs, JSON for programs.

Invariant: a scenario passes only when both sides were equal, nothing was set aside, and no part ended by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

HEAD: Final = ("pairing", "mutations", "messages", "kills", "caught up after", "rows", "differences", "result")


@dataclass(slots=True)
class Result:
    """One scenario. `messages` is what the topic held at the end: snapshots, and what was sent again, included.

    `caught_up_s` counts from the last start or the end of the load, whichever came later. `checked`: the comparison
    found a row that was corrupted on purpose afterwards. `problem` is empty when nothing but the comparison decides.
    """

    name: str
    seed: int
    mutations: int = 0
    rounds: int = 1
    messages: int = 0
    kills: int = 0
    load_s: float = 0.0
    caught_up_s: float = 0.0
    rows: int = 0
    differences: int = 0
    dead_letters: int = 0
    checked: bool = False
    problem: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether both sides were equal, and all else was as it has to be."""
        equal = self.rows > 0 and not self.differences and not self.dead_letters
        return equal and self.checked and not self.problem

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.problem:
            return "FAILED: " + self.problem.splitlines()[0][:100]
        if self.rows and not self.differences and not self.dead_letters and not self.checked:
            return "FAILED: the comparison did not find a corrupted row"
        if not self.passed:
            return f"FAILED: {self.differences} differences, {self.dead_letters} dead letters, {self.rows} rows"
        return "equal" + (f"; {self.note}" if self.note else "")

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        return (
            self.name,
            f"{self.mutations:,}",
            f"{self.messages:,}",
            str(self.kills),
            f"{self.caught_up_s:.1f} s",
            f"{self.rows:,}",
            str(self.differences),
            self.verdict,
        )


def table(results: Sequence[Result]) -> str:
    """For a terminal."""
    rows = [HEAD, *(one.cells for one in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def markdown(results: Sequence[Result]) -> str:
    """For the docs."""
    lines = [HEAD, ("---",) * len(HEAD), *(one.cells for one in results)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def save(directory: Path, name: str, results: Sequence[Result]) -> list[Path]:
    """Write `<name>.md` and `<name>.json`; returns both."""
    directory.mkdir(parents=True, exist_ok=True)
    told, data = directory / f"{name}.md", directory / f"{name}.json"
    told.write_text(markdown(results), encoding="utf-8")
    data.write_text(json.dumps([asdict(one) | {"passed": one.passed} for one in results], indent=1), encoding="utf-8")
    return [told, data]
