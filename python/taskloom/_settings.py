"""Amounts as people write them, and what this machine has."""

from __future__ import annotations

import os
import re
from pathlib import Path

from taskloom._errors import ConfigError

_SECONDS = {"ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "": 1}
_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTES[_letter] = _BYTES[f"{_letter}b"] = 1000**_power
    _BYTES[f"{_letter}i"] = _BYTES[f"{_letter}ib"] = 1024**_power
_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def seconds(value: float | str | None) -> float | None:
    """Return the seconds of a number or of text such as ``"2 min"``."""
    if value is None or isinstance(value, int | float):
        return value
    match = _AMOUNT.fullmatch(value)
    unit = match[2].lower().removesuffix("utes").removesuffix("ute") if match else "?"
    unit = unit if unit in _SECONDS else unit.rstrip("s").removesuffix("ond")
    if match is None or unit not in _SECONDS:
        raise ConfigError(
            f'"{value}" is not a time. Write seconds, or text such as "500 ms", "2 s", "5 min".'
        )
    return float(match[1]) * _SECONDS[unit]


def byte_count(value: float | str) -> int:
    """Return the bytes of a number or of text such as ``"2 GiB"``."""
    match = _AMOUNT.fullmatch(str(value))
    unit = match[2].lower() if match else "?"
    if match is None or unit not in _BYTES:
        raise ConfigError(
            f'"{value}" is not an amount of memory. Write bytes, or text such as "512 MiB", "2 GB".'
        )
    return int(float(match[1]) * _BYTES[unit])


def format_bytes(size: float) -> str:
    """Return text such as ``1.95 GiB``."""
    for unit in ("B", "kiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def available_cores() -> int:
    """Return the cores that affinity and control groups leave to this process."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    for folder in _cgroups():
        quota = _numbers(folder / "cpu.max")
        if len(quota) == 2 and quota[1] > 0:
            cores = min(cores, max(1, -(-quota[0] // quota[1])))
    return max(1, cores)


def total_memory() -> int:
    """Return the bytes that hardware and control groups leave to this process."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in _cgroups():
        limits.extend(_numbers(folder / "memory.max")[:1])
    limits.extend(_numbers(Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))[:1])
    return min(limits)


def _cgroups() -> list[Path]:
    """Return this process's control group (version 2) and those above it."""
    try:
        text = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    for line in text.splitlines():
        if line.startswith("0::"):
            folder = root / line[3:].lstrip("/")
            above = [one for one in folder.parents if one.is_relative_to(root)]
            return [folder, *above]
    return []


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


def divide_machine(
    workers: int | None, threads: int | None, memory_limit: float | str | None
) -> tuple[int, int, int]:
    """Return workers, threads of each and bytes of each (0: no limit), by Dask's rule."""
    cores = available_cores()
    if workers is None and threads is None:
        workers = cores if cores <= 4 else _factor(cores)
        threads = cores // workers
    elif workers is None:
        workers = max(1, cores // max(1, threads or 1))
    elif threads is None:
        threads = max(1, cores // max(1, workers))
    assert workers is not None and threads is not None
    if workers < 0 or threads < 1:
        raise ConfigError("n_workers must be at least 0 and threads_per_worker at least 1.")
    if memory_limit is None or memory_limit == "auto":
        return workers, threads, total_memory() // max(1, workers)
    limit = byte_count(memory_limit)
    if 0 < limit < 128 * 2**20:
        raise ConfigError(
            f"memory_limit is {memory_limit}: a worker needs at least 128 MiB. Write bytes or text "
            'such as "2 GiB", "auto" for its part of the machine, or 0 for no limit.'
        )
    return workers, threads, limit


def _factor(cores: int) -> int:
    """The smallest factor from the square root on: 8 cores are 4 x 2, 12 are 4 x 3."""
    processes = int(cores**0.5)
    processes += processes * processes < cores
    while cores % processes:
        processes += 1
    return processes
