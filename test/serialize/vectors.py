"""Writes vectors.json, which both suites read: ``python test/serialize/vectors.py``.

Each vector is a packed value in hexadecimal beside what it means. ``value`` is JSON for plain data
(``{"$bytes": hex}`` for bytes); of an array it is its items, with dtype, shape and order.
"""

import json
import sys
from pathlib import Path

import msgpack
import numpy

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))

from taskloom.serialize import pack, serialize

HERE = Path(__file__).parent

PLAIN = [
    None,
    True,
    0,
    -1,
    2**53 - 1,
    -(2**53) + 1,
    1.5,
    "text",
    "é☃𝄞",
    [],
    [1, "two", [3.25, None]],
    {"a": 1, "b": {"c": [True, False]}},
]
ARRAYS = [
    numpy.arange(5, dtype="<f8"),
    numpy.arange(6, dtype="<i4").reshape(2, 3),
    numpy.asfortranarray(numpy.arange(6, dtype="<i2").reshape(2, 3)),
    numpy.array([1, 0, 1], dtype=bool),
    numpy.array([-(2**60), 7], dtype="<i8"),
    numpy.array([[1, 2]], dtype="<u8"),
    numpy.array(2.5),
    numpy.zeros((0, 3), dtype="<f4"),
    numpy.float64(3.5),
    numpy.int64(7),
    numpy.array(["2026-11-21"], dtype="<M8[D]"),
]


def main() -> None:
    """Write the file."""
    lines = []
    for value in [*PLAIN, b"\x00\xff"]:
        family, frames = serialize(value)
        assert family == "plain", value
        meaning = {"$bytes": value.hex()} if isinstance(value, bytes) else value
        lines.append({"family": family, "hex": pack(family, frames).hex(), "value": meaning})
    for array in ARRAYS:
        family, frames = serialize(array)
        assert family == "ndarray", array
        is_date = array.dtype.kind == "M"
        items = (array.view("<i8") if is_date else array).reshape(-1, order="A")
        lines.append(
            {
                "family": family,
                "hex": pack(family, frames).hex(),
                "dtype": array.dtype.str,
                "shape": list(array.shape),
                "order": msgpack.unpackb(frames[0])["order"],
                "scalar": not isinstance(array, numpy.ndarray),
                "items": [str(one) for one in items.tolist()],
            }
        )
    text = ",\n".join(f"  {json.dumps(line)}" for line in lines)
    (HERE / "vectors.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
