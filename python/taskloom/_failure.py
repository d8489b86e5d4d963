"""Error records from the wire as exceptions to raise.

A task's own exception comes back as it was raised; the traceback of the worker is its cause, as
concurrent.futures has it, and a note names the task and the worker.
"""

from __future__ import annotations

from typing import Any

from taskloom import _errors, serialize

Record = dict[str, Any]


class RemoteTraceback(Exception):
    """Holds the traceback of a worker, as text, for the cause of an exception."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


_KEYED = {
    kind.code: kind
    for kind in (
        _errors.KilledWorkerError,
        _errors.TaskTimeoutError,
        _errors.LostDataError,
        _errors.WorkerMemoryError,
        _errors.NoValidWorkerError,
    )
}


def error_of(record: Record) -> BaseException:
    """Return what ``future.result()`` raises for a failed task."""
    key, code = record["blame"], record["code"]
    message = record["message"]
    head, _, rest = message.partition(": ")
    plain = rest if head.isidentifier() and rest else message
    if code in _KEYED:
        error: BaseException = _KEYED[code](key, plain)
    elif code == "SERIALIZATION":
        error = _errors.SerializationError(plain)
    elif code == "CANCELLED":
        error = _errors.CancelledError(key, plain)
    elif code == "TASK_ERRED":
        error = _users_error(record)
    else:
        error = _errors.TaskError(key, message, code=code)
    return _with_place(error, record)


def _users_error(record: Record) -> BaseException:
    packed = record.get("exception")
    if packed is not None:
        try:
            family, frames = serialize.unpack(packed)
            if family == "pickle":
                error = serialize.deserialize(family, frames)
                if isinstance(error, Exception) and not isinstance(error, StopIteration):
                    return error
                if isinstance(error, BaseException):
                    return _errors.TaskError(record["blame"], _not_for_here(record))
        except Exception as why:
            # Its class cannot be made here; the record has what it said.
            record = {**record, "message": f"{record['message']} (not brought as itself: {why!r})"}
    return _errors.TaskError(record["blame"], record["message"])


def _not_for_here(record: Record) -> str:
    """Tell of an exception (SystemExit and its like) that would end whoever it is raised in."""
    return (
        f"The task raised {record['message']}. It is not raised here as itself, because that "
        "would end what waits for the task instead. Return from the task, or raise an exception "
        "of class Exception."
    )


def _with_place(error: BaseException, record: Record) -> BaseException:
    if record.get("traceback"):
        error.__cause__ = RemoteTraceback(f'\n"""\n{record["traceback"].rstrip()}\n"""')
    worker = record.get("worker")
    notes = [f"In task {record['blame']}" + (f" on worker {worker}." if worker else ".")]
    if type(error) is MemoryError:
        notes.append(
            "The worker's machine gave it no more memory. Make the task smaller, or run fewer at "
            "a time (fewer threads a worker)."
        )
    for note in notes:
        if hasattr(error, "add_note") and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    return error
