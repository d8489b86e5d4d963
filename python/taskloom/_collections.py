"""Dask's graphs on a cluster, by Dask's public seams alone.

A node of a graph is a task whose function runs the node with the results of those it depends on.
Keys get a mark of their call, so that two graphs that use one name for two things do not meet.
Dask is imported when the first graph comes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

from taskloom import _pack, serialize
from taskloom._errors import ConfigError
from taskloom._future import Future, _Origin
from taskloom._outbox import graph_message

if TYPE_CHECKING:
    from taskloom._client import Client

_calls = itertools.count(1)
_OPTIONS = (
    "workers",
    "resources",
    "retries",
    "priority",
    "allow_other_workers",
    "fifo_timeout",
)


def run_node(node: Any, values: dict[Hashable, Any]) -> Any:
    """Run a node of a graph; on a worker."""
    return node(values)


def _finish(rebuild: Any, extra: tuple, results: Any) -> Any:
    return rebuild(results, *extra)


def _graph_of(dsk: Any) -> dict[Hashable, Any]:
    """Return a graph of any form as a dict of nodes."""
    from dask._task_spec import convert_legacy_graph

    if hasattr(dsk, "__dask_graph__"):
        dsk = dsk.__dask_graph__()
    return convert_legacy_graph(dict(dsk))


def _flat(keys: Any) -> list[Hashable]:
    """Return the keys of nested lists; a tuple is a key."""
    if not isinstance(keys, list):
        return [keys]
    return [key for one in keys for key in _flat(one)]


def _sorted(graph: dict[Hashable, Any], wanted: Iterable[Hashable]) -> list[Hashable]:
    """Return what the wanted keys need, inputs before what needs them."""
    order: dict[Hashable, None] = {}
    for root in wanted:
        stack = [(root, False)]
        while stack:
            key, seen = stack.pop()
            if key in order:
                continue
            if key not in graph:
                raise KeyError(key)
            needs = [one for one in graph[key].dependencies if one not in order]
            if seen or not needs:
                order[key] = None
                continue
            stack.append((key, True))
            stack.extend((one, False) for one in needs)
    return list(order)


def _name(key: Hashable, mark: str) -> str:
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        return f"{key[0]}{mark}-{'-'.join(map(str, key[1:]))}"[:4000]
    return f"{key}{mark}"[:4000]


def submit_graph(client: Client, dsk: Any, keys: Any, **kwargs: Any) -> dict[Hashable, Future]:
    """Submit what the keys need, as one graph; futures of the keys.

    Parameters
    ----------
    client : Client
        Whose futures they are.
    dsk : graph
        An expression, a high-level graph or a dict.
    keys : key or nested lists of keys
        Wanted.
    **kwargs
        Options of `Client.submit` for all tasks; others are ignored, as Dask's schedulers do.
    """
    from dask.order import order as static_order

    from taskloom._client import _options, _parent
    from taskloom._settings import seconds

    graph = _graph_of(dsk)
    wanted = dict.fromkeys(_flat(keys))
    names = _sorted(graph, wanted)
    if not names:
        return {}
    chosen = {key: kwargs.get(key) for key in _OPTIONS}
    options = _options(
        chosen["workers"],
        chosen["resources"],
        chosen["retries"],
        chosen["priority"] or 0,
        bool(chosen["allow_other_workers"]),
        None,
    )
    fifo = (seconds(chosen["fifo_timeout"] or "60 s") or 0) * 1000
    session = client._session
    session.must_be_open()
    function = client._function(run_node)
    mark = f"-{_pack_mark()}"
    places = {key: at for at, key in enumerate(names)}
    written = [_pack_node(client, graph[key], places) for key in names]
    ranks = static_order({key: graph[key] for key in names})
    by_rank = sorted(range(len(names)), key=lambda at: ranks[names[at]])
    order = [0] * len(names)
    for rank, at in enumerate(by_rank):
        order[at] = rank
    with session.lock:
        first = session.numbers(len(names))
        offsets, rows, deps, size = [0], [0], [], 0
        for packed, inner, outer in written:
            size += len(packed)
            offsets.append(size)
            deps.extend(first + place for place in inner)
            deps.extend(outer)
            rows.append(len(deps))
        cids = [first + places[key] for key in wanted]
        session.say(
            graph_message(
                first,
                [_name(key, mark) for key in names],
                session.function_number(function),
                b"".join(packed for packed, _, _ in written),
                offsets,
                options,
                fifo,
                _parent(),
                deps,
                rows,
                "all" if len(cids) == len(names) else sorted(cids),
                order,
            )
        )
        # The others are the scheduler's alone.
        kept = set(cids)
        for cid in range(first, first + len(names)):
            if cid not in kept:
                session.outcomes.pop(cid, None)
    now = time.time()
    futures = {}
    for key in wanted:
        name = _name(key, mark)
        head = key[0] if isinstance(key, tuple) else key
        origin = _Origin(str(head).rpartition("-")[0] or str(head), now)
        futures[key] = Future(name, client, first + places[key], origin)
    return futures


def _pack_mark() -> str:
    from taskloom._client import _SALT

    return f"{_SALT}g{next(_calls)}"


class _Input:
    """Stands for the result of another node."""

    def __init__(self, place: int) -> None:
        self.place = place


def _pack_node(
    client: Client, node: Any, places: dict[Hashable, int]
) -> tuple[bytes, list[int], list[int]]:
    """Return a node's arguments, the places of its inputs, and numbers of futures in it."""
    needs = list(node.dependencies)
    values = {key: _Input(at) for at, key in enumerate(needs)}
    outer: list[int] = []

    def reference(value: object) -> int | None:
        if type(value) is _Input:
            return value.place
        number = client._dependency(value)
        if number is None:
            return None
        if number not in outer:
            outer.append(number)
        return len(needs) + outer.index(number)

    frames = serialize.dumps(((node, values), {}), reference)
    packed = _pack.pack_frames(frames, f"The parts of {node.key!r}")
    return packed, [places[key] for key in needs], outer


