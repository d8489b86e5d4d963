"""Dask's collections on a cluster, by Dask's public seams alone.

Dask optimises collections and gives a scheduler one graph, which goes out as `update-graph`
messages. Keys get a mark of their call, so that two graphs that use one name for two things do not
meet. Dask is imported when the first graph comes.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

from taskloom._future import Future, GraphTasks, _Origin
from taskloom._keys import key_prefix
from taskloom._nodes import Packed, Packer
from taskloom._outbox import GRAPH_BYTES, GRAPH_TASKS, Message, graph_message
from taskloom._settings import seconds
from taskloom._submit import SALT, notice, parent_task, task_options
from taskloom.executor.nodes import run_node

if TYPE_CHECKING:
    from taskloom._client import Client

_calls = itertools.count(1)
_ANNOTATIONS = ("workers", "resources", "retries", "priority", "allow_other_workers")

Annotations = dict[str, dict[Hashable, Any]]


def _graph_of(dsk: Any) -> dict[Hashable, Any]:
    """Return a graph of any form as a dict of nodes."""
    from dask._task_spec import convert_legacy_graph

    if hasattr(dsk, "__dask_graph__"):
        dsk = dsk.__dask_graph__()
    return convert_legacy_graph(dict(dsk))


def _annotations_of(dsk: Any) -> Annotations:
    """Return what `dask.annotate` has said of parts of a graph: by kind, then by key."""
    if hasattr(dsk, "__dask_annotations__"):
        return dsk.__dask_annotations__()
    found: Annotations = {}
    for layer in getattr(dsk, "layers", {}).values():
        for kind, value in (getattr(layer, "annotations", None) or {}).items():
            said = {key: value(key) if callable(value) else value for key in layer}
            found.setdefault(kind, {}).update(said)
    return found


def _flat(keys: Any) -> list[Hashable]:
    """Return the keys of nested lists; a tuple is a key."""
    if not isinstance(keys, list):
        return [keys]
    return [key for one in keys for key in _flat(one)]


def _needed(
    graph: dict[Hashable, Any], wanted: dict[Hashable, None]
) -> tuple[dict[Hashable, Any], dict[Hashable, Future]]:
    """Return the nodes that the wanted keys need, and the futures that stand for nodes."""
    nodes: dict[Hashable, Any] = {}
    held: dict[Hashable, Future] = {}
    stack = list(wanted)
    while stack:
        key = stack.pop()
        if key in nodes or key in held:
            continue
        node = graph[key]
        value = getattr(node, "value", None)
        if type(value) is Future:
            held[key] = value
            continue
        nodes[key] = node
        stack.extend(node.dependencies)
    return nodes, held


def _ranked(nodes: dict[Hashable, Any], held: dict[Hashable, Future]) -> list[Hashable]:
    """Return the keys as Dask would run them, which puts inputs before what needs them."""
    from dask.order import order

    graph: dict[Any, Any] = nodes
    if len(nodes) == 1:
        return list(nodes)
    if held:
        # Dask's order wants to see every key that a node names.
        from dask._task_spec import DataNode

        placeholders: dict[Any, Any] = {key: DataNode(key, None) for key in held}  # type: ignore[arg-type]
        graph = {**nodes, **placeholders}
    ranks: dict[Any, int] = order(graph)
    return sorted(nodes, key=ranks.__getitem__)


def _name(key: Hashable, mark: str) -> str:
    """Return a key as text. Up to its last dash it is the same for all parts of a collection.

    Different keys must be different texts: places may be fractions, or text with any sign in it.
    """
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        return f"{key[0]}{mark}-{', '.join([repr(one) for one in key[1:]])}"[:4000]
    return f"{key}{mark}"[:4000]


class _Choice:
    """The options of a graph's tasks: those of the call, with what is said of single keys."""

    def __init__(self, kwargs: Message, annotations: Annotations) -> None:
        import dask

        said = {**dask.get_annotations(), **{k: v for k, v in kwargs.items() if v is not None}}
        self._all = {kind: said.get(kind) for kind in _ANNOTATIONS}
        self._single = {kind: annotations[kind] for kind in _ANNOTATIONS if annotations.get(kind)}
        self._made: dict[Any, Message] = {}
        self.alike = not self._single and not any(map(callable, self._all.values()))

    def of(self, key: Hashable) -> Message:
        """Return the options of a task; the same dict for the same options."""
        said = {kind: value(key) if callable(value) else value for kind, value in self._all.items()}
        for kind, values in self._single.items():
            # What the call says goes before what the graph carries.
            if said[kind] is None:
                said[kind] = values.get(key)
        mark = repr(said)
        made = self._made.get(mark)
        if made is None:
            made = self._made[mark] = task_options(
                said["workers"],
                said["resources"],
                said["retries"],
                said["priority"] or 0,
                bool(said["allow_other_workers"]),
                None,
            )
        return made


