"""Taskloom for Python: where its runtime is, and the Node that runs it.

The scheduler, the workers and the launcher are one compiled JavaScript runtime that this package
carries. This module finds it; it imports nothing heavy, so that ``import taskloom`` is quick.
"""

from taskloom._runtime import NodeNotFoundError, RuntimeNotFoundError, node_path, runtime_path
from taskloom._version import __version__

__all__ = [
    "NodeNotFoundError",
    "RuntimeNotFoundError",
    "__version__",
    "node_path",
    "runtime_path",
]

_TYPESCRIPT_ONLY = frozenset({"Client", "Future", "LocalCluster", "progress"})


def __getattr__(name: str) -> object:
    """Say what there is instead of a Python client."""
    if name in _TYPESCRIPT_ONLY:
        raise ImportError(
            f"taskloom {__version__} has no {name} for Python notebooks yet: its clusters run "
            "TypeScript functions. Open a notebook with the kernel 'TypeScript (Taskloom)' and "
            f'write: import {{ {name} }} from "taskloom"'
        )
    raise AttributeError(f"module 'taskloom' has no attribute {name!r}")