def _shape(keys: Any, values: dict[Hashable, Any]) -> Any:
    """Return values as their keys are nested, with tuples, as Dask's schedulers do."""
    if isinstance(keys, list):
        return tuple(_shape(key, values) for key in keys)
    return values[keys]


def get(client: Client, dsk: Any, keys: Any, sync: bool = True, **kwargs: Any) -> Any:
    """Compute keys of a graph; see `Client.get`."""
    futures = submit_graph(client, dsk, keys, **kwargs)
    if not sync:
        return _shape(keys, futures)
    order = list(futures)
    found = client.gather([futures[key] for key in order])
    if client.asynchronous:

        async def shaped() -> Any:
            return _shape(keys, dict(zip(order, await found, strict=True)))

        return shaped()
    return _shape(keys, dict(zip(order, found, strict=True)))


def _as_list(collections: Any) -> tuple[list[Any], bool]:
    many = isinstance(collections, list | tuple | set | frozenset)
    return (list(collections) if many else [collections]), many


def _optimized(collections: list[Any], optimize_graph: bool) -> list[Any]:
    import dask

    for one in collections:
        if not dask.is_dask_collection(one):
            raise ConfigError(
                f"A Dask collection is needed here, not {type(one).__name__}. Submit functions "
                "with client.submit."
            )
    return list(dask.optimize(*collections)) if optimize_graph else collections


def compute(
    client: Client,
    collections: Any,
    sync: bool = False,
    optimize_graph: bool = True,
    **kwargs: Any,
) -> Any:
    """Compute collections; see `Client.compute`."""
    ready, many = _as_list(collections)
    futures = []
    for one in _optimized(ready, optimize_graph):
        keys = one.__dask_keys__()
        parts = submit_graph(client, one.__dask_graph__(), keys, **kwargs)
        rebuild, extra = one.__dask_postcompute__()
        results = _lists(keys, parts)
        futures.append(client.submit(_finish, rebuild, tuple(extra), results, key=None))
    answer = futures if many else futures[0]
    return client.gather(answer) if sync else answer


def _lists(keys: Any, values: dict[Hashable, Any]) -> Any:
    if isinstance(keys, list):
        return [_lists(key, values) for key in keys]
    return values[keys]


def persist(client: Client, collections: Any, optimize_graph: bool = True, **kwargs: Any) -> Any:
    """Compute collections and keep their parts on the cluster; see `Client.persist`."""
    ready, many = _as_list(collections)
    kept = []
    for one in _optimized(ready, optimize_graph):
        keys = one.__dask_keys__()
        parts = submit_graph(client, one.__dask_graph__(), keys, **kwargs)
        rebuild, extra = one.__dask_postpersist__()
        kept.append(rebuild({key: parts[key] for key in _flat(keys)}, *extra))
    if many:
        return kept if isinstance(collections, list) else type(collections)(kept)
    return kept[0]