class _Rows(NamedTuple):
    """A graph's tasks in the order of their numbers."""

    keys: list[Hashable]
    packed: list[Packed]
    options: list[Message] | None
    """None: `option` for all."""
    option: Message
    order: list[int] | None


def _rows(
    client: Client, nodes: dict[Hashable, Any], keys: list[Hashable], choice: _Choice
) -> _Rows:
    packer = Packer(client)
    if choice.alike:
        pack = packer.pack
        return _Rows(keys, [pack(nodes[key]) for key in keys], None, choice.of(None), None)
    of = {key: choice.of(key) for key in keys}
    # A message has one set of options and names only tasks before its own: stages of tasks with
    # the same options, as few as there can be.
    stages: dict[Hashable, int] = {}
    for key in keys:
        needs = [one for one in nodes[key].dependencies if one in of]
        stages[key] = max((stages[one] + (of[one] is not of[key]) for one in needs), default=0)
    ranks = {key: rank for rank, key in enumerate(keys)}
    keys = sorted(keys, key=lambda key: (stages[key], id(of[key]), ranks[key]))
    return _Rows(
        keys,
        [packer.pack(nodes[key]) for key in keys],
        [of[key] for key in keys],
        of[keys[0]],
        [ranks[key] for key in keys],
    )


def _parts(rows: _Rows) -> list[tuple[int, int]]:
    """Cut tasks into messages: of one set of options, and of bounded length."""
    cuts, start, size = [], 0, 0
    for at, packed in enumerate(rows.packed):
        other = rows.options is not None and rows.options[at] is not rows.options[start]
        if at > start and (other or at - start == GRAPH_TASKS or size > GRAPH_BYTES):
            cuts.append((start, at))
            start, size = at, 0
        size += len(packed.args)
    cuts.append((start, len(rows.packed)))
    return cuts


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
        Options of `Client.submit` for all tasks, which go before annotations; others are ignored,
        as Dask's schedulers do.
    """
    wanted = dict.fromkeys(_flat(keys))
    client._session.must_be_open()
    graph = _graph_of(dsk)
    choice = _Choice(kwargs, _annotations_of(dsk))
    nodes, held = _needed(graph, wanted)
    if not nodes:
        return {key: held[key] for key in wanted}
    rows = _rows(client, nodes, _ranked(nodes, held), choice)
    mark = _mark()
    first = _send(client, rows, held, wanted, mark, kwargs.get("fifo_timeout"))
    whole = GraphTasks(first, len(rows.keys), _called(rows.keys, mark))
    now = time.time()
    places = {key: at for at, key in enumerate(rows.keys)}
    futures = {}
    for key in wanted:
        if key in held:
            futures[key] = held[key]
            continue
        name = _name(key, mark)
        origin = _Origin(key_prefix(name), now, whole)
        futures[key] = Future(name, client, first + places[key], origin)
    notice(client, list(futures.values()))
    return futures


def _called(keys: list[Hashable], mark: str) -> dict[str, int]:
    """Count tasks by what they are called."""
    heads = Counter([key[0] if isinstance(key, tuple) and key else key for key in keys])
    found: dict[str, int] = {}
    for head, count in heads.items():
        name = key_prefix(_name(head, mark))
        found[name] = found.get(name, 0) + count
    return found


def _send(
    client: Client,
    rows: _Rows,
    held: dict[Hashable, Future],
    wanted: dict[Hashable, None],
    mark: str,
    fifo_timeout: float | str | None,
) -> int:
    """Say a graph to the scheduler; return the number of its first task."""
    fifo = (seconds(fifo_timeout or "60 s") or 0) * 1000
    session = client._session
    # Without a name of its own: what a task is called stands in its key.
    function = client._function(run_node)._replace(name="")
    count = len(rows.keys)
    with session.lock:
        first = session.numbers(count)
        cids: dict[Hashable, int] = {key: future._cid for key, future in held.items()}
        cids.update(zip(rows.keys, range(first, first + count), strict=True))
        kept = {cids[key] for key in wanted if key not in held}
        parts = _parts(rows)
        # What a later message builds on is wanted until that has been said.
        ahead = _ahead(rows, parts, cids, first) - kept if len(parts) > 1 else set()
        number = session.function_number(function)
        for start, end in parts:
            deps, ends, offsets, size = [], [0], [0], 0
            for packed in rows.packed[start:end]:
                size += len(packed.args)
                offsets.append(size)
                deps.extend([cids[key] for key in packed.needs])
                deps.extend([future._cid for future in packed.futures])
                ends.append(len(deps))
            here = range(first + start, first + end)
            session.say(
                graph_message(
                    first + start,
                    [_name(key, mark) for key in rows.keys[start:end]],
                    number,
                    b"".join([packed.args for packed in rows.packed[start:end]]),
                    offsets,
                    rows.option if rows.options is None else rows.options[start],
                    fifo,
                    parent_task(),
                    deps,
                    ends,
                    [cid for cid in here if cid in kept or cid in ahead],
                    None if rows.order is None else rows.order[start:end],
                )
            )
        outcomes = session.outcomes
        for cid in range(first, first + count):
            if cid not in kept and cid not in ahead:
                # The scheduler's alone.
                outcomes.pop(cid, None)
    for cid in ahead:
        session.release(cid)
    return first


def _ahead(
    rows: _Rows, parts: list[tuple[int, int]], cids: dict[Hashable, int], first: int
) -> set[int]:
    """Return the tasks that those of a later message need."""
    needed: set[int] = set()
    for start, end in parts[1:]:
        for packed in rows.packed[start:end]:
            needed.update(
                cid for key in packed.needs if first <= (cid := cids[key]) < first + start
            )
    return needed


def _mark() -> str:
    return f"-{SALT}g{next(_calls)}"


def _shape(keys: Any, values: dict[Hashable, Any]) -> Any:
    """Return values as their keys are nested, with tuples, as Dask's schedulers do."""
    if isinstance(keys, list):
        return tuple(_shape(key, values) for key in keys)
    return values[keys]


