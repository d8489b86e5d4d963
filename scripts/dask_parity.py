"""Compares our public names with those of dask.distributed and writes docs/dask-parity.md.

``python scripts/dask_parity.py`` writes the page, from the installed distributed when there is one.
``--check`` compares the page with our names: every name on it is ours, or explained in `LATER` or
`NOT` below.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dask-parity.md"
sys.path.insert(0, str(ROOT / "python"))

GROUPS = ("distributed", "Client", "Future", "LocalCluster", "as_completed")

LATER = {
    "distributed": {
        "Event": "locks, queues and other coordination",
        "Lock": "locks, queues and other coordination",
        "MultiLock": "locks, queues and other coordination",
        "Queue": "locks, queues and other coordination",
        "Semaphore": "locks, queues and other coordination",
        "Variable": "locks, queues and other coordination",
        "Security": "encrypted links",
        "SSHCluster": "clusters of several machines; `taskloom worker NAME` on each until then",
        "get_task_stream": "reports",
        "performance_report": "reports",
        "span": "spans",
        "print": "messages from tasks to clients; what tasks print is in the worker's log",
        "warn": "messages from tasks to clients",
    },
    "Client": {
        "benchmark_hardware": "diagnostics",
        "forward_logging": "messages from tasks to clients",
        "unforward_logging": "messages from tasks to clients",
        "get_events": "topics and events",
        "log_event": "topics and events",
        "subscribe_topic": "topics and events",
        "unsubscribe_topic": "topics and events",
        "get_task_stream": "reports; the panel and `dump_cluster_state` have the same facts",
        "restart_workers": "by name; `restart` takes all",
        "register_plugin": "plugins of workers",
        "register_worker_callbacks": "plugins of workers",
        "unregister_worker_plugin": "plugins of workers",
    },
    "LocalCluster": {
        "scale_down": "by name; `client.retire_workers` does that",
    },
}

NOT = {
    "distributed": {
        "Actor": "state belongs into the values of tasks; a killed actor cannot be made again",
        "ActorFuture": "no actors",
        "BaseActorFuture": "no actors",
        "Adaptive": "`cluster.adapt`; the scheduler decides",
        "CompatibleExecutor": "an internal of distributed",
        "CondaInstall": "an environment is chosen when the workers start (`python=`)",
        "PipInstall": "`client.pip_install`",
        "Environ": "`env=` of the cluster",
        "InstallPlugin": "an environment is chosen when the workers start (`python=`)",
        "UploadDirectory": "`client.upload_file` with a zip",
        "UploadFile": "`client.upload_file`",
        "Nanny": "processes are started by the command `taskloom` and by clusters",
        "NannyPlugin": "no code of users runs in a nanny",
        "Scheduler": "processes are started by the command `taskloom` and by clusters",
        "SchedulerPlugin": "no code of users runs in a scheduler",
        "SpecCluster": "kinds of clusters are made in TypeScript",
        "Status": "states are texts",
        "SubprocessCluster": "`LocalCluster` is one",
        "Worker": "processes are started by the command `taskloom` and by clusters",
        "WorkerPlugin": "see `run` and `upload_file`",
        "config": "settings are options of calls",
        "connect": "an internal of distributed",
        "get_task_metadata": "return it",
        "local_client": "`worker_client`",
        "rpc": "an internal of distributed",
        "sync": "an internal of distributed",
    },
    "Client": {
        "amm": "it runs always; `ammInterval` of the scheduler",
        "asynchronous": "ours is an attribute of the object",
        "get_metadata": "publish a dataset",
        "set_metadata": "publish a dataset",
        "loop": "the loop of the links is nobody else's",
        "start": "done by connecting",
        "sync": "an internal of distributed",
        "unregister_scheduler_plugin": "no code of users runs in a scheduler",
    },
    "Future": {
        "bind_client": "a future belongs to its client",
        "executor": "an internal of distributed",
        "substitute": "an internal of Dask's graphs",
    },
    "LocalCluster": {
        "asynchronous": "given when it is made",
        "called_from_running_loop": "an internal of distributed",
        "loop": "it has none",
        "name": "ours is an attribute of the object",
        "new_worker_spec": "kinds of clusters are made in TypeScript",
        "observed": "`cluster.info()`",
        "plan": "`cluster.info()`",
        "requested": "`cluster.info()`",
        "scale_up": "`scale`",
        "start_worker": "`scale`",
        "sync": "an internal of distributed",
    },
    "as_completed": {"condition": "an internal of distributed"},
}


def public(owner: object) -> list[str]:
    """Return public names, without modules."""
    names = [name for name in dir(owner) if not name.startswith("_")]
    hidden = (types.ModuleType, type(annotations))
    return [name for name in names if not isinstance(getattr(owner, name), hidden)]


def theirs() -> dict[str, list[str]] | None:
    """Return distributed's names by group, or None where it is not installed."""
    try:
        import distributed
    except ImportError:
        return None
    owners = {group: getattr(distributed, group, distributed) for group in GROUPS}
    return {group: public(owner) for group, owner in owners.items()}


def written() -> dict[str, list[str]]:
    """Return the names that the page has."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found[line[3:].strip("`")] = []
        match = re.match(r"\| `(\w+)` \|", line)
        if match:
            found[list(found)[-1]].append(match[1])
    return found


def state(group: str, name: str, ours: set[str]) -> tuple[str, str]:
    """Return what stands in the page for a name."""
    for word, table in (("later", LATER), ("no", NOT)):
        if name in table.get(group, {}):
            return word, table[group][name]
    if name in ours:
        return "yes", ""
    raise SystemExit(f"{group}.{name} is neither ours nor explained in {__file__}.")


def page(names: dict[str, list[str]]) -> str:
    """Return the whole page."""
    import taskloom

    parts = [
        "# Beside dask.distributed\n",
        "Public names of `distributed` and what there is of them in `import taskloom`; written by "
        "`scripts/dask_parity.py`. How calls differ is on [Python](python.md).\n",
    ]
    for group in GROUPS:
        owner = getattr(taskloom, group, taskloom)
        ours = set(dir(owner))
        rows = [(name, *state(group, name, ours)) for name in names[group]]
        counts = {word: sum(row[1] == word for row in rows) for word in ("yes", "later", "no")}
        parts.append(f"## `{group}`\n" if group != "distributed" else "## distributed\n")
        parts.append(
            f"{counts['yes']} here, {counts['later']} later, {counts['no']} not, for a reason.\n"
        )
        parts.append("| name | here | |\n|---|---|---|")
        parts.append("\n".join(f"| `{name}` | {word} | {why} |" for name, word, why in rows) + "\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page, or compare."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(theirs() or written()), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page(written()):
        raise SystemExit(f"{PAGE.name} is out of date: python scripts/dask_parity.py")


if __name__ == "__main__":
    main()
