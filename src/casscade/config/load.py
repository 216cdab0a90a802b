"""Loads a pipeline's configuration file: YAML, references, models, and every error with its line.

Invariant: `load_config` returns a complete configuration or raises ConfigurationError, whatever the file holds; no
value of a secret is in the error or in the chain of exceptions behind it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from casscade.config import dsn
from casscade.config.document import ListNode, MapNode, Node, ScalarNode
from casscade.config.keys import suggestion
from casscade.config.model import PipelineConfig
from casscade.config.problems import KeyPath, Problems, nearest
from casscade.config.syntax import parse
from casscade.core.errors import ConfigurationError
from casscade.security import references
from casscade.security.references import Reference

# A thousand tables with their columns take some 100 KiB; PyYAML reads about 200 KiB/s.
FILE_BYTES_MAX: Final = 256 * 1024
_NOT_FOUND_HINT: Final = "check the path after -c"
# Stands for a value that the reader refused: the models refuse it too, so that no check runs on half a section.
_BROKEN: Final = object()

_SENTENCES: Final = {
    "missing": ("is missing", "add the key"),
    "tuple_type": ("must be a list", "write [a, b], or one line with - for each item"),
    "model_type": ("must be a section of keys", "write its keys below it, indented"),
    "model_attributes_type": ("must be a section of keys", "write its keys below it, indented"),
    "dict_type": ("must be a section of keys", "write its keys below it, indented"),
}


def load_config(path: str | Path, environ: Mapping[str, str] = os.environ) -> PipelineConfig:
    """Read, resolve and validate the file at `path`.

    Relative paths in the file are taken from the file's directory. Raises ConfigurationError with all problems found
    (at most PROBLEMS_SHOWN_MAX are listed).
    """
    file = Path(path)
    return parse_config(_read(file), str(file), environ, file.parent)


def parse_config(content: bytes, file: str, environ: Mapping[str, str], directory: Path) -> PipelineConfig:
    """As `load_config`, for content that is already read; `file` is the name in messages."""
    problems = Problems(file)
    if len(content) > FILE_BYTES_MAX:
        problems.fatal(0, (), f"the file holds more than {FILE_BYTES_MAX} bytes", "check that it is the right file")
    root = parse(_decode(content, problems), problems)
    if root is None:
        problems.fatal(0, (), "the file is empty", "docs/configuration.md has an example")
    if not isinstance(root, MapNode):
        problems.fatal(root.line, (), "the file must hold keys, one a line", "write key: value")
    reader = _Reader(problems, environ, directory)
    values = reader.mapping(root, ())
    try:
        config = PipelineConfig.model_validate(values, context={"directory": directory.absolute()})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, reader, problems)
        config = None
    problems.raise_any()
    assert config is not None, "a validation error always has details"
    config.remember(file, reader.lines)
    _check_targets(config, reader.lines, problems)
    problems.raise_any()
    return config


def _check_targets(config: PipelineConfig, lines: Mapping[KeyPath, int], problems: Problems) -> None:
    for index, entry in enumerate(config.tables):
        if entry.target is not None and entry.target.partition(".")[0] == config.postgres.control_schema:
            path = ("tables", index, "target")
            problems.add(lines[path], path, "lies in postgres.control_schema", "choose another schema for one of them")


def _read(file: Path) -> bytes:
    """The content of the file, one byte more than the limit at most. A pipe is allowed: -c <(generate)."""
    problems = Problems(str(file))
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        problems.fatal(0, (), "the file does not exist", _NOT_FOUND_HINT)
    except IsADirectoryError:
        problems.fatal(0, (), "is a directory, not a file", _NOT_FOUND_HINT)
    except PermissionError:
        problems.fatal(0, (), "this user may not read the file", "check its owner and mode")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        problems.fatal(0, (), f"the file can't be read: {reason}", _NOT_FOUND_HINT)


def _decode(content: bytes, problems: Problems) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.fatal(line, (), "the file is not UTF-8", "save it as UTF-8")


class _Reader:
    """Turns the tree into plain values with references resolved; `lines` keeps the line of every path."""

    def __init__(self, problems: Problems, environ: Mapping[str, str], directory: Path) -> None:
        self.lines: dict[KeyPath, int] = {(): 1}
        self.broken: set[KeyPath] = set()
        self._problems = problems
        self._environ = environ
        self._directory = directory
        # One scalar may occur often through aliases; reading it once bounds the files read and the memory held.
        self._resolved: dict[tuple[int, bool], str | ConfigurationError] = {}

    def mapping(self, node: MapNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, child in node.entries.items():
            child_path = (*path, key)
            self.lines[child_path] = node.key_lines[key]
            if key != "<<":
                values[key] = self._value(child, child_path)
        return values

    def _value(self, node: Node, path: KeyPath) -> Any:
        if isinstance(node, MapNode):
            return self.mapping(node, path)
        if isinstance(node, ListNode):
            return self._items(node, path)
        value = node.value()
        if value is None:
            self._problem(node, path, "has no value", "give it one, or remove the key")
            return _BROKEN
        if isinstance(value, str) and "${" in value:
            return self._resolve(node, path)
        return value

    def _items(self, node: ListNode, path: KeyPath) -> list[Any]:
        items = []
        for index, child in enumerate(node.items):
            child_path = (*path, index)
            self.lines[child_path] = child.line
            items.append(self._value(child, child_path))
        return items

    def _resolve(self, node: ScalarNode, path: KeyPath) -> Any:
        is_dsn = path == ("postgres", "dsn")
        identity = (id(node), is_dsn)
        if identity not in self._resolved:
            try:
                self._resolved[identity] = self._expand(node.text, is_dsn=is_dsn)
            except ConfigurationError as error:
                self._resolved[identity] = error
        resolved = self._resolved[identity]
        if isinstance(resolved, ConfigurationError):
            self._problem(node, path, resolved.what, resolved.hint)
            return _BROKEN
        return resolved

    def _expand(self, text: str, *, is_dsn: bool) -> str:
        parts = references.parse(text)
        if is_dsn:
            return dsn.compose(parts, self._lookup)
        return "".join(part if isinstance(part, str) else self._lookup(part) for part in parts)

    def _lookup(self, reference: Reference) -> str:
        return references.lookup(reference, self._environ, self._directory)

    def _problem(self, node: ScalarNode, path: KeyPath, what: str, hint: str) -> None:
        self.broken.add(path)
        self._problems.add(node.line, path, what, hint)


def _note(detail: ErrorDetails, reader: _Reader, problems: Problems) -> None:
    """Add one of pydantic's errors in our words, unless the reader already said what is wrong with the key."""
    path: KeyPath = detail["loc"]
    kind = detail["type"]
    if path in reader.broken and kind != "extra_forbidden":
        return
    line = next(reader.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in reader.lines)
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        problems.add(line, path, "is not a known key", suggestion(PipelineConfig, path))
    elif kind == "refused":
        problems.add(line, path, context["what"], context["hint"])
    elif kind == "literal_error":
        problems.add(line, path, f"must be {context['expected']}", _nearest_of(context["expected"], detail["input"]))
    elif kind in _SENTENCES:
        problems.add(line, path, *_SENTENCES[kind])
    elif kind == "greater_than_equal":
        problems.add(line, path, f"must be at least {context['ge']}")
    elif kind == "less_than_equal":
        problems.add(line, path, f"must be at most {context['le']}")
    elif kind == "too_short" and detail["input"]:
        return  # pydantic counts the items that are right; the others have problems of their own
    elif kind == "too_short":
        problems.add(line, path, f"must have at least {context['min_length']} item")
    elif kind == "too_long":
        problems.add(line, path, f"must have at most {context['max_length']} items")
    else:
        problems.add(line, path, detail["msg"])


def _nearest_of(expected: str, value: object) -> str:
    """A suggestion from pydantic's list of the allowed words, "'a', 'b' or 'c'"; it never holds the value itself."""
    near = nearest(value, expected.split("'")[1::2]) if isinstance(value, str) else None
    return f'did you mean "{near}"?' if near else ""
