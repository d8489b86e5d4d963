"""Functions and arguments on their way out, and what is kept to be said again."""

from __future__ import annotations

import functools
import itertools
import pickle

import pytest

from taskloom import SerializationError, _by_value, _pack, serialize
from taskloom._ledger import NO_OPTIONS, Ledger
from taskloom._settings import byte_count, seconds


def unpack(packed, values=()):
    family, frames = serialize.unpack(packed)
    assert family == "pickle"
    return serialize.deserialize(family, frames, lambda at: values[at])


class Stand:
    """Stands for a future."""

    def __init__(self, number):
        self.number = number


def number(value):
    return value.number if isinstance(value, Stand) else None


@pytest.mark.parametrize(
    "items",
    [
        [0, -1, 2**31 - 1, -(2**31)],
        [2**31, 5],
        [2**80, -(2**63)],
        [0.5, -0.0, 1e300, float("inf")],
        ["", "a", "ü" * 300, "z" * 70_000],
        [b"", b"q" * 100_000],
        [True, None, 1, "x", 2.5],
    ],
    ids=repr,
)
def test_a_column_of_plain_values(items):
    packed, offsets = _pack.pack_plain_column(items)
    assert offsets[0] == 0 and offsets[-1] == len(packed)
    found = [unpack(packed[start:end]) for start, end in itertools.pairwise(offsets)]
    assert found == [((item,), {}) for item in items]
    assert [type(args[0]) for args, _ in found] == [type(item) for item in items]


def test_a_column_with_anything_else_is_not_taken():
    assert _pack.pack_plain_column([1, [2]]) is None


def test_arguments_without_futures():
    packed, deps = _pack.pack_args(([1, {"a": (2,)}],), {"k": b"x"}, lambda _: None)
    assert deps == []
    assert unpack(packed) == (([1, {"a": (2,)}],), {"k": b"x"})


def test_arguments_that_are_futures():
    packed, deps = _pack.pack_args((Stand(7), Stand(9)), {}, number)
    assert deps == [7, 9]
    assert unpack(packed, ["seven", "nine"]) == (("seven", "nine"), {})


def test_one_function_has_one_hash():
    functions = _pack.Functions()
    first = functions.get(number)
    assert functions.get(number) is first
    assert first.name == "number"


def test_a_name_that_stands_for_something_else_makes_another_function():
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    exec("limit = 1\ndef f():\n    return limit", names)
    functions = _pack.Functions()
    first = functions.get(names["f"])
    assert functions.get(names["f"]) is first
    names["limit"] = 2
    assert functions.get(names["f"]).hash != first.hash


def test_a_closure_is_read_anew():
    def make():
        count = 0

        def f():
            return count

        def change():
            nonlocal count
            count += 1

        return f, change

    f, change = make()
    functions = _pack.Functions()
    first = functions.get(f).hash
    change()
    assert functions.get(f).hash != first


def test_names_of_functions():
    assert _pack.function_name(lambda: 1) == "lambda"
    assert _pack.function_name(functools.partial(number, 1)) == "number"
    assert _pack.function_name(str.upper) == "upper"


def test_what_cannot_be_pickled_is_named():
    import threading

    lock = threading.Lock()
    with pytest.raises(SerializationError, match="cannot be pickled"):
        _pack.Functions().get(lambda: lock)


def test_amounts():
    assert [seconds(one) for one in (None, 2, "2", "500 ms", "2s", "5 min", "1 h")] == [
        None,
        2,
        2,
        0.5,
        2,
        300,
        3600,
    ]
    assert [byte_count(one) for one in (5, "2 GiB", "1.5MB")] == [5, 2**31, 1_500_000]


# ------------------------------------------------------------------------------ the ledger


def graph(first, keys, deps=(), rows=(), wants="all", fn=1):
    return {
        "op": "update-graph",
        "first": first,
        "keys": list(keys),
        "fn": fn,
        "args": b"".join(bytes([first + at]) for at in range(len(keys))),
        "argOffsets": list(range(len(keys) + 1)),
        "deps": list(deps),
        "depOffsets": list(rows),
        "options": NO_OPTIONS,
        "fifoTimeout": 100,
        "wants": wants,
    }


