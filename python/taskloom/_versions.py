"""What a client says of its software, and how differences are shown: one readable table."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

from taskloom._version import __version__

PACKAGES = ("cloudpickle", "msgpack", "numpy", "pandas", "pyarrow", "dask")
"""Packages whose versions should agree, where they are installed."""
_STRICT = ("python", "cloudpickle", "numpy", "pandas")


@lru_cache(maxsize=1)
def python_versions() -> dict[str, str]:
    """Return the versions of this Python and of the packages that values depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def own_versions() -> dict[str, Any]:
    """Return what a registration tells: there is no Node in this process."""
    machine = {"x86_64": "x64", "aarch64": "arm64", "AMD64": "x64"}.get(
        platform.machine(), platform.machine()
    )
    return {
        "taskloom": __version__,
        "protocol": 1,
        "node": "",
        "platform": f"{sys.platform} {machine}",
        "packages": python_versions(),
    }


def differences(members: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return what differs that may matter: Python's second number, versions of some packages."""
    found = []
    for name in _STRICT:
        versions = {one.get(name, "") for one in members.values()}
        if name == "python":
            versions = {".".join(version.split(".")[:2]) for version in versions if version}
        if len(versions) > 1:
            found.append(name)
    return found


def version_table(members: Mapping[str, Mapping[str, str]]) -> str:
    """Return all members and their versions, aligned; members with equal ones in one row."""
    columns = [
        name for name in ("python", *PACKAGES) if any(name in one for one in members.values())
    ]
    rows: dict[tuple[str, ...], list[str]] = {}
    for who, versions in members.items():
        rows.setdefault(tuple(versions.get(name, "-") for name in columns), []).append(who)
    lines = [("", *columns)]
    for cells, names in rows.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append((", ".join(names[:3]) + more, *cells))
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def mismatch(members: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return a sentence and the table, or None when nothing differs that matters."""
    different = differences(members)
    if not different:
        return None
    return (
        f"Client and workers differ in {', '.join(different)}: functions and values may not mean "
        f"the same everywhere. Install one version on all machines.\n{version_table(members)}"
    )
