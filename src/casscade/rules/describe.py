"""What the rules of a table do, in lines for people.

Invariant: no key of a hash and no constant is in them; conditions stand as they were written.
"""

from __future__ import annotations

from casscade.rules.table import TableRules


def describe(rules: TableRules) -> list[str]:
    """A line for each condition and each column with rules."""
    lines = []
    conditions = rules.conditions
    if conditions is not None:
        lines += [f"rows where {text}" for text in conditions.texts]
        if conditions.partition or conditions.key:
            lines.append("conditions on the key are decided when a mutation is decoded")
        if conditions.row:
            lines.append("conditions on other columns: rows that do not match are kept in the control schema")
    types = {column.name: column.type for column in rules.table.columns if not column.dropped}
    for name, type_ in types.items():
        if name in rules.nulled:
            lines.append(f"{name}: null; its values are kept nowhere")
        elif name in rules.chains:
            chain = rules.chains[name]
            kept = "; its values are kept nowhere" if chain.hides else ""
            change = "" if chain.result == type_ else f" ({type_.cql()} to {chain.result.cql()})"
            lines.append(f"{name}: {', then '.join(chain.words)}{change}{kept}")
        if name in rules.renames:
            lines.append(f"{name}: is called {rules.renames[name]}")
    return lines
