"""What tasks spent their time on, as the executors' profilers tell it, and as a flame graph."""

from __future__ import annotations

import html
from typing import Any

_SHADES = ("#e8b04a", "#e39b4f", "#dc8757", "#d17561", "#e0a94d", "#d88f53")


class Profile(dict):
    """A tree of calls, as `Client.profile` returns it.

    ``count`` looks found this call or one below it; ``description`` has ``name``, ``filename`` and
    ``line_number``; ``children`` are the calls below, by ``identifier``. A notebook shows it as a
    flame graph.
    """

    def _repr_html_(self) -> str:
        return f'<div style="{_FRAME}">{self._caption()}{_rows(self, self["count"])}</div>'

    def _caption(self) -> str:
        count = self["count"]
        if count == 0:
            return "Nothing was seen running: tasks of less than 10 ms are rarely seen."
        return f"{count} looks at running tasks, 100 a second and task"

    def page(self) -> str:
        """Return the flame graph as a page of its own."""
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Taskloom profile</title>'
            f'<body style="margin:1rem">{self._repr_html_()}</body></html>'
        )


_FRAME = "font:12px system-ui,sans-serif;line-height:1.5"


def _rows(node: dict[str, Any], whole: int) -> str:
    """Return the calls below a node, as wide as their shares; not those below one in 500."""
    parts = []
    ordered = sorted(node["children"].values(), key=lambda one: -one["count"])
    for child in ordered:
        share = child["count"] / max(node["count"], 1)
        if child["count"] * 500 < whole:
            continue
        told = child["description"]
        place = f"{told['filename']}:{told['line_number']}"
        percent = 100 * child["count"] / whole
        title = html.escape(f"{told['name']}\n{place}\n{child['count']} looks, {percent:.1f} %")
        shade = _SHADES[sum(map(ord, told["name"])) % len(_SHADES)]
        box = (
            f"background:{shade};color:#1c1206;border:1px solid #fff6;border-radius:2px;"
            "padding:0 3px;overflow:hidden;white-space:nowrap;text-overflow:ellipsis"
        )
        parts.append(
            f'<div style="flex:0 0 {100 * share:.3f}%;min-width:0;overflow:hidden">'
            f'<div style="{box}" title="{title}">{html.escape(told["name"])}</div>'
            f"{_rows(child, whole)}</div>"
        )
    return f'<div style="display:flex">{"".join(parts)}</div>' if parts else ""


def merged(trees: list[dict[str, Any]]) -> Profile:
    """Return the sum of trees."""
    whole = Profile(
        identifier="root",
        description={"name": "root", "filename": "", "line_number": 0},
        count=0,
        children={},
    )
    for tree in trees:
        _merge(whole, tree)
    return whole


def _merge(into: dict[str, Any], tree: dict[str, Any]) -> None:
    into["count"] += tree["count"]
    for identifier, child in tree["children"].items():
        empty = {**child, "count": 0, "children": {}}
        _merge(into["children"].setdefault(identifier, empty), child)
