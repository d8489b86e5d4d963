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
