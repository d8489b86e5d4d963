"""The version of the installed package: one number for the npm and the Python side."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _read_version() -> str:
    """Ask the installed package; in a checkout on ``PYTHONPATH``, its package.json."""
    try:
        return version("taskloom")
    except PackageNotFoundError:
        package = Path(__file__).parents[2] / "package.json"
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])


__version__ = _read_version()
