"""Codecs of columns with rules that change how a value is shown.

Invariant: what a rule gives is only shown; the value itself stays in the row's state, unless a rule hides it, so that
ties of equal write times are decided as in Cassandra.
"""

from __future__ import annotations

from typing import Protocol

from casscade.core.mutation import ComplexColumn
from casscade.load.layout import Renderer
from casscade.load.transcode import Codec


class Rule(Protocol):
    """What a rule makes of a value (`casscade.rules.chain.Chain`)."""

    def apply(self, value: bytes) -> bytes | None: ...


class RuleCodec(Codec):
    """Shows what `rule` makes of a value; raises BadDataError where it fails."""

    reads_back = False

    def __init__(self, rule: Rule, codec: Codec) -> None:
        self.rule: Rule = rule
        self.codec: Codec = codec
        self._value: bytes = b""
        self._result: bytes | None = None
        self._known: bool = False

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 the value is not had back from what is shown
        return None

    def show(self, value: bytes) -> bytes | None:
        result = self._apply(value)
        if result is None:
            return None
        field = self.codec.encode(result)
        return self.codec.show(result) if field is None else field

    def says_all(self, value: bytes) -> bool:
        result = self._apply(value)
        return result is None or self.codec.encode(result) is not None or self.codec.says_all(result)

    def _apply(self, value: bytes) -> bytes | None:
        """The rule's result; that of the last value is remembered, for it is shown and then judged."""
        if not self._known or value is not self._value:
            self._known = False
            self._result = self.rule.apply(value)
            self._value = value
            self._known = True
        return self._result


class EmptyIsNullCodec(Codec):
    """Of a column whose rules were carried out already and may leave nothing: no bytes are NULL."""

    def __init__(self, codec: Codec) -> None:
        self.codec: Codec = codec
        self.reads_back = codec.reads_back

    def encode(self, value: bytes) -> bytes | None:
        return self.codec.encode(value) if value else None

    def show(self, value: bytes) -> bytes | None:
        return self.codec.show(value) if value else None

    def says_all(self, value: bytes) -> bool:
        return self.codec.says_all(value) if value else True

    def decode(self, field: bytes) -> bytes:
        return self.codec.decode(field)


class NullCodec(Codec):
    """NULL, whatever the value was."""

    reads_back = False

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 nothing is shown
        return None

    def says_all(self, value: bytes) -> bool:  # noqa: ARG002 nothing is meant to be shown
        return True


class NullRenderer(Renderer):
    """The same for a column with many cells."""

    def render(self, column: ComplexColumn, now: int) -> bytes | None:  # noqa: ARG002 nothing is shown
        return None

    def show(self, value: bytes) -> bytes | None:  # noqa: ARG002 nothing is shown
        return None
