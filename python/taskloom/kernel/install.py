"""Registers the TypeScript kernel with a Jupyter, also one of another environment."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

KERNEL_NAME = "taskloom"


def install_kernelspec(prefix: str | None = None) -> str:
    """Install the kernelspec so that it starts this very Python.

    Parameters
    ----------
    prefix : str, optional
        Install below ``prefix/share/jupyter``; by default for the current user.

    Returns
    -------
    str
        The folder it was written to.
    """
    source = Path(__file__).parent / "kernelspec"
    spec = json.loads((source / "kernel.json").read_text(encoding="utf-8"))
    spec["argv"][0] = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        # Readable by those who share the installation, which a temporary folder is not.
        Path(folder).chmod(0o755)
        shutil.copy(source / "logo-svg.svg", folder)
        (Path(folder) / "kernel.json").write_text(json.dumps(spec, indent=2), encoding="utf-8")
        return KernelSpecManager().install_kernel_spec(
            folder, KERNEL_NAME, user=prefix is None, prefix=prefix
        )
