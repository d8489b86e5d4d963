"""What keys tell of the tasks that have them; src/graph/keys.ts has the same rule."""

from __future__ import annotations

import re
from functools import lru_cache

_HASH = re.compile(r"[0-9a-f]{32}")
_SHORT_HASH = re.compile(r"[0-9a-f]{8}")


@lru_cache(maxsize=10_000)
def key_prefix(key: str) -> str:
    """Return what a task is called by its key: the words before its first token or number.

    As `dask.utils.key_split` has it: ``read-csv-4b21…-0`` is ``read-csv``; nothing but a hash is
    ``data``.
    """
    first, *rest = re.sub(r"^[\W_]+", "", key).split("-")
    prefix = re.sub(r"[,'\")].*$", "", first, flags=re.DOTALL)
    if not prefix:
        return key
    if _HASH.fullmatch(prefix):
        return "data"
    for word in rest:
        if not word.isalpha() or _SHORT_HASH.fullmatch(word):
            break
        prefix += f"-{word}"
    return prefix
