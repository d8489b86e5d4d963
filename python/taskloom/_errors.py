"""Every error that a user can meet, one class per cause.

The names are those of the TypeScript client. A message says what happened, to which key, worker
or cluster, and what to do next. A task's own exception is not wrapped: it is raised again as
itself, with the worker's traceback as its cause.
"""

from __future__ import annotations

import builtins
import concurrent.futures


class TaskloomError(Exception):
    """The base of all of them; ``code`` is stable.

    Parameters
    ----------
    message : str
        What happened and what can be done.
    code : str, optional
        The word by which the wire knows it.
    """

    code = "ERROR"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class _KeyedError(TaskloomError):
    """An error that belongs to one task."""

    def __init__(self, key: str, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.key = key

    def __reduce__(self) -> tuple:
        return (type(self), (self.key, str(self)))


class TaskError(_KeyedError):
    """A task failed, and its own exception could not be brought here as it was."""

    code = "TASK_ERRED"


class KilledWorkerError(_KeyedError):
    """Workers died too often while they executed this task."""

    code = "KILLED_WORKER"


KilledWorker = KilledWorkerError
"""The name that Dask's users know."""


class CancelledError(_KeyedError, concurrent.futures.CancelledError):
    """The future was cancelled, by its user or because what it stood on is gone."""

    code = "CANCELLED"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, f"Future {key} was cancelled: {reason}.")
        self.reason = reason

    def __reduce__(self) -> tuple:
        return (type(self), (self.key, self.reason))


class TimeoutError(TaskloomError, builtins.TimeoutError):
    """A wait ended before what it waited for came."""

    code = "TIMEOUT"


class TaskTimeoutError(_KeyedError):
    """A running task passed its ``timeout`` and was killed."""

    code = "TASK_TIMEOUT"


class CommClosedError(TaskloomError, ConnectionError):
    """The other side of a link is gone."""

    code = "COMM_CLOSED"


class AuthenticationError(TaskloomError):
    """The token is missing or wrong."""

    code = "UNAUTHENTICATED"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} refused the token. Use the token of this cluster's connection file "
            "(taskloom cluster dashboard NAME prints it in a link), or connect by the cluster's "
            "name."
        )


class ProtocolVersionError(TaskloomError):
    """Two sides speak different versions of the wire protocol."""

    code = "PROTOCOL_VERSION"


class VersionMismatchError(TaskloomError):
    """Processes of one cluster run versions that do not go together."""

    code = "VERSION_MISMATCH"


class ProtocolError(TaskloomError):
    """A frame or message that the protocol does not allow."""

    code = "PROTOCOL"


class SerializationError(TaskloomError, TypeError):
    """A function or value cannot be shipped to a worker."""

    code = "SERIALIZATION"


class LostDataError(_KeyedError):
    """Data that nobody can compute again died with its last holder."""

    code = "LOST_DATA"


class WorkerMemoryError(_KeyedError, MemoryError):
    """A result or input does not fit the memory of any worker that could hold it."""

    code = "WORKER_MEMORY"


class NoValidWorkerError(_KeyedError):
    """No worker may run the task (restrictions, resources, language), or none exists at all."""

    code = "NO_VALID_WORKER"


class ConfigError(TaskloomError, ValueError):
    """A setting, option or argument that cannot be used."""

    code = "CONFIG"


class ClusterError(TaskloomError):
    """A process of a cluster did not start, or ended when it should not."""

    code = "CLUSTER"


class VersionWarning(UserWarning):
    """Client and workers run versions that may not go together."""


class Reschedule(Exception):
    """Raised by a task: run me again, here or somewhere else."""
