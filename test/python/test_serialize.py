"""Families of values: what Python writes and reads, and the vectors it shares with TypeScript."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

import pytest
from conftest import ROOT

from taskloom.serialize import SerializationError, deserialize, pack, serialize, unpack

VECTORS = json.loads((ROOT / "test/serialize/vectors.json").read_text(encoding="utf-8"))


def round_trip(value: Any) -> tuple[str, Any]:
    family, frames = serialize(value)
    assert unpack(pack(family, frames))[0] == family
    return family, deserialize(*unpack(pack(family, frames)))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one["hex"][:24])
def test_vector(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    family, frames = unpack(data)
    assert family == vector["family"]
    if family == "ndarray":
        numpy = pytest.importorskip("numpy")
        value = deserialize(family, frames)
        assert value.dtype.str == vector["dtype"]
        assert list(value.shape) == vector["shape"]
        assert isinstance(value, numpy.ndarray) != vector["scalar"]
        items = value.view("<i8") if value.dtype.kind == "M" else value
        assert [str(one) for one in items.reshape(-1, order="A").tolist()] == vector["items"]
    else:
        value = deserialize(family, frames)
        wanted = vector["value"]
        if isinstance(wanted, dict) and "$bytes" in wanted:
            wanted = bytes.fromhex(wanted["$bytes"])
        assert value == wanted
        assert type(value) is type(wanted)
    assert pack(*serialize(value)) == data


@pytest.mark.parametrize(
    "value",
    [
        2**53,
        -(2**53),
        (1, 2),
        [1, (2,)],
        {"a": {1, 2}},
        {1: "a"},
        {"a": {2: 3}},
        "\ud800",
        OrderedDict(a=1),
        bytearray(b"x"),
        1 + 2j,
        range(3),
    ],
    ids=repr,
)
def test_what_plain_data_cannot_say_is_pickled(value: Any) -> None:
    family, again = round_trip(value)
    assert family == "pickle"
    assert again == value
    assert type(again) is type(value)


def test_shared_items_stay_shared() -> None:
    inner: list[int] = []
    _, again = round_trip([inner, inner])
    assert again[0] is again[1]
    cycle: list[Any] = []
    cycle.append(cycle)
    _, again = round_trip(cycle)
    assert again[0] is again


def test_nesting_beyond_any_limit_is_refused_with_a_reason() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        serialize(deep)
    while deep:
        deep = deep.pop()


def test_a_lock_is_refused_with_a_reason() -> None:
    with pytest.raises(
        SerializationError, match=r"(?s)lock.*cannot be pickled.*Return or pass data"
    ):
        serialize(threading.Lock())


def test_functions_of_main_go_by_value() -> None:
    pytest.importorskip("cloudpickle")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def add(x):\n    return x + offset\noffset = 2", scope)
    family, add = round_trip(scope["add"])
    assert family == "pickle"
    assert add is not scope["add"]
    assert add(1) == 3


def test_references_are_numbers_of_dependencies() -> None:
    class Future:
        pass

    first, second = Future(), Future()
    numbers = {id(first): 0, id(second): 1}
    family, frames = serialize(((first, [second]), {"k": first}), lambda one: numbers.get(id(one)))
    assert family == "pickle"
    assert deserialize(family, frames, ["a", "b"].__getitem__) == (("a", ["b"]), {"k": "a"})


def test_arrays_are_views_of_their_frames() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(10_000, dtype="<i8")
    for value in (array, {"k": (array,)}):
        family, frames = serialize(value)
        assert numpy.shares_memory(numpy.frombuffer(frames[1], "<i8"), array)
        owned = bytearray(frames[1])
        again = deserialize(family, [frames[0], owned])
        again = again["k"][0] if isinstance(again, dict) else again
        assert numpy.shares_memory(numpy.frombuffer(owned, "<i8"), again)
        assert again.flags.writeable
        assert (again == array).all()


@pytest.mark.parametrize("dtype", [">i4", "i4,f8", "U3", "O"])
def test_arrays_that_only_python_knows_are_pickled(dtype: str) -> None:
    numpy = pytest.importorskip("numpy")
    family, again = round_trip(numpy.zeros(3, dtype))
    assert family == "pickle"
    assert again.dtype == numpy.dtype(dtype)


def test_arrow_tables_and_batches() -> None:
    arrow = pytest.importorskip("pyarrow")
    batch = arrow.RecordBatch.from_pydict({"a": [1, None], "b": ["x", "y"]})
    for value in (arrow.Table.from_batches([batch, batch]), batch):
        family, again = round_trip(value)
        assert family == "arrow"
        assert type(again) is type(value)
        assert again.equals(value)


def test_a_value_of_typescript_is_refused_with_a_remedy() -> None:
    with pytest.raises(SerializationError, match=r"only TypeScript reads.*plain"):
        deserialize("js", [b"\xc0"])


@pytest.mark.parametrize(
    "data", [b"", b"\xd7\x00\x00\x00", b"\xd7\x00\x00\x01\x00\x00\x00\x09a", b"\xd7\x7f\x00\x01"]
)
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SerializationError, match="damaged"):
        unpack(data)
