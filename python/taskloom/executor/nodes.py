"""What runs nodes of Dask's graphs in an executor; written by `taskloom._nodes`."""

from __future__ import annotations

import pickle
from collections.abc import Hashable
from functools import lru_cache
from typing import Any


def run_node(parts: tuple[Any, tuple[Hashable, ...]], *values: Any) -> Any:
    """Run a node with the results of the keys it needs.

    Parameters
    ----------
    parts : tuple
        The node, and the keys it needs.
    *values
        Their results.
    """
    node, keys = parts
    return node(dict(zip(keys, values, strict=True)))


@lru_cache(maxsize=1000)
def read_once(pickled: bytes) -> Any:
    """Read a function or class that many nodes use: they share one object."""
    return pickle.loads(pickled)
