"""Packages that workers get while the cluster runs, beside their environment and never in it.

What is asked for travels inside the pickles of functions, as uploaded files do, so workers that
come later have it, too. pip says what is missing where a task runs; only that is installed, into
a folder of the user's cache that all processes of the machine with the same Python share.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskloom._errors import ConfigError

_LIMIT = 900.0
"""Seconds that pip may take."""
_MOST = 32 * 2**20
_here: set[str] = set()


class PipInstallError(RuntimeError):
    """pip could not install what was asked for; the message ends with pip's own words."""


@dataclass(frozen=True)
class Install:
    """One call of `Client.pip_install`, as it travels.

    Attributes
    ----------
    requirements : tuple of str
        As pip takes them.
    wheels : tuple of (str, bytes)
        Wheels of the client's disk: their names and what is in them.
    options : tuple of str
        Of ``pip install``.
    """

    requirements: tuple[str, ...]
    wheels: tuple[tuple[str, bytes], ...]
    options: tuple[str, ...]

    def digest(self) -> str:
        """Return what names the folder: the same packages for the same Python are there once."""
        found = hashlib.sha256(repr((sys.version, sys.prefix, self.requirements)).encode())
        found.update(repr(self.options).encode())
        for name, data in self.wheels:
            found.update(name.encode())
            found.update(hashlib.sha256(data).digest())
        return found.hexdigest()[:24]


def read_install(packages: str | os.PathLike | Iterable[Any], options: Iterable[str]) -> Install:
    """Return what is to travel: requirements, and the content of wheels that lie here."""
    one = isinstance(packages, str | os.PathLike)
    wanted = [packages] if one else list(packages)  # type: ignore[arg-type]
    requirements, wheels = [], []
    for package in map(os.fspath, wanted):  # type: ignore[arg-type]
        path = Path(package)
        if not package.endswith(".whl") or "://" in package:
            requirements.append(package)
            continue
        if not path.is_file():
            raise ConfigError(f"There is no wheel {package} here (in {Path.cwd()}).")
        data = path.read_bytes()
        if len(data) > _MOST:
            raise ConfigError(
                f"{path.name} is {len(data) / 1e6:.0f} MB; wheels of at most {_MOST >> 20} MiB "
                "travel to workers. Put it where workers can read it and give its file:// address."
            )
        wheels.append((path.name, data))
    if not requirements and not wheels:
        raise ConfigError("pip_install needs the name of a package, or a wheel.")
    return Install(tuple(requirements), tuple(wheels), tuple(options))


def ensure(install: Install) -> None:
    """Have the packages in this process; install what is missing on this machine."""
    digest = install.digest()
    if digest in _here:
        return
    folder = _cache() / digest
    with _locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _install(install, folder)
    # Before the environment's own: a newer version may have been asked for.
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    _here.add(digest)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "taskloom" / "packages"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the others wait and find the folder made."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(install: Install, folder: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        target = place / "packages"
        target.mkdir()
        wheels = []
        for name, data in install.wheels:
            wheel = place / Path(name).name
            wheel.write_bytes(data)
            wheels.append(str(wheel))
        arguments = [*install.options, *install.requirements, *wheels]
        missing = _missing(arguments, place / "report.json")
        if missing:
            _pip([*install.options, "--no-deps", "--target", str(target), *missing])
        target.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _missing(arguments: list[str], report_file: Path) -> list[str]:
    """Ask pip what this environment lacks, dependencies included."""
    _pip(["--dry-run", "--report", str(report_file), *arguments])
    report = json.loads(report_file.read_text(encoding="utf-8"))
    found = []
    for one in report["install"]:
        meta, url = one["metadata"], one["download_info"]["url"]
        direct = f"{meta['name']} @ {url}"
        found.append(direct if one["is_direct"] else f"{meta['name']}=={meta['version']}")
    return found


def _pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise PipInstallError(f"pip took more than {_LIMIT:g} s on this worker.") from None
    if done.returncode == 0:
        return
    words = "\n".join(done.stderr.strip().splitlines()[-8:])
    raise PipInstallError(
        f"pip could not install {' '.join(arguments[-3:])} for {sys.executable} on a worker. "
        "Check the names, and that workers reach the index (pip_options=['--index-url', ...]), or "
        f"give a wheel of your own disk. pip said:\n{words}"
    )
