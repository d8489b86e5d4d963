"""What a client says of its software, and how differences are shown: one readable table."""

from __future__ import annotations

import os
import platform
import re
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

from taskloom._version import __version__

PACKAGES = ("cloudpickle", "msgpack", "numpy", "pandas", "pyarrow", "dask")
"""Packages whose versions a client tells, where they are installed."""
_STRICT = ("python", "cloudpickle", "numpy", "pandas", "dask")
_MOST_USED = 50
_PACKAGE_OF = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Modules that are called otherwise than their package. To look them up takes 100 ms."""
_NOT_THE_USERS = frozenset({"IPython", "ipykernel", "taskloom", "__main__", "builtins"})


def plain_name(name: str) -> str:
    """Return a package's name in lower case with dashes (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Return the versions of all packages of this Python, by plain names.

    From the names of folders alone: nothing is read, as this is done whenever a process starts.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208
        except OSError:
            continue
        for one in names:
            stem, kind = os.path.splitext(one)  # noqa: PTH122
            if kind in (".dist-info", ".egg-info") and "-" in stem:
                name, version = stem.split("-")[:2]
                found.setdefault(plain_name(name), version)
    return found


def python_versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of this Python, of packages that values depend on, and of `more`."""
    there = installed()
    wanted = (*PACKAGES, *map(plain_name, more))
    return {"python": platform.python_version()} | {
        name: there[name] for name in wanted if name in there
    }


def used_packages() -> list[str]:
    """Return the packages that code of the user in `__main__` has imported, by plain names."""
    tops: set[str] = set()
    for value in list(vars(sys.modules["__main__"]).values()):
        if isinstance(value, types.ModuleType):
            name = value.__name__
        elif isinstance(value, type | types.FunctionType):
            name = value.__module__ or ""
        else:
            continue
        tops.add(name.partition(".")[0])
    tops -= _NOT_THE_USERS | sys.stdlib_module_names
    named = {plain_name(_PACKAGE_OF.get(top, top)) for top in tops}
    return sorted(named & installed().keys())[:_MOST_USED]


def own_versions() -> dict[str, Any]:
    """Return what a registration tells: there is no Node in this process."""
    used = used_packages()
    machine = {"x86_64": "x64", "aarch64": "arm64", "AMD64": "x64"}.get(
        platform.machine(), platform.machine()
    )
    return {
        "taskloom": __version__,
        "protocol": 1,
        "node": "",
        "platform": f"{sys.platform} {machine}",
        "packages": python_versions(used),
        "uses": used,
    }


def differences(
    members: Mapping[str, Mapping[str, str]], packages: Iterable[str] = ()
) -> list[str]:
    """Return what differs that may matter: Python's second number, some packages and `packages`."""
    found = []
    for name in dict.fromkeys((*_STRICT, *map(plain_name, packages))):
        versions = {one.get(name, "") for one in members.values()}
        if name == "python":
            versions = {".".join(version.split(".")[:2]) for version in versions if version}
        if len(versions) > 1:
            found.append(name)
    return found


def version_table(members: Mapping[str, Mapping[str, str]], packages: Iterable[str] = ()) -> str:
    """Return all members and their versions, aligned; members with equal ones in one row."""
    wanted = dict.fromkeys(("python", *PACKAGES, *map(plain_name, packages)))
    columns = [name for name in wanted if any(name in one for one in members.values())]
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


def mismatch(members: Mapping[str, Mapping[str, str]], packages: Iterable[str] = ()) -> str | None:
    """Return a sentence and the table, or None when nothing differs that matters."""
    packages = list(packages)
    different = differences(members, packages)
    if not different:
        return None
    table = version_table(members, packages)
    return (
        f"Client and workers differ in {', '.join(different)}: functions and values may not mean "
        f"the same everywhere. Install one version on all machines.\n{table}"
    )
