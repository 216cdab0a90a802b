"""What can be wrong with a rule, and with a value under a rule.

Invariant: no message holds a value of a row; a position is a column of the text that the user wrote, counted from 1.
"""

from __future__ import annotations

from casscade.core.errors import BadDataError, ConfigurationError

_NOW = "nothing was started and nothing was changed"


class RuleError(ValueError):
    """A rule that is not right: what is wrong, at which character of its text (0 for none), and what to write."""

    def __init__(self, what: str, position: int = 0, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.position = position
        self.hint = hint

    def located(self, rule: str, table: str, where: str) -> ConfigurationError:
        """The same as an error of the configuration: `rule` is its key, `where` the file and line."""
        place = f", at character {self.position}" if self.position else ""
        return ConfigurationError(
            "config_rules", f"{rule} of {table}{place}: {self.what}", where=where, now=_NOW, hint=self.hint
        )


class RuleFailed(BadDataError):
    """A value on which a rule can't be carried out; its row is set aside under the name of the `rule`."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(
            "rule_failed",
            f"The rule {rule} can't be carried out on a value: {reason}",
            now="the row is set aside as a dead letter, the others go on",
            hint="docs/rules.md says what each rule accepts",
        )
        self.rule = rule


def rule_failed(rule: str, reason: str) -> RuleFailed:
    """A rule that can't be carried out on a value; its row is set aside under the rule's name."""
    return RuleFailed(rule, reason)
