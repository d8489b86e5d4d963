"""Files and packages that functions need on workers, such as modules that are not there.

They travel inside the pickles of functions, before the function itself, and are written once per
process. So a worker that comes later, or is started again, has them without anybody keeping a
list on the cluster.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import pickle
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskloom._errors import ConfigError
from taskloom._installs import Install, ensure

_MOST = 32 * 2**20
_folder: Path | None = None
_present: dict[str, str] = {}
_lock = threading.Lock()


def read_upload(path: Path) -> tuple[str, bytes]:
    """Return name and content of a file to be uploaded."""
    data = path.read_bytes()
    if len(data) > _MOST:
        raise ConfigError(
            f"{path.name} is {len(data) / 1e6:.0f} MB; at most {_MOST >> 20} MiB can be uploaded. "
            "Scatter large data, or install the package on the workers."
        )
    return path.name, data


def with_files(
    files: list[tuple[str, bytes]], blob: bytes, installs: Sequence[Install] = ()
) -> bytes:
    """Return a pickle that has packages and files where it is read, then reads ``blob``."""
    return pickle.dumps(_WithFiles(files, blob, list(installs)), protocol=5)


class _WithFiles:
    def __init__(
        self, files: list[tuple[str, bytes]], blob: bytes, installs: list[Install]
    ) -> None:
        self.files, self.blob, self.installs = files, blob, installs

    def __reduce__(self) -> tuple:
        return (load_with_files, (self.files, self.blob, self.installs))


def load_with_files(
    files: list[tuple[str, bytes]], blob: bytes, installs: Sequence[Install] = ()
) -> Any:
    """Install packages, write files, make modules among them importable, and read a function."""
    with _lock:
        for install in installs:
            ensure(install)
        if files:
            _write(files)
    return pickle.loads(blob)


def _write(files: list[tuple[str, bytes]]) -> None:
    global _folder
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="taskloom-uploads-"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
        sys.path.insert(0, str(_folder))
    for name, data in files:
        digest = hashlib.sha256(data).hexdigest()
        if _present.get(name) == digest:
            continue
        path = _folder / Path(name).name
        path.write_bytes(data)
        renewed = name in _present
        _present[name] = digest
        if path.suffix in (".zip", ".egg", ".pyz") and str(path) not in sys.path:
            sys.path.insert(0, str(path))
        importlib.invalidate_caches()
        if renewed:
            sys.modules.pop(path.stem, None)
