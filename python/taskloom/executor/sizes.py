"""How many bytes a value takes, near enough to decide where it goes."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

_SAMPLE = 10
_BUDGET = 2000
_OPAQUE = 64


def size_of(value: Any) -> int:
    """Estimate the bytes of a value; never fails. Long containers are sampled."""
    try:
        return max(1, int(_measure(value, [_BUDGET])))
    except Exception:
        return _OPAQUE


def _measure(value: Any, budget: list[int]) -> float:
    kind = type(value)
    if kind in (int, float, str, bytes, bool, bytearray, type(None)):
        return sys.getsizeof(value)
    budget[0] -= 1
    if budget[0] < 0:
        return _OPAQUE
    if kind in (list, tuple, set, frozenset):
        return sys.getsizeof(value) + _measure_many(value, len(value), budget)
    if kind is dict:
        keys = _measure_many(value, len(value), budget)
        return sys.getsizeof(value) + keys + _measure_many(value.values(), len(value), budget)
    return _measure_object(value, budget)


def _measure_many(items: Any, count: int, budget: list[int]) -> float:
    if count == 0:
        return 0
    seen = list(islice(items, _SAMPLE))
    return sum(_measure(item, budget) for item in seen) * count / len(seen)


def _measure_object(value: Any, budget: list[int]) -> float:
    dask = sys.modules.get("dask.sizeof")
    if dask is not None:
        return dask.sizeof(value)
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if module == "pandas":
        usage = (
            value.memory_usage(index=True) if hasattr(value, "columns") else value.memory_usage()
        )
        total = usage.sum() if hasattr(usage, "sum") else usage
        # Columns of objects: what they point at.
        return float(total) * (2 if "object" in str(getattr(value, "dtypes", "")) else 1)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    fields = getattr(value, "__dict__", None)
    inner = _measure(fields, budget) if type(fields) is dict else 0
    return sys.getsizeof(value) + inner
