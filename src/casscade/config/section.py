"""The base of every section of the configuration file.

Invariant: a section that exists is complete and never changes, and no message about it holds what was given.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the file: immutable, every key known, no input in pydantic's own messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
