"""Walks the models: which keys exist where, for suggestions and for the reference in docs.

Invariant: what is suggested and documented is read from the models, so that it can't differ from what is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from casscade.config.problems import KeyPath, key_text, nearest


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section with its path (`tables[]` for the entries of a list), outermost first."""
    yield prefix, model
    for name, info in fields(model).items():
        section, is_list = section_of(info.annotation)
        if section is not None:
            path = f"{prefix}.{name}" if prefix else name
            yield from sections(section, f"{path}[]" if is_list else path)


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def section_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model behind an annotation, and whether it stands in a list; None when the key holds a value."""
    if get_origin(annotation) is tuple:
        inner, _ = section_of(get_args(annotation)[0])
        return inner, True
    if get_origin(annotation) is UnionType:
        inner, is_list = section_of(next(each for each in get_args(annotation) if each is not NoneType))
        return inner, is_list
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    return None, False


def suggestion(root: type[BaseModel], path: KeyPath) -> str:
    """What to write instead of the unknown key at the end of `path`.

    The nearest key of the same section; else the place where a key of this very name belongs; else the list of keys.
    """
    word = str(path[-1])
    if ":" in word:
        return "write a space after the colon"
    model = _section_at(root, path[:-1])
    known = list(fields(model))
    if near := nearest(word, known):
        return f'did you mean "{near}"?'
    for prefix, section in sections(root):
        if word in fields(section):
            return f'"{prefix}.{word}" is the place of this key' if prefix else f'"{word}" stands at the top level'
    return "known keys here: " + ", ".join(known)


def _section_at(root: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    model = root
    for step in path:
        if isinstance(step, str):
            section, _ = section_of(fields(model)[step].annotation)
            assert section is not None, f"{key_text(path)} is no section"
            model = section
    return model
