"""Compares our public names with those of dask.distributed and writes docs/dask-parity.md.

``python scripts/dask_parity.py`` writes the page, from the installed distributed when there is one;
every parameter of theirs is ours as well then, or explained in `WITHOUT`. ``--check`` compares the
page with our names: every name on it is ours, or explained in `LATER` or `NOT` below.
"""

from __future__ import annotations

import inspect
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
        "register_plugin": "plugins of workers",
        "register_worker_callbacks": "plugins of workers",
        "unregister_worker_plugin": "plugins of workers",
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


WITHOUT = {
    "distributed.Client": {
        "connection_limit": "links are few and stay",
        "deserializers": "families are found by type",
        "direct_to_workers": "values always go straight",
        "extensions": "none",
        "heartbeat_interval": "links are watched by the scheduler",
        "serializers": "families are found by type",
    },
    "distributed.LocalCluster": {
        "blocked_handlers": "no code of users comes to a scheduler",
        "interface": "one machine",
        "ip": "`host`",
        "loop": "it has none",
        "protocol": "one",
        "scheduler_kwargs": "options of the cluster itself",
        "scheduler_sync_interval": "nothing is polled",
        "security": "later: encrypted links; tokens are always there",
        "service_kwargs": "none",
        "services": "none",
        "start": "done when it is made",
        "worker_class": "one",
        "worker_dashboard_address": "workers have none of their own",
        "worker_services": "none",
    },
    "Client.dump_cluster_state": {
        "exclude": "no values are in it",
        "format": "one, `taskloom dump show` reads it",
        "write_from_scheduler": "it is written here",
    },
    "Client.profile": {"plot": "`filename`, and what a notebook shows"},
    "Client.replicate": {"branching_factor": "copies spread as a tree by themselves"},
    "Client.story": {"on_error": "a worker that does not answer is left out"},
    "LocalCluster.adapt": {"Adaptive": "the scheduler decides"},
}
"""Parameters of theirs that ours lack, by function, and why."""


def parameters(function: object) -> dict[str, inspect.Parameter]:
    """Return the parameters that are named, or nothing where there is no telling."""
    try:
        found = inspect.signature(function).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {}
    return {
        name: one
        for name, one in found.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and not name.startswith("_")
    }


def places(some: dict[str, inspect.Parameter], others: dict[str, inspect.Parameter]) -> list[str]:
    """Return in order the parameters that both take by position."""
    by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        name
        for name, one in some.items()
        if one.kind == by_place and name in others and others[name].kind == by_place
    ]


def compare_parameters() -> None:
    """Exit when a parameter of theirs is neither ours nor explained, or in another place."""
    import distributed

    import taskloom

    for group in GROUPS:
        theirs_of = getattr(distributed, group, distributed)
        ours_of = getattr(taskloom, group, taskloom)
        for name in public(theirs_of):
            one = getattr(theirs_of, name)
            # Exceptions and futures are not made by users.
            raised = isinstance(one, type) and issubclass(one, BaseException)
            if not hasattr(ours_of, name) or name == "Future" or raised:
                continue
            called, known = f"{group}.{name}", parameters(getattr(ours_of, name))
            lacking = parameters(one).keys() - known.keys() - {"self"}
            explained = WITHOUT.get(called, {}).keys()
            if lacking != explained:
                raise SystemExit(
                    f"{called} lacks {sorted(lacking)}; WITHOUT has {sorted(explained)}."
                )
            if places(known, parameters(one)) != places(parameters(one), known):
                raise SystemExit(f"{called} takes parameters in another order.")


def without(group: str, name: str, owner: object) -> str:
    """Return which parameters of theirs are not ours, and why."""
    said = WITHOUT.get(f"{group}.{name}", {})
    there = sorted(said.keys() & parameters(getattr(owner, name, None)).keys())
    if there:
        raise SystemExit(f"{group}.{name} takes {there}, which WITHOUT says it does not.")
    found = [f"`{one}` ({why})" for one, why in sorted(said.items())]
    return f"without {', '.join(found)}" if found else ""


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
        "Public names of `distributed`, what there is of them in `import taskloom`, and parameters "
        "that are not there; written by `scripts/dask_parity.py`. How calls differ is on "
        "[Python](python.md).\n",
    ]
    for group in GROUPS:
        owner = getattr(taskloom, group, taskloom)
        ours = set(dir(owner))
        rows = [
            (name, word, why or without(group, name, owner))
            for name, (word, why) in ((name, state(group, name, ours)) for name in names[group])
        ]
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
        names = theirs()
        if names is not None:
            compare_parameters()
        PAGE.write_text(page(names or written()), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page(written()):
        raise SystemExit(f"{PAGE.name} is out of date: python scripts/dask_parity.py")


if __name__ == "__main__":
    main()
