"""What is told of an exception: its text and traceback for people, itself for programs.

Bounded, and it never fails: what cannot be pickled loses its own fields, then itself.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from taskloom._errors import TaskloomError
from taskloom.serialize import SerializationError, dumps, loads, pack

_MOST_CHARS = 20_000
_MOST_BYTES = 2**20
_OWN = str(Path(__file__).parent) + os.sep

Failure = dict[str, Any]


def users_failure(error: BaseException) -> Failure:
    """Tell of an exception that a task's own code has raised."""
    if isinstance(error, ModuleNotFoundError) and hasattr(error, "add_note"):
        error.add_note(_lacks(error))
    return _of_task(error)


def _of_task(error: BaseException) -> Failure:
    return {
        "code": "TASK_ERRED",
        "message": describe(error),
        "traceback": _traceback(error),
        "exception": _pickled(error),
    }


def start_failure(key: str, error: BaseException) -> Failure:
    """Tell why a task could not be started: its function or arguments cannot be read here."""
    if isinstance(error, ModuleNotFoundError):
        name = error.name or "?"
        text = f"No module named {name!r}: task {key} needs it. {_lacks(error)}"
        return _of_task(ModuleNotFoundError(text, name=error.name, path=error.path))
    if isinstance(error, (SerializationError, TaskloomError)):
        text = f"Task {key} could not be started: {error}"
    else:
        text = (
            f"Task {key} could not be started: its function or arguments cannot be unpickled here: "
            f"{describe(error)}. Client and workers should run the same versions of Python and of "
            "the packages that they use."
        )
    return own_failure("SERIALIZATION", SerializationError(text), traceback_of=error)


def _lacks(error: ModuleNotFoundError) -> str:
    package = (error.name or "its package").split(".")[0]
    return (
        f"The Python of this worker ({sys.executable}, {sys.version.split()[0]}) does not have it. "
        f"Install it there, such as with client.pip_install({package!r}), or send the file with "
        "client.upload_file."
    )


def result_failure(key: str, error: BaseException) -> Failure:
    """Tell why a result cannot leave its executor."""
    text = f"The result of task {key} cannot leave its executor: {error}"
    return own_failure("SERIALIZATION", SerializationError(text))


def own_failure(
    code: str, error: BaseException, traceback_of: BaseException | None = None
) -> Failure:
    """Tell of an error that taskloom itself has found."""
    return {
        "code": code,
        "message": describe(error),
        "traceback": "" if traceback_of is None else _traceback(traceback_of),
        "exception": _pickled(error),
    }


def describe(error: BaseException) -> str:
    """Give ``Name: message``, whatever its ``__str__`` does."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as why:
        text = f"its text cannot be had: {type(why).__name__}"
    return _cut(f"{name}: {text}" if text else name)


def _cut(text: str) -> str:
    # Half of a surrogate pair cannot be sent.
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= _MOST_CHARS:
        return text
    return f"{text[:_MOST_CHARS]}… ({len(text)} characters in all)"


def _traceback(error: BaseException) -> str:
    """Give the traceback with causes, without our own frames."""
    try:
        trimmed = _without_own(error.__traceback__)
        report = traceback.TracebackException(type(error), error, trimmed, limit=-200, compact=True)
        text = "".join(report.format())
    except Exception:
        text = describe(error)
    if len(text) <= _MOST_CHARS:
        return _cut(text)
    # The frames matter more than a text that is said elsewhere: the middle goes.
    half = _MOST_CHARS // 2 - 50
    return _cut(f"{text[:half]}\n… ({len(text)} characters in all)\n{text[-half:]}")


def _without_own(at: TracebackType | None) -> TracebackType | None:
    while at is not None and at.tb_frame.f_code.co_filename.startswith(_OWN):
        at = at.tb_next
    return at


def _pickled(error: BaseException) -> bytes | None:
    for form in (lambda: error, lambda: _Plain(error), lambda: _Plain(error, reduced=True)):
        try:
            data = pack("pickle", dumps(form()))
            if len(data) > _MOST_BYTES:
                continue
            # One that cannot be read would be found out by the client only.
            if form() is error:
                loads(dumps(error))
            return data
        except Exception:
            continue
    return None


class _Plain:
    """Pickles as the exception, made again without a call of its constructor."""

    def __init__(self, error: BaseException, reduced: bool = False) -> None:
        self.error = error
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        error = self.error
        if self.reduced:
            return rebuild, (type(error), (describe(error).partition(": ")[2],), {})
        fields = {name: value for name, value in vars(error).items() if _travels(value)}
        args = tuple(arg if _travels(arg) else repr(arg)[:1000] for arg in error.args)
        return rebuild, (type(error), args, fields)


def _travels(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def rebuild(kind: type[BaseException], args: tuple, fields: dict[str, Any]) -> BaseException:
    """Make an exception whose constructor cannot be called with its ``args``."""
    error = kind.__new__(kind)
    error.args = args
    for name, value in fields.items():
        error.__dict__[name] = value
    return error
