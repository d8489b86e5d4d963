"""The wire as Python sees it: plain msgpack reads every frame of the test vectors."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgpack
import pytest
from conftest import ROOT

VECTORS = json.loads((ROOT / "test/protocol/vectors.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """Turn `{"$bytes": hex}` of the JSON into bytes."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        if list(value) == ["$bytes"]:
            return bytes.fromhex(value["$bytes"])
        return {name: plain(one) for name, one in value.items()}
    return value


@pytest.mark.parametrize(
    "vector", VECTORS["control"], ids=lambda one: f"{one['link']}: {one['op']}"
)
def test_control_frame(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    messages = msgpack.unpackb(frame)
    assert messages == plain(vector["messages"])
    assert {message["op"] for message in messages} == {vector["op"]}
    # The other way: what Python writes says the same, though numbers may be packed otherwise.
    assert msgpack.unpackb(msgpack.packb(messages)) == messages


@pytest.mark.parametrize("vector", VECTORS["data"], ids=lambda one: one["name"])
def test_data_message(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    magic, head_bytes, count = struct.unpack_from("<4sII", data)
    assert magic == b"TLD1"
    lengths = struct.unpack_from(f"<{count}d", data, 12)
    at = 12 + 8 * count
    assert msgpack.unpackb(data[at : at + head_bytes]) == plain(vector["head"])
    at += head_bytes
    frames = []
    for length in lengths:
        frames.append(data[at : at + int(length)].hex())
        at += int(length)
    assert frames == vector["frames"]
    assert at == len(data)


def test_every_link_is_there() -> None:
    links = {vector["link"] for vector in VECTORS["control"]}
    ends = ["client", "worker", "nanny"]
    to, of = "{} to scheduler", "scheduler to {}"
    assert links == {way.format(one) for one in ends for way in (to, of)}