def register(fn=1):
    return {"op": "register-function", "fn": fn, "hash": "h", "name": "f", "blob": b""}


def pending(_):
    return True, None


def said(ledger, outcome=pending):
    return [message for message in ledger.resume(outcome) if message.get("again") != "last"]


def test_all_that_is_wanted_is_said_again():
    ledger = Ledger()
    for message in (register(), graph(1, ["a"]), graph(2, ["b"]), graph(3, ["c"], [1], [0, 1])):
        ledger.note(message, True)
    function, again = said(ledger)
    assert function == register()
    assert (again["cids"], again["keys"], again["args"]) == ([1, 2, 3], ["a", "b", "c"], b"\1\2\3")
    assert (again["deps"], again["depOffsets"]) == ([1], [0, 0, 0, 1])


def test_what_was_released_is_not_said_unless_something_stands_on_it():
    ledger = Ledger()
    for message in (register(), graph(1, ["a", "b"]), graph(3, ["c"], [1], [0, 1])):
        ledger.note(message, True)
    ledger.note({"op": "client-releases-keys", "cids": [1, 2]}, True)
    again = said(ledger)[-1]
    assert (again["keys"], again["wants"]) == (["a", "c"], [3])
    ledger.note({"op": "client-releases-keys", "cids": [3]}, True)
    assert len(ledger) == 0
    assert said(ledger) == [register()]


def test_tasks_that_have_failed_are_said_with_their_error():
    ledger = Ledger()
    ledger.note(register(), True)
    ledger.note(graph(1, ["a", "b", "c"]), True)
    error = {"code": "TASK_ERRED"}
    again = said(ledger, lambda cid: (cid == 2, None if cid == 2 else error))[-1]
    assert again["failed"] == {"tasks": [0, 2], "which": [0, 0], "errors": [error]}


def test_a_cancel_without_a_link_is_said_where_it_was_said():
    ledger = Ledger()
    ledger.note(register(), True)
    ledger.note(graph(1, ["a"]), True)
    cancel = {"op": "cancel-keys", "cids": [1], "keys": [], "force": True, "reason": "x"}
    ledger.note(cancel, False)
    ledger.note(graph(2, ["b"]), False)
    ops = [message["op"] for message in said(ledger)]
    assert ops == ["register-function", "update-graph", "cancel-keys", "update-graph"]
    # It has been said now: what it was about is gone.
    assert [message["keys"] for message in said(ledger)[1:]] == [["b"]]


def test_data_is_wanted_by_name():
    ledger = Ledger()
    ledger.note({"op": "scattered", "cids": [1], "keys": ["x"], "tids": [5], "nbytes": [1]}, True)
    ledger.note({"op": "client-desires-keys", "cids": [2], "keys": ["y"]}, True)
    assert [(one["again"], one["keys"]) for one in said(ledger)] == [
        ("data", ["x"]),
        ("others", ["y"]),
    ]


def test_many_tasks_take_little_when_most_are_gone():
    ledger = Ledger()
    ledger.note(register(), True)
    ledger.note(graph(1, [f"k{at}" for at in range(200)]), True)
    ledger.note({"op": "client-releases-keys", "cids": list(range(1, 191))}, True)
    again = said(ledger)[-1]
    assert again["cids"] == list(range(191, 201))
    assert again["args"] == bytes(range(191, 201))


def test_code_that_goes_by_value_keeps_its_file_and_lines():
    def outer():
        def inner():
            raise ValueError("here")

        inner()

    there = pickle.loads(_by_value.dumps(outer))
    with pytest.raises(ValueError) as caught:
        there()
    first = outer.__code__.co_firstlineno
    own = [(str(one.path), one.lineno + 1) for one in caught.traceback[1:]]
    assert own == [(__file__, first + 4), (__file__, first + 2)]
