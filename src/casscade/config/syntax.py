"""Turns text into the tree of `document`, and PyYAML's syntax errors into problems with a line and a remedy.

Invariant: PyYAML's own messages are never passed on nor chained, for they quote the text around the error.
"""

from __future__ import annotations

from typing import Final

import yaml

from casscade.config.document import Node, TreeBuilder
from casscade.config.problems import Problems

_EXPLANATIONS: Final = (
    (
        "mapping values are not allowed",
        "a second colon in the value, or a wrong indentation",
        "put the value in quotes",
    ),
    ("could not find expected ':'", "a key without a colon and a space after it", "write key: value"),
    ("end of stream", "a quote that is opened here is never closed", "close the quote"),
    ("escape", "an escape sequence that YAML does not know", "use single quotes where a backslash is meant"),
    ("block end", "the indentation does not fit the lines above", "indent keys of one section equally"),
    ("block entry", "the indentation does not fit the lines above", "indent keys of one section equally"),
    ("block sequence entries", "a list item (-) where none can be", "start the list on a line of its own"),
    ("expected ',' or", "a bracket or brace is not closed, or a comma is missing", "close it"),
    ("cannot start any token", "a character that no plain value may begin with", "put the value in quotes"),
    ("tag", "a tag (a value that begins with !) is not supported", "put the value in quotes"),
)
_OTHERWISE: Final = ("the text is not valid YAML here", "check indentation, quotes and brackets around this line")
_TAB: Final = ("a tab where YAML allows spaces only", "replace the tab by spaces")


def parse(text: str, problems: Problems) -> Node | None:
    """The tree of the only document in `text`; None when it holds nothing.

    Raises ConfigurationError through `problems` for text that is not YAML or exceeds a limit; adds duplicate keys to
    `problems` and goes on.
    """
    builder = TreeBuilder(problems)
    failure = _build(text, builder)
    # Raised here and not where it was caught: a traceback would show PyYAML's error, which quotes the line.
    if failure is not None:
        line, what, hint = failure
        problems.fatal(line, (), what, hint)
    return builder.root


def _build(text: str, builder: TreeBuilder) -> tuple[int, str, str] | None:
    """Give the events of `text` to the builder; line, explanation and remedy when it is not YAML."""
    line = 1
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            line = event.end_mark.line + 1 if event.end_mark is not None else line
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        return _explain(error, text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return line, "a control character that YAML does not allow", "remove the character"
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML converts the numbers of escapes and directives unchecked ("\UFFFFFFFF"); the event before is near.
        return line, *_OTHERWISE
    return None


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """Line, explanation and remedy."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    lines = text.split("\n")
    if mark is not None and mark.line < len(lines):
        content = lines[mark.line]
        indentation = content[: len(content) - len(content.lstrip())]
        if "\t" in indentation or content[mark.column : mark.column + 1] == "\t":
            return line, *_TAB
    reason = error.problem or ""
    for part, what, hint in _EXPLANATIONS:
        if part in reason:
            # These two are noticed late; the context is where the value begins.
            if part in ("end of stream", "could not find expected ':'") and error.context_mark is not None:
                line = error.context_mark.line + 1
            return line, what, hint
    return line, *_OTHERWISE
