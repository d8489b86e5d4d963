"""The socket file beside a scheduler's port, from Python."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from taskloom import Client, LocalCluster
from taskloom._same_host import connect_on_this_host


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=1, threads_per_worker=1) as made:
        yield made


def family_of(client):
    return client._session._link._socket.transport.get_extra_info("socket").family


def test_a_client_takes_the_socket_file(cluster):
    with Client(cluster) as client:
        assert family_of(client) == socket.AF_UNIX
        assert client.submit(pow, 2, 5).result(60) == 32


@pytest.mark.parametrize("mode", ["open to others", "absent", "a link"])
def test_a_folder_that_is_not_ours_alone_is_not_entered(cluster, tmp_path, monkeypatch, mode):
    folder = tmp_path / "taskloom"
    if mode != "absent":
        folder.mkdir(mode=0o700)
    if mode == "open to others":
        folder.chmod(0o755)
    if mode == "a link":
        folder.rename(tmp_path / "real")
        folder.symlink_to(tmp_path / "real")
    # Somebody listens there under the right name.
    number = Path("/proc/self/ns/net").stat().st_ino
    name = f"{number}-{urlsplit(cluster.scheduler_address).port}"
    with socket.socket(socket.AF_UNIX) as other:
        if mode != "absent":
            other.bind(str(folder / name))
            other.listen()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert connect_on_this_host(cluster.scheduler_address) is None
        if mode == "open to others":
            # It is the folder alone that was amiss.
            folder.chmod(0o700)
            made = connect_on_this_host(cluster.scheduler_address)
            assert made is not None
            made.close()


def test_only_the_own_machine_has_one():
    assert connect_on_this_host("http://127.0.0.2:1") is None
    assert connect_on_this_host("http://example.org:8786") is None


def test_without_it_the_port_will_do(cluster, monkeypatch):
    from taskloom import _link

    monkeypatch.setattr(_link, "connect_on_this_host", lambda _address: None)
    with Client(cluster) as client:
        assert family_of(client) == socket.AF_INET
        assert client.submit(pow, 2, 6).result(60) == 64
