"""Runs a function beside the scheduler: in a process of its own, connected as a client.

No code of users runs in a scheduler: it would stop everybody's work, and a crash would take the
states of all tasks along. What Dask's users do there, looking at the scheduler, goes by the
questions of a client.
"""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskloom import _by_value
from taskloom._errors import ClusterError

_PARAMETERS = ("dask_scheduler", "client")


def run_beside(where: tuple[str, str], function: Callable, args: tuple, kwargs: dict) -> Any:
    """Run it in a fresh process and return what it returns."""
    job = _by_value.dumps((where, function, args, kwargs))
    # Modules of this process's folder are found there, too.
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "taskloom._beside"],
        input=job,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace")[-2000:]
        raise ClusterError(f"run_on_scheduler: its process ended ({done.returncode}).\n{text}")
    sys.stderr.write(done.stderr.decode(errors="replace"))
    good, value = pickle.loads(done.stdout)
    if not good:
        raise value
    return value


def _takes(function: Callable) -> str | None:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in _PARAMETERS if name in parameters), None)


def main() -> None:
    """Read a job from standard input and write its result to standard output."""
    out = os.fdopen(os.dup(1), "wb")
    # What the function prints is not the result.
    os.dup2(2, 1)
    (address, token), function, args, kwargs = pickle.loads(sys.stdin.buffer.read())
    client = None
    try:
        name = _takes(function)
        if name is not None and name not in kwargs:
            from taskloom import Client

            client = Client(address, token=token, name="run_on_scheduler")
            kwargs[name] = client
        answer = (True, function(*args, **kwargs))
        packed = _by_value.dumps(answer)
    except Exception as error:
        packed = _by_value.dumps((False, error))
    finally:
        if client is not None:
            client.close()
    out.write(packed)
    out.flush()


if __name__ == "__main__":
    main()
