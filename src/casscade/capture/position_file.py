"""The position of an agent whose mutations go to Kafka, in a file beside the commit log.

Invariant: the file is whole whenever the machine stops, and never ahead of what the brokers hold; an older position
only means that mutations are sent again, which changes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.position import START, Position
from casscade.core.state_file import replace_file

_FORMAT: Final = 1


class PositionFile:
    """`position-<source>.json` in the agent's state directory."""

    def __init__(self, directory: Path, source: str) -> None:
        self.path = directory / f"position-{source}.json"
        self._saved = START

    @property
    def saved(self) -> Position:
        """What another life would find."""
        return self._saved

    def load(self) -> Position:
        """The saved position, `START` when there is none; raises ConfigurationError (`position_damaged`)."""
        try:
            content = json.loads(self.path.read_text(encoding="ascii"))
            if content["format"] != _FORMAT:
                raise ValueError(content["format"])
            self._saved = Position(int(content["segment"]), int(content["offset"]))
        except FileNotFoundError:
            self._saved = START
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                "position_damaged",
                "the file with the agent's position can't be read",
                where=str(self.path),
                now="nothing was started",
                hint="delete it: everything that is still in cdc_raw is sent again, which changes nothing",
            ) from error
        return self._saved

    def save(self, position: Position) -> None:
        """Keep `position` durably, if it is another one; RetryableError (`position_unwritable`) when that fails."""
        if position == self._saved:
            return
        content = {"format": _FORMAT, "segment": position.segment, "offset": position.offset}
        try:
            replace_file(
                self.path,
                json.dumps(content),
                written="position_written",
                synced="position_synced",
                renamed="position_renamed",
            )
        except OSError as error:
            raise RetryableError(
                "position_unwritable",
                f"the agent's position can't be saved: {error.strerror or type(error).__name__}",
                where=str(self.path),
                now="capture goes on from the last saved position after a restart",
                hint="free space in the state directory, or give the agent's user the right to write there",
            ) from error
        self._saved = position
