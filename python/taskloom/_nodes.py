"""Nodes of Dask's graphs on their way out.

A node is a task whose function, `run_node`, runs it with the results that it depends on. It is
pickled by pickle alone where that can write it; functions and classes of the notebook, which go by
value, are pickled once for a graph and read once in a process. A node that holds futures, or what
only cloudpickle writes, takes the slow way of `serialize.dumps`.
"""

from __future__ import annotations

import io
import pickle
import types
from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from taskloom import _by_value, _pack, serialize
from taskloom._future import Future
from taskloom.executor.nodes import read_once

if TYPE_CHECKING:
    from taskloom._client import Client

LARGE = 16 * 2**20
"""Bytes from which a node goes to the workers by itself, and not through the scheduler."""


class Packed(NamedTuple):
    """A node as the wire has it."""

    args: bytes
    needs: list[Hashable]
    """Keys of other nodes, in the order of the task's dependencies."""
    futures: list[Future]
    """Further dependencies."""


class Packer:
    """Packs the nodes of one graph.

    Parameters
    ----------
    client : Client
        Whose futures may stand in them.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._buffers: list[pickle.PickleBuffer] = []
        self._collect = serialize.collect(self._buffers)
        # Modules that the user has registered go by value, though pickle could name their parts.
        self._by_value = bool(cloudpickle.list_registry_pickle_by_value())
        self._sink = io.BytesIO()
        self._pickler = _NodePickler(self._sink, 5, buffer_callback=self._collect)
        self._pickler.written = {}

    def pack(self, node: Any) -> Packed:
        """Pack one."""
        needs = list(node.dependencies)
        frames = self._quickly(node, needs)
        if frames is None:
            return self._slowly(node, needs)
        if serialize.nbytes_of(frames) > LARGE:
            return self._beside(node, needs)
        return Packed(serialize.pack("pickle", frames), needs, [])

    def _quickly(self, node: Any, needs: list[Hashable]) -> list[Any] | None:
        """Return the frames of its arguments; None if it takes more than pickle to write them."""
        pair, buffers = (node, tuple(needs)), self._buffers
        buffers.clear()
        packing = _pack.packing
        packing.futures = []
        own = b"__main__"
        try:
            if not self._by_value:
                own = pickle.dumps(pair, 5, buffer_callback=self._collect)
        except Exception:
            # A function of no module: it and those of its like are written by value from now on.
            buffers.clear()
        try:
            if b"__main__" in own:
                self._by_value = True
                own = self._write(pair)
        except Exception:
            # A future, or whatever a class of the user throws: the slow way says what it is.
            return None
        finally:
            packing.futures = None
        if b"__main__" in own:
            return None
        return [_spliced(own, len(needs)), *(buffer.raw() for buffer in buffers)]

    def _write(self, pair: Any) -> bytes:
        self._buffers.clear()
        self._sink.seek(0)
        self._sink.truncate()
        self._pickler.clear_memo()
        self._pickler.dump(pair)
        return self._sink.getvalue()

    def _slowly(self, node: Any, needs: list[Hashable]) -> Packed:
        outer: dict[int, Future] = {}

        def reference(value: object) -> int | None:
            if type(value) is _Input:
                return value.place
            if self._client._dependency(value) is None:
                return None
            outer.setdefault(id(value), value)  # type: ignore[arg-type]
            return len(needs) + list(outer).index(id(value))

        inputs = [_Input(place) for place in range(len(needs))]
        frames = serialize.dumps((((node, tuple(needs)), *inputs), {}), reference)
        if serialize.nbytes_of(frames) > LARGE and not outer:
            return self._beside(node, needs)
        packed = _pack.pack_frames(frames, f"The parts of {node.key!r}")
        return Packed(packed, needs, list(outer.values()))

    def _beside(self, node: Any, needs: list[Hashable]) -> Packed:
        """Put a large node on a worker as a value, and let its task depend on that."""
        from taskloom._scatter import scatter

        held = self._client._session.sync(scatter(self._client, [node], None, False))[0]
        inputs = [_Input(place) for place in range(len(needs) + 1)]
        frames = serialize.dumps(
            (((inputs[-1], tuple(needs)), *inputs[:-1]), {}),
            lambda value: value.place if type(value) is _Input else None,
        )
        return Packed(serialize.pack("pickle", frames), needs, [held])


class _Input:
    """Stands for the result of another node."""

    def __init__(self, place: int) -> None:
        self.place = place


class _NodePickler(pickle.Pickler):
    """Writes functions and classes of no importable module by value, once for all nodes."""

    written: dict[int, tuple[Any, bytes]]

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not types.FunctionType and not isinstance(obj, type):
            return NotImplemented
        if not _pack.goes_by_value(obj):
            return NotImplemented
        known = self.written.get(id(obj))
        if known is None:
            # The object is kept with its pickle, so that nothing else gets its id.
            known = self.written[id(obj)] = (obj, _by_value.dumps(obj))
        return read_once, (known[1],)


def _spliced(own: bytes, count: int) -> bytes:
    """Return the pickle of ``((pair, *references), {})``, given the pair's own.

    Written by hand, as a pickler that knows references asks Python about every object.
    """
    # Without the opcodes for protocol and end, and the frame of a long one.
    body = own[2:-1] if len(own) < 15 or own[2] != 0x95 else own[11:-1]
    return b"\x80\x05(" + body + _references(count)


@lru_cache(maxsize=4096)
def _references(count: int) -> bytes:
    """References to so many dependencies, and the end of the tuples around them."""
    name = serialize.DEPENDENCY.encode()
    text = b"\x8c" + bytes([len(name)]) + name
    numbers = (b"J" + place.to_bytes(4, "little") for place in range(count))
    return b"".join(text + number + b"\x86Q" for number in numbers) + b"t}\x86."
