"""cloudpickle, with the files of code kept.

From 3.1.3 on cloudpickle leaves out in which file a function was written, and tracebacks of tasks
would name no line of the user's.
"""

from __future__ import annotations

import io
from collections import ChainMap
from types import CodeType
from typing import Any, ClassVar

import cloudpickle


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    _, fields = cloudpickle.Pickler.dispatch_table[CodeType](code)[:2]
    return code_of, (code.co_filename, *fields)


def code_of(filename: str, *fields: Any) -> CodeType:
    """Make code again, as of its file."""
    return CodeType(*fields).replace(co_filename=filename)


class Pickler(cloudpickle.Pickler):
    """Writes by value what has no importable module."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )


def dumps(obj: Any) -> bytes:
    """Pickle with protocol 5, by value where that is needed."""
    sink = io.BytesIO()
    Pickler(sink, 5).dump(obj)
    return sink.getvalue()
