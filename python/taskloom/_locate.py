"""Which cluster a client means, and what it is called there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from taskloom._connection import (
    active_cluster,
    find_cluster,
    list_connection_files,
    read_connection_file,
)
from taskloom._errors import ConfigError

Message = dict[str, Any]


def process_name() -> str:
    """Return what this process is shown as: its script, or that it is a notebook."""
    script = Path(sys.argv[0] if sys.argv else "").name
    return (
        "notebook"
        if "ipykernel" in script or "JPY_SESSION_NAME" in os.environ
        else (script or "python")
    )


def read_scheduler_file(path: Path) -> str:
    """Return the id of the cluster of a connection file, or its address when it is another's."""
    file = read_connection_file(path)
    if file is None:
        raise ConfigError(f"{path} is no connection file of a running cluster.")
    return file["id"] if file in list_connection_files() else file["address"]


def locate(target: Any, token: str | None, kwargs: Message) -> tuple[Message, Any]:
    """Return address and token, and the cluster that was made for this client, or None."""
    if target is not None and not isinstance(target, str):
        return {"address": target.scheduler_address, "token": target.token}, None
    if kwargs:
        from taskloom._cluster import LocalCluster

        if target is not None:
            names = ", ".join(kwargs)
            raise ConfigError(f"{names}: options of a LocalCluster, but {target} was named.")
        cluster = LocalCluster(**kwargs)
        return {"address": cluster.scheduler_address, "token": cluster.token}, cluster
    named = target or os.environ.get("TASKLOOM_SCHEDULER", "")
    if named:
        return _by_name(named, token), None
    active = active_cluster()
    if active is not None:
        return active, None
    from taskloom._cluster import LocalCluster

    cluster = LocalCluster()
    return {"address": cluster.scheduler_address, "token": cluster.token}, cluster


def _by_name(target: str, token: str | None) -> Message:
    """A name needs a connection file; an address needs one only for its token."""
    if "://" not in target:
        return find_cluster(target)
    address = target.rstrip("/")
    if token is None:
        known = [file for file in list_connection_files() if file["address"] == address]
        token = known[0]["token"] if known else os.environ.get("TASKLOOM_TOKEN")
    if token is None:
        raise ConfigError(
            f"No token for {address}: it has no connection file here. Give it with "
            "Client(address, token=...), or set TASKLOOM_TOKEN."
        )
    return {"address": address, "token": token}
