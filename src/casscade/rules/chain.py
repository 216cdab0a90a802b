"""The steps of one column, one after another: bytes of Cassandra in, bytes of the last step's type out.

Invariant: the same bytes give the same bytes, in every process and at every time.
"""

from __future__ import annotations

from collections.abc import Sequence

from casscade.core.errors import BadDataError
from casscade.cql.types import CqlType
from casscade.cql.values import decoder, encoder
from casscade.rules.faults import rule_failed
from casscade.rules.steps import Step


class Chain:
    """What is done to the values of a column of `source`.

    `result` is the type of what comes out. `hides`: the values themselves must not be kept; `nulls`: there may be
    values of which nothing is left (None). `words` name the steps.
    """

    def __init__(self, source: CqlType, steps: Sequence[Step]) -> None:
        assert steps, "a column without steps has no chain"
        self.source = source
        self.result: CqlType = steps[-1].result
        self.hides: bool = any(step.hides for step in steps)
        self.nulls: bool = any(step.nulls for step in steps)
        self.words: tuple[str, ...] = tuple(step.word for step in steps)
        self._steps = tuple((step.word, step.apply) for step in steps)
        self._decode = decoder(source)
        self._encode = encoder(self.result)

    def apply(self, value: bytes) -> bytes | None:
        """What becomes of a value; None for NULL. Raises BadDataError (`rule_failed`), which names the rule."""
        word = self.words[0]
        try:
            found = self._decode(value)
            for word, step in self._steps:  # noqa: B007 the word is that of the step that fails
                if found is None:
                    return None
                found = step(found)
            return None if found is None else self._encode(found)
        except BadDataError as error:
            if error.code == "rule_failed":
                raise
            raise rule_failed(word, "it is no value of the type that was expected") from None
