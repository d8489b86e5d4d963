"""Files that functions need on workers, such as modules that are not installed there.

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
from pathlib import Path
from typing import Any

from taskloom._errors import ConfigError

_MOST = 32 * 2**20
_folder: Path | None = None
_present: dict[str, str] = {}


def read_upload(path: Path) -> tuple[str, bytes]:
    """Return name and content of a file to be uploaded."""
    data = path.read_bytes()
    if len(data) > _MOST:
        raise ConfigError(
            f"{path.name} is {len(data) / 1e6:.0f} MB; at most {_MOST >> 20} MiB can be uploaded. "
            "Scatter large data, or install the package on the workers."
        )
    return path.name, data


def with_files(files: list[tuple[str, bytes]], blob: bytes) -> bytes:
    """Return a pickle that writes the files where it is read, then reads ``blob``."""
    return pickle.dumps(_WithFiles(files, blob), protocol=5)


class _WithFiles:
    def __init__(self, files: list[tuple[str, bytes]], blob: bytes) -> None:
        self.files, self.blob = files, blob

    def __reduce__(self) -> tuple:
        return (load_with_files, (self.files, self.blob))


def load_with_files(files: list[tuple[str, bytes]], blob: bytes) -> Any:
    """Write files, make modules among them importable, and read a function."""
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
    return pickle.loads(blob)
