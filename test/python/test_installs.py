"""Packages that workers get while the cluster runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cloudpickle
import pytest
from wheels import write_wheel

import taskloom
from taskloom import Client, LocalCluster

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TASKLOOM_RUNTIME_DIR", str(tmp_path / "clusters"))
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        yield client


def use_it():
    import tl_rules

    return tl_rules.cut(7), tl_rules.__file__


def test_a_wheel_travels_to_workers_also_to_later_ones(client, tmp_path):
    wheel = write_wheel(tmp_path, "tl_rules", "def cut(x):\n    return min(x, 5)\n")
    with pytest.raises(ModuleNotFoundError, match="tl_rules"):
        client.submit(use_it).result()
    have = client.pip_install(wheel)
    assert sorted(have) == sorted(client.nthreads())
    wheel.unlink()
    for value, file in client.gather([client.submit(use_it) for _ in range(4)]):
        assert value == 5
        assert str(tmp_path / "cache") in file
    assert {value for value, _ in client.run(use_it).values()} == {5}
    # The environment stays as it was.
    assert importlib.util.find_spec("tl_rules") is None

    before = set(client.nthreads())
    client.cluster.scale(3)
    client.wait_for_workers(3)
    (later,) = set(client.nthreads()) - before
    assert client.submit(use_it, workers=[later]).result()[0] == 5


def test_only_what_the_environment_lacks_is_installed(client, tmp_path):
    write_wheel(tmp_path, "tl_base", "LIMIT = 3\n")
    write_wheel(
        tmp_path,
        "tl_rules",
        "from tl_base import LIMIT\ndef cut(x):\n    return min(x, LIMIT)\n",
        ("tl_base", "numpy>=1"),
    )
    client.pip_install(["tl_rules"], pip_options=["--no-index", "--find-links", str(tmp_path)])
    value, file = client.submit(use_it).result()
    assert value == 3
    names = {path.name for path in Path(file).parent.iterdir()}
    assert {"tl_rules.py", "tl_base.py"} <= names
    assert not any(name.startswith("numpy") for name in names)


def test_what_pip_cannot_find_is_told_and_forgotten(client, tmp_path):
    with pytest.raises(taskloom.PipInstallError, match="no_such_package_tl") as caught:
        client.pip_install("no_such_package_tl", pip_options=["--no-index"])
    assert "pip said" in str(caught.value)
    assert client.submit(pow, 2, 3).result() == 8
    with pytest.raises(taskloom.ConfigError, match=r"no wheel .*gone\.whl"):
        client.pip_install(tmp_path / "gone.whl")
