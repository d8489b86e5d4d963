"""The example notebook, executed headless, against a plain computation of the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import taskloom

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def printed(notebook: Any, word: str) -> Any:
    """The JSON that some cell printed after ``word``."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for line in output.get("text", "").splitlines():
                if line.startswith(word + " "):
                    return json.loads(line.removeprefix(word + " "))
    raise AssertionError(f"no cell printed {word}")


def test_flights_notebook_computes_what_one_process_computes(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TASKLOOM_RUNTIME_DIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "flights.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="taskloom",
        resources={"metadata": {"path": str(EXAMPLES)}},
    )
    client.execute()

    plain = subprocess.run(
        [taskloom.node_path(), str(ROOT / "test/examples/flights-plain.ts")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
    )
    expected = json.loads(plain.stdout)
    assert printed(notebook, "totals") == expected["totals"]
    assert printed(notebook, "hours") == expected["hours"]
    assert expected["totals"]["flights"] == 3_000_000

    bars = [
        output["data"]["application/vnd.taskloom.progress+json"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "application/vnd.taskloom.progress+json" in output.get("data", {})
    ]
    # Two that the notebook asks for; on a slow machine other cells get one by themselves.
    assert len(bars) >= 2
    assert {bar["state"] for bar in bars} == {"finished"}
    assert all(row["done"] == row["total"] for bar in bars for row in bar["rows"])
    # Nothing of the cluster is left when the notebook has closed it.
    assert list(tmp_path.glob("*.json")) == []
