"""Connection files: how clusters are found by name.

Every scheduler writes one (mode 0600) into the user's runtime folder and removes it when it ends.
Folder: ``TASKLOOM_RUNTIME_DIR``, or ``$XDG_DATA_HOME/taskloom/clusters``, or
``~/.local/share/taskloom/clusters``.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from taskloom._errors import ConfigError

ConnectionFile = dict[str, Any]


def runtime_folder() -> Path:
    """Return the folder of the connection files, which may not exist yet."""
    own = os.environ.get("TASKLOOM_RUNTIME_DIR", "")
    if own:
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data else Path.home() / ".local" / "share"
    return base / "taskloom" / "clusters"


def list_connection_files() -> list[ConnectionFile]:
    """Return the files of all clusters whose schedulers live, newest first."""
    try:
        paths = sorted(runtime_folder().glob("*.json"))
    except OSError:
        return []
    files = [read_connection_file(path) for path in paths]
    alive = [file for file in files if file is not None and _lives(file)]
    return sorted(alive, key=lambda file: file.get("startedAt", 0), reverse=True)


def read_connection_file(path: Path) -> ConnectionFile | None:
    """Return a parsed file, or None when it is gone or not (yet) whole."""
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(file, dict) and isinstance(file.get("address"), str)
    return file if good and isinstance(file.get("token"), str) else None


def find_cluster(target: str) -> ConnectionFile:
    """Return the live cluster of this id, name or address; the newest, if several have the name."""
    files = list_connection_files()
    for field, wanted in (("id", target), ("name", target), ("address", target.rstrip("/"))):
        for file in files:
            if file.get(field) == wanted:
                return file
    known = [
        file["id"] if file["name"] == file["id"] else f"{file['name']} ({file['id']})"
        for file in files
    ]
    raise ConfigError(
        f"No running cluster is called {target}. "
        + (
            f"Those that run: {', '.join(known)}."
            if known
            else "None runs for this user: start one with LocalCluster(), or on the command line "
            "with taskloom cluster start."
        )
    )


def active_cluster() -> ConnectionFile | None:
    """Return the cluster that the user has chosen, if it still lives."""
    try:
        chosen = (runtime_folder() / "active").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return next((file for file in list_connection_files() if file["id"] == chosen), None)


def is_gone_for_good(identity: str) -> bool:
    """Whether a cluster that cannot be reached will certainly not come back."""
    file = read_connection_file(runtime_folder() / f"{identity}.json")
    return file is not None and file.get("supervisor") is not None and not _lives(file)


def is_supervised(address: str) -> bool:
    """Whether somebody on this host starts the scheduler of this address again when it dies."""
    for file in list_connection_files():
        if file["address"] == address:
            supervisor = file.get("supervisor")
            return supervisor is not None and _process_lives(supervisor)
    return False


def _lives(file: ConnectionFile) -> bool:
    """Give False only when it is certain that the scheduler is gone."""
    if file.get("host") != socket.gethostname():
        return True
    supervisor = file.get("supervisor")
    return _process_lives(file.get("pid", 0)) or (
        supervisor is not None and _process_lives(supervisor)
    )


def _process_lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    # Ended, and nobody has asked how: common in containers.
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="latin-1")
    except OSError:
        return True
    return "\nState:\tZ" not in status
