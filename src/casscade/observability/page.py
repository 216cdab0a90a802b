"""The status page: one self-contained HTML document made from the same facts as `/status`.

Invariant: every text passes `html.escape`; the page loads nothing and runs nothing.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Final

from casscade.observability.health import Component, Verdict

REFRESH_S: Final = 2
# The page is for a glance; `/status` has everything.
DEPTH_MAX: Final = 4
ITEMS_MAX: Final = 200

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "body{color:#222;background:#fff}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "td,th{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd;vertical-align:top}"
    "td{font-variant-numeric:tabular-nums}h1{font-size:1.4rem}h2{font-size:1.1rem}"
    ".ok{color:#17692b}.degraded,.starting{color:#8a5a00}.down{color:#b00020}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#444}"
    ".ok{color:#6cce82}.degraded,.starting{color:#e5b567}.down{color:#ff7b8a}}"
)


def render_page(pipeline: str, ready: Verdict, components: list[Component], status: Mapping[str, object]) -> str:
    """The whole document for one moment."""
    name = html.escape(pipeline)
    word, kind = ("ready", "ok") if ready.ok else ("not ready", "down")
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in ready.reasons)
    rows = "".join(
        f'<tr><td>{html.escape(component.name)}</td><td class="{component.state.value}">{component.state.value}</td>'
        f"<td>{html.escape(component.detail)}</td></tr>"
        for component in components
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f'<meta name="viewport" content="width=device-width"><title>{name}: {word}</title>'
        f"<style>{_STYLE}</style></head>"
        f'<body><h1>Casscade: {name} is <span class="{kind}">{word}</span></h1><ul>{reasons}</ul>'
        f"<h2>Components</h2><table><tr><th>Name</th><th>State</th><th>Detail</th></tr>{rows}</table>"
        f"<h2>Status</h2>{_table(status, 0)}"
        '<p><a href="/status">status as JSON</a> · <a href="/healthz">health</a> · <a href="/metrics">metrics</a></p>'
        "</body></html>\n"
    )


def _table(values: Mapping[str, object], depth: int) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(str(key))}</th><td>{_cell(value, depth)}</td></tr>"
        for key, value in list(values.items())[:ITEMS_MAX]
    )
    return f"<table>{rows}</table>"


def _cell(value: object, depth: int) -> str:
    if isinstance(value, Mapping) and depth < DEPTH_MAX:
        return _table(value, depth + 1)
    if isinstance(value, list | tuple) and depth < DEPTH_MAX:
        return "<br>".join(_cell(item, depth + 1) for item in value[:ITEMS_MAX])
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return html.escape(str(value))
