"""Reads YAML into a tree that knows the line of every key and value.

Invariant: any text ends in a tree or a ConfigurationError, and time and memory stay bounded by the limits below;
the tree is built from PyYAML's events, so no tag can construct an object and no nesting can exhaust the stack.

Plain scalars follow the YAML 1.2 core schema: only true and false are booleans, so `no` and `12:30` stay text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeAlias

import yaml

from casscade.config.problems import KeyPath, Problems

# A pipeline file has some dozen keys; a thousand tables with columns stay below. Aliases count as often as they occur.
NODES_MAX: Final = 10_000
# The deepest key of the model lies 5 levels down.
DEPTH_MAX: Final = 32

_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)", re.I)
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class ScalarNode:
    """One value; `plain` is True when it stands without quotes, so that it may be a number, boolean or null."""

    line: int
    text: str
    plain: bool
    size: int = 1
    depth: int = 1

    def value(self) -> Scalar:
        """The typed value. A number that is too long for 64 bits stays text."""
        if not self.plain:
            return self.text
        if self.text in _NULLS:
            return None
        if self.text in _BOOLEANS:
            return _BOOLEANS[self.text]
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        if _FLOAT.fullmatch(self.text):
            return float(self.text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return self.text


@dataclass(slots=True, eq=False)
class ListNode:
    """A sequence. `size` counts the nodes below with every alias expanded, `depth` the levels."""

    line: int
    items: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True, eq=False)
class MapNode:
    """A mapping from key to value; `key_lines` has the line of every key."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    size: int = 1
    depth: int = 1


Node: TypeAlias = ScalarNode | ListNode | MapNode


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet, and the key whose value comes next."""

    node: ListNode | MapNode
    path: KeyPath
    anchor: str | None
    key: str | None = None

    def next_path(self) -> KeyPath:
        if isinstance(self.node, ListNode):
            return (*self.path, len(self.node.items))
        return self.path if self.key is None else (*self.path, self.key)


class TreeBuilder:
    """Takes the events of one document in order; `root` is the tree when they end."""

    def __init__(self, problems: Problems) -> None:
        self.root: Node | None = None
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        assert event.start_mark is not None, "the parser marks every event"
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fatal(line, "the file holds more than one document", "keep one, without a line of ---")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._open.pop()
            if closed.anchor is not None:
                self._anchors[closed.anchor] = closed.node
            self._attach(closed.node, line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        text: str = event.value
        self._refuse_tag(event.tag, line)
        if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
            self._fatal(line, "holds a character that no text may hold", "remove the escape sequence")
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.node, MapNode) and parent.key is None:
            self._key(parent, text, line)
            return
        node = ScalarNode(line, text, plain=event.style is None)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._attach(node, line)

    def _key(self, parent: _Open, key: str, line: int) -> None:
        assert isinstance(parent.node, MapNode)
        parent.key = key
        first = parent.node.key_lines.get(key)
        if first is not None:
            self._problems.add(
                line, parent.next_path(), f"is given twice, first in line {first}", "remove one of the two"
            )
        if key == "<<":
            self._problems.add(line, parent.path, "merge keys (<<) are not supported", "write the keys out")
        parent.node.key_lines[key] = line

    def _start(self, event: yaml.CollectionStartEvent, line: int) -> None:
        self._refuse_tag(event.tag, line)
        path: KeyPath = ()
        if self._open:
            self._refuse_as_key(line)
            path = self._open[-1].next_path()
        if len(self._open) >= DEPTH_MAX:
            self._fatal(line, f"is nested deeper than {DEPTH_MAX} levels", "no key needs that depth")
        if event.anchor is not None:
            # An alias inside the collection would otherwise find an older anchor of this name, or loop.
            self._anchors.pop(event.anchor, None)
        node: ListNode | MapNode = MapNode(line) if isinstance(event, yaml.MappingStartEvent) else ListNode(line)
        self._open.append(_Open(node, path, event.anchor))

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        self._refuse_as_key(line)
        node = self._anchors.get(event.anchor or "")
        if node is None:
            self._fatal(line, "a value that begins with * refers to no anchor before it", "put the value in quotes")
        self._attach(node, line)

    def _attach(self, node: Node, line: int) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        owner = parent.node
        if isinstance(owner, ListNode):
            owner.items.append(node)
        else:
            assert parent.key is not None, "the parser gives a key before each value"
            owner.entries[parent.key] = node
            parent.key = None
        owner.size += node.size
        owner.depth = max(owner.depth, node.depth + 1)
        if owner.size > NODES_MAX or owner.depth > DEPTH_MAX:
            self._fatal(
                line,
                f"the file holds more than {NODES_MAX} values or {DEPTH_MAX} levels, aliases expanded",
                "use fewer aliases, or patterns instead of long lists of tables",
            )

    def _refuse_as_key(self, line: int) -> None:
        if self._open and isinstance(self._open[-1].node, MapNode) and self._open[-1].key is None:
            self._fatal(line, "a key must be plain text", "put text that begins with {, [ or * in quotes")

    def _refuse_tag(self, tag: str | None, line: int) -> None:
        if tag is not None:
            self._fatal(line, "a tag (a value that begins with !) is not supported", "put the value in quotes")

    def _fatal(self, line: int, what: str, hint: str) -> NoReturn:
        path = self._open[-1].next_path() if self._open else ()
        self._problems.fatal(line, path, what, hint)
