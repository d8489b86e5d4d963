"""What is published under a name: a structure that holds futures.

Lists and dicts of plain values and futures are written so that clients of both languages read
them: family ``plain``, a future being the map ``{"taskloom-future": i}``. Anything else is a
pickle, for Python alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskloom import _pack, serialize
from taskloom._errors import ConfigError, SerializationError
from taskloom._future import Future

MARK = "taskloom-future"


def pack_dataset(name: str, data: Any) -> tuple[bytes, list[int]]:
    """Return the structure as bytes, and the numbers of its futures."""
    cids: list[int] = []

    def place(value: object) -> int | None:
        if not isinstance(value, Future):
            return None
        if value._cid not in cids:
            cids.append(value._cid)
        return cids.index(value._cid)

    try:
        family, frames = serialize.serialize(_marked(data, place))
    except (_Own, serialize.SerializationError):
        family = "pickle"
    if family != "plain":
        cids.clear()
        family, frames = "pickle", serialize.dumps(data, place)
    size = serialize.nbytes_of(frames)
    if size > _pack.FUNCTION_BYTES:
        raise SerializationError(
            f"Dataset {name} is {size / 1e6:.0f} MB beside its futures. Put large values on the "
            "workers first: data = client.scatter(value), then publish the future."
        )
    return serialize.pack(family, frames), cids


class _Own(Exception):
    """The structure needs Python."""


def _marked(data: Any, place: Any) -> Any:
    at = place(data)
    if at is not None:
        return {MARK: at}
    if type(data) is list:
        return [_marked(one, place) for one in data]
    if type(data) is dict:
        if MARK in data or not all(type(key) is str for key in data):
            raise _Own
        return {key: _marked(one, place) for key, one in data.items()}
    if type(data) in (str, int, float, bool, bytes, type(None)):
        return data
    raise _Own


def unpack_dataset(packed: bytes, futures: Sequence[Future]) -> Any:
    """Return a structure with a client's own futures in their places."""
    family, frames = serialize.unpack(packed)
    if family == "js":
        raise ConfigError(
            "This dataset was published by a TypeScript client as a structure that Python cannot "
            "read. Publish futures, or lists and objects of futures and plain values."
        )
    if family == "plain":
        return _revived(serialize.deserialize(family, frames), futures)
    return serialize.deserialize(family, frames, futures.__getitem__)


def _revived(data: Any, futures: Sequence[Future]) -> Any:
    if type(data) is list:
        return [_revived(one, futures) for one in data]
    if type(data) is dict:
        if list(data) == [MARK]:
            return futures[data[MARK]]
        return {key: _revived(one, futures) for key, one in data.items()}
    return data
