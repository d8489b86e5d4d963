"""Client and workers in two environments: the table at connect, and what a user can ask."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

import taskloom
from taskloom._versions import installed, used_packages

OLDEST = Path(__file__).parents[2] / ".cache" / "oldest" / "bin" / "python"


@pytest.fixture(scope="module")
def cluster():
    """Workers of the environment with the oldest versions, which `npm test` has made."""
    assert OLDEST.exists(), "npm test makes .cache/oldest"
    with taskloom.LocalCluster(n_workers=2, threads_per_worker=1, python=str(OLDEST)) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def imported(monkeypatch):
    """The user's notebook has imported two packages; the workers lack one of them."""
    import msgpack
    import sklearn.linear_model

    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "msgpack", msgpack, raising=False)
    monkeypatch.setattr(main, "Model", sklearn.linear_model.LinearRegression, raising=False)
    monkeypatch.setattr(main, "mine", types.ModuleType("mine"), raising=False)


def test_one_readable_table_at_connect(cluster, imported):
    with pytest.warns(taskloom.VersionWarning) as caught:
        client = taskloom.Client(cluster, set_as_default=False)
    client.close()
    text = str(caught[0].message)
    sentence, head, *rows = text.splitlines()
    assert "differ in" in sentence and "Install one version on all machines" in sentence
    for name in ("cloudpickle", "numpy", "pandas", "dask", "msgpack", "scikit-learn"):
        assert name in sentence and name in head.split()
    # One row for both workers, one for this client.
    [workers] = [row for row in rows if "worker-0" in row]
    assert "worker-1" in workers and "3.0.0" in workers and "2026.1.0" in workers
    [mine] = [row for row in rows if "client" in row]
    assert installed()["scikit-learn"] in mine and installed()["numpy"] in mine
    # Columns stand below each other; what a side lacks is a dash.
    at = head.index("scikit-learn")
    assert workers[at:].split()[0] == "-" and mine[at:].startswith(installed()["scikit-learn"])


def test_asked_for(cluster, imported):
    with pytest.warns(taskloom.VersionWarning):
        client = taskloom.Client(cluster, set_as_default=False)
    with client:
        found = client.get_versions(packages=["psutil"])
        assert {one["cloudpickle"] for one in found["workers"].values()} == {"3.0.0"}
        assert "psutil" in found["client"] and found["client"]["scikit-learn"]
        with pytest.raises(taskloom.VersionMismatchError, match="cloudpickle") as caught:
            client.get_versions(check=True)
        assert "2026.1.0" in str(caught.value)
        # The work goes on: plain values are read by both.
        assert client.submit(pow, 2, 10).result(timeout=20) == 1024


def test_the_same_environment_says_nothing(recwarn):
    with taskloom.Client(n_workers=1, threads_per_worker=1, set_as_default=False) as client:
        client.get_versions(check=True)
    assert not [one for one in recwarn if issubclass(one.category, taskloom.VersionWarning)]


def test_what_the_user_has_imported(imported):
    assert {"msgpack", "scikit-learn"} <= set(used_packages())
    assert not {"mine", "pytest", "taskloom"} & set(used_packages())