def get(
    client: Client,
    dsk: Any,
    keys: Any,
    sync: bool = True,
    asynchronous: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Compute keys of a graph; see `Client.get`."""
    futures = submit_graph(client, dsk, keys, **kwargs)
    if not sync:
        return _shape(keys, futures)
    order = list(futures)
    found = client.gather([futures[key] for key in order], asynchronous=asynchronous)
    if client.asynchronous if asynchronous is None else asynchronous:

        async def shaped() -> Any:
            return _shape(keys, dict(zip(order, await found, strict=True)))

        return shaped()
    return _shape(keys, dict(zip(order, found, strict=True)))


def _asker(client: Client, options: Message) -> Any:
    """Return a scheduler for Dask that answers with futures."""

    def ask(dsk: Any, keys: Any, **kwargs: Any) -> Any:
        return _shape(keys, submit_graph(client, dsk, keys, **options))

    return ask


def compute(
    client: Client,
    collections: Any,
    options: Message,
    sync: bool,
    optimize_graph: bool,
    traverse: bool,
    **kwargs: Any,
) -> Any:
    """Compute collections; see `Client.compute`."""
    import dask

    many = isinstance(collections, list | tuple | set | frozenset)
    items = list(collections) if many else [collections]
    if traverse:
        plain = (list, tuple, set, dict)
        items = [dask.delayed(one) if isinstance(one, plain) else one for one in items]
    # Dask makes one graph of all, in which each collection is one key, and puts what the
    # scheduler answers in the place of the collections.
    futures = dask.compute(
        *items,
        traverse=False,
        optimize_graph=optimize_graph,
        scheduler=_asker(client, options),
        **kwargs,
    )
    answer = list(futures) if many else futures[0]
    return client.gather(answer) if sync else answer


def persist(
    client: Client, collections: Any, options: Message, optimize_graph: bool, **kwargs: Any
) -> Any:
    """Compute collections and keep their parts on the cluster; see `Client.persist`."""
    import dask

    many = isinstance(collections, list | tuple | set | frozenset)
    items = list(collections) if many else [collections]
    kept = dask.persist(
        *items,
        traverse=False,
        optimize_graph=optimize_graph,
        scheduler=_asker(client, options),
        **kwargs,
    )
    if many:
        return list(kept) if isinstance(collections, list) else type(collections)(kept)
    return kept[0]
