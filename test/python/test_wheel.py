"""The wheel, as a user gets it: in an empty environment, without Node, with its types."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = """\
from taskloom import Client
client = Client()
print(client.submit(pow, 2, 10).result())
"""

USER_PROGRAM = """\
from taskloom import Client, Future, LocalCluster, as_completed, progress, wait

def square(x: int) -> int:
    return x * x

with LocalCluster(n_workers=2) as cluster, Client(cluster) as client:
    one: Future[int] = client.submit(square, 3)
    many: list[Future[int]] = client.map(square, range(4))
    total: int = one.result() + sum(client.gather(many))
    wait(many, timeout="10 s")
    for future in as_completed(many):
        print(future.key, future.status, future.nbytes)
    progress(many)
    cluster.scale(3)
    text: str = client.explain(one)
"""

WRONG_PROGRAM = """\
from taskloom import Client
client = Client(weight="heavy")
text: str = client.submit(pow, 2, 10, retries="often").key.missing
"""


def run(*command: object, env: dict[str, str] | None = None, seconds: float = 300) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=env, timeout=seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, from the build that the tests run on."""
    folder = tmp_path_factory.mktemp("wheel")
    env = {**os.environ, "TASKLOOM_BUILT": "1"}
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, env=env)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory) -> Path:
    """The Python of an environment that holds the wheel and what pip brings with it."""
    folder = tmp_path_factory.mktemp("environment") / "v"
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", wheel, env=env)
    return python


def test_holds_all_parts(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "taskloom/py.typed",
        "taskloom/runtime/taskloom.mjs",
        "taskloom/runtime/worker.mjs",
        "taskloom/executor/__main__.py",
        ".data/data/share/jupyter/labextensions/taskloom/package.json",
        ".data/data/share/jupyter/kernels/taskloom/kernel.json",
    ):
        assert any(name.endswith(part) for name in names), part
    # Not twice, and nothing of a developer's machine.
    assert not any(name.startswith("taskloom/labextension") for name in names)
    assert not any("node_modules" in name or "compile-cache" in name for name in names)


def test_three_lines_without_node(empty, tmp_path):
    script = tmp_path / "three_lines.py"
    script.write_text(SCRIPT)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    # An environment in which no command is found at all, Node least.
    env = {"PATH": str(nothing), "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    assert run(empty, script, env=env, seconds=120).strip() == "1024"


def test_types_of_a_users_program(empty, tmp_path):
    good, wrong = tmp_path / "good.py", tmp_path / "wrong.py"
    good.write_text(USER_PROGRAM)
    wrong.write_text(WRONG_PROGRAM)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Not with the settings of this checkout, in which the package is code to check.
    mypy = (sys.executable, "-m", "mypy", "--config-file=", "--python-executable", empty)
    mypy = (*mypy, "--strict")
    cache = ("--cache-dir", tmp_path / "mypy")
    run(*mypy, *cache, good, env=env)
    done = subprocess.run(
        list(map(str, (*mypy, *cache, wrong))), capture_output=True, text=True, env=env
    )
    assert done.stdout.count("error:") == 3, done.stdout
