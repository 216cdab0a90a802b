"""Renders the reference of all configuration keys, `docs/configuration.md`, from the models.

Invariant: the text holds every key that is accepted and no other; `python -m casscade.config.reference` prints it.
"""

from __future__ import annotations

import sys
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from casscade.config.keys import fields, section_of, sections
from casscade.config.load import FILE_BYTES_MAX
from casscade.config.model import PipelineConfig
from casscade.security.references import SECRET_BYTES_MAX
from casscade.security.secret import Secret

_INTRODUCTION: Final = f"""\
<!-- Rendered by `python -m casscade.config.reference` from the models; change those. -->
# Configuration

One YAML file configures one pipeline: `casscade run -c casscade.yaml`. `deploy/casscade.example.yaml` is one to start
from. An unknown key, a wrong type, a value outside its limits or a reference that can't be read ends the start with
the file, the line, the key and the remedy, all problems at once; nothing is ignored. Relative paths are taken from the
file's directory. The file is UTF-8 and at most {FILE_BYTES_MAX // 1024} KiB.

## Secrets

Any value may be a reference or hold one: `${{env:NAME}}` is an environment variable, `${{file:path}}` the content of a
file (at most {SECRET_BYTES_MAX // 1024} KiB, without its last line break). `${{vault:path#field}}` is reserved and not
supported by this version. `$${{` stands for the characters `${{` themselves. Within `postgres.dsn` a secret may hold
any character: it is escaped where it is put in. No secret appears in logs, in messages or on the status page.

## Tables

All entries of `tables` that match a table apply, in their order: a later `target`, `include` or `inexact` replaces an
earlier one, exclusions, conditions, transforms and choices for single columns add up, and what is chosen for a column
goes before what is for its table. What conditions and transforms can say is in [rules.md](rules.md). A source without
wildcard must exist, two tables never share a target, and Cassandra's own keyspaces are never replicated.
"""


def render() -> str:
    """The whole reference as Markdown, ending in one line break."""
    parts = [_INTRODUCTION]
    for prefix, model in sections(PipelineConfig):
        title = f"`{prefix}`" if prefix else "Top level"
        parts.append(f"## {title}\n\n{_paragraph(model)}\n")
        parts.append("| Key | Type | Default | Limits | Meaning |\n|---|---|---|---|---|")
        parts.extend(_row(name, info) for name, info in fields(model).items())
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def _row(name: str, info: FieldInfo) -> str:
    cells = (f"`{name}`", _type(info), _default(info), _limits(info), _meaning(info))
    return "| " + " | ".join(cells) + " |"


def _meaning(info: FieldInfo) -> str:
    section, _ = section_of(info.annotation)
    text = info.description or (_paragraph(section) if section is not None else "")
    assert text, "every key has a meaning"
    return text


def _type(info: FieldInfo) -> str:
    section, is_list = section_of(info.annotation)
    if section is not None:
        return "list of sections" if is_list else "section"
    return _type_name(info.annotation)


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(each) for each in get_args(annotation) if each is not NoneType)
    if origin is tuple:
        return f"list of {_type_name(get_args(annotation)[0])}s"
    if origin is dict:
        return f"{_type_name(get_args(annotation)[1])} by column"
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    if hasattr(annotation, "__metadata__"):
        return _type_name(annotation.__origin__)
    return {int: "whole number", str: "text", Secret: "secret text"}.get(annotation, "path")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if isinstance(info.default, BaseModel):
        return "see below"
    if info.default is None or info.default == {}:
        return "none"
    return f"`{info.default}`"


def _limits(info: FieldInfo) -> str:
    limits: dict[str, int] = {}
    for entry in info.metadata:
        if isinstance(entry, Ge | MinLen):
            limits["low"] = int(str(entry.ge if isinstance(entry, Ge) else entry.min_length))
        elif isinstance(entry, Le | MaxLen):
            limits["high"] = int(str(entry.le if isinstance(entry, Le) else entry.max_length))
    if not limits:
        return ""
    items = " items" if any(isinstance(entry, MinLen | MaxLen) for entry in info.metadata) else ""
    return f"{limits.get('low', 0)} to {limits['high']}{items}"


def _paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def main() -> None:
    """Print the reference."""
    sys.stdout.write(render())


if __name__ == "__main__":
    main()
