"""The Python notebooks of ``examples/python``, executed at a small size, each cell in turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

EXAMPLES = ROOT / "examples" / "python"
MIME = "application/vnd.taskloom.progress+json"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TASKLOOM_EXAMPLES", "small")
    monkeypatch.setenv("TASKLOOM_RUNTIME_DIR", str(tmp_path / "clusters"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TASKLOOM_SCHEDULER", raising=False)


def executed(name: str) -> Any:
    """Run a notebook beside its files; a cell that raises fails the test with its traceback."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name=notebook.metadata["kernelspec"]["name"],
        resources={"metadata": {"path": str(EXAMPLES)}},
    )
    return client.execute()


def printed(notebook: Any) -> str:
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return "".join(one.get("text", "") for one in outputs if one.get("name") == "stdout")


def shown(notebook: Any, mime: str) -> list[Any]:
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return [one["data"][mime] for one in outputs if mime in one.get("data", {})]


def nothing_runs(tmp_path: Path) -> bool:
    return list((tmp_path / "clusters").glob("*.json")) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []


def test_futures(tmp_path):
    notebook = executed("futures.ipynb")
    text = printed(notebook)
    # The primes below 400,000 and, beside each other within one part, the widest gap.
    assert "primes 33860 widest gap" in text
    assert "ValueError invalid literal for int() with base 10: 'three'" in text
    assert "fib 21" in text
    assert {bar["state"] for bar in shown(notebook, MIME)} == {"finished"}
    assert nothing_runs(tmp_path)


def test_arrays(tmp_path):
    text = printed(executed("arrays.ipynb"))
    assert "mean 20.0" in text and "spread 5.0" in text
    assert "ratio 0.447" in text
    assert "bootstrap 0.5" in text
    assert nothing_runs(tmp_path)


def test_dataframe(tmp_path):
    notebook = executed("dataframe.ipynb")
    text = printed(notebook)
    assert "shuffled True" in text
    assert "states" in text
    assert any("delay" in table for table in shown(notebook, "text/html"))
    assert nothing_runs(tmp_path)


def test_two_languages_exchange_futures(tmp_path):
    done: dict[str, Any] = {}

    def python_side() -> None:
        try:
            done["python"] = executed("mixed-python.ipynb")
        except BaseException as error:
            done["error"] = error

    thread = threading.Thread(target=python_side)
    thread.start()
    deadline = time.monotonic() + 120
    while not list((tmp_path / "clusters").glob("*.json")) and "error" not in done:
        assert time.monotonic() < deadline, "no cluster has been started"
        time.sleep(0.1)
    other = executed("mixed-typescript.ipynb")
    thread.join(120)
    assert "error" not in done, done.get("error")
    assert '{"sensor":0,"place":"roof","above":' in printed(other)
    text = printed(done["python"])
    assert "alarms [" in text
    assert "table {'rows': 200000" in text
    assert "SerializationError True" in text
    assert nothing_runs(tmp_path)


def test_batch_scoring(tmp_path):
    notebook = executed("scoring.ipynb")
    text = printed(notebook)
    assert "installed on" in text
    assert 'batches {"1": 24, "4": 6, "12": 2}' in text
    table = shown(notebook, "text/html")[-1]
    assert "rows a second" in table and "accuracy" in table
    assert nothing_runs(tmp_path)
