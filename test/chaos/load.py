"""The Python client's part in a chaos run: a program that main.ts starts and talks with by lines.

Submits random graphs of Python tasks without end, small numbers and numpy arrays that stay live in
their executors, scatters, cancels and retries, and judges how every future it wants has ended. A
right value is one that the graph defines; errors go to main.ts, which knows the faults.

Lines of JSON on stdin: ``{"misbehave": kind, ...}`` and ``{"finish": seconds}``; on stdout what
happened, for the tally.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from taskloom import Client, Future, TimeoutError

# The workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

JOBS = 4
KEPT_MOST = 10
STUCK_S = 60
MIB = 2**20


def hash_of(salt: int, inputs: list[int]) -> int:
    """Return the number of a task with these inputs."""
    return zlib.crc32(struct.pack(f"<{1 + len(inputs)}I", salt, *inputs))


def body_of(number: int, nbytes: int) -> Any:
    """Return the value of a task: its number, or an array that begins with it."""
    if nbytes == 0:
        return number
    body = np.arange(nbytes // 4, dtype=np.uint32) * np.uint32(number | 1)
    body[0] = number
    return body


def number_of(value: Any) -> int:
    """Return the number in a value; ValueError when the array is damaged."""
    if isinstance(value, int):
        return value
    number = int(value[0])
    if not (value == body_of(number, value.nbytes)).all():
        raise ValueError(f"an array of {value.nbytes} bytes is damaged")
    return number


def work(spec: dict[str, Any], *inputs: Any) -> Any:
    """Run a task: misbehave so many times, then give the value."""
    numbers = [number_of(value) for value in inputs]
    mark = Path(spec["folder"]) / spec["id"]
    count = mark.stat().st_size if mark.exists() else 0
    if count < spec["times"]:
        with mark.open("a") as file:
            file.write(".")
        misbehave(spec)
    elif spec["kind"] == "sleeps":
        time.sleep(spec["seconds"])
    elif spec["kind"] == "submits":
        submit_parts(spec)
    return body_of(hash_of(spec["salt"], numbers), spec["nbytes"])


def submit_parts(spec: dict[str, Any]) -> None:
    """Let three tasks of its own compute, and wait for them."""
    from taskloom import get_client

    client = get_client()
    parts = client.gather(client.map(lambda x: x * x, [spec["salt"] % 1000, 3, 4]))
    if parts != [(spec["salt"] % 1000) ** 2, 9, 16]:
        raise ValueError(f"wrong parts of {spec['id']}: {parts}")


def misbehave(spec: dict[str, Any]) -> None:
    """Do what a task must not do."""
    import ctypes

    kind = spec["kind"]
    if kind in ("throws", "flaky"):
        raise RuntimeError(f"planned: {spec['id']}")
    if kind == "segfaults":
        ctypes.string_at(0)
    elif kind == "exits":
        os._exit(3)
    elif kind == "hogs":
        kept = []
        while True:
            kept.append(bytearray(os.urandom(16) * MIB))
            time.sleep(0.005)
    elif kind == "endless":
        while True:
            pass
    elif kind == "holds":
        ctypes.PyDLL(None).sleep(spec["seconds"])


_said = threading.Lock()


def say(**event: Any) -> None:
    """Tell main.ts."""
    with _said:
        print(json.dumps(event), flush=True)


@dataclass(eq=False)
class Planned:
    """A task, or scattered data, as this client knows it."""

    future: Future
    spec: dict[str, Any]
    deps: list[Planned]
    number: int
    born: float = field(default_factory=time.time)
    scattered: bool = False
    cancelled: bool = False

    def below(self) -> list[Planned]:
        """Return all that it stands on, itself included."""
        seen = [self]
        for one in seen:
            seen.extend(dep for dep in one.deps if dep not in seen)
        return seen


class Load:
    """One client with some jobs at a time."""

    def __init__(self, address: str, folder: str, seed: int) -> None:
        self.client = Client(address, name="python")
        self.folder = folder
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self.kept: list[Planned] = []
        self.pending: dict[Planned, bool] = {}
        self.stopping = threading.Event()
        self.count = 0
        self.threads: list[threading.Thread] = []
        for at in range(JOBS):
            self.begin(self.jobs, random.Random(seed + 1 + at))

    def begin(self, target: Any, *args: Any) -> None:
        """Start a thread that is waited for at the end."""
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def jobs(self, rng: random.Random) -> None:
        """Run one job after another."""
        while not self.stopping.is_set():
            try:
                graph = [self.scatter(rng)] if rng.random() < 0.1 else self.graph(rng)
                self.settle(rng, [one for one in graph if one is not None])
            except Exception as error:
                say(lose="a job", what=f"{type(error).__name__}: {error}")
            time.sleep(rng.uniform(0.005, 0.1))

    def spec(self, kind: str, rng: random.Random, **more: Any) -> dict[str, Any]:
        """Describe a task."""
        with self.lock:
            self.count += 1
            name = f"p-{self.count}"
        plain = {"id": name, "kind": kind, "salt": rng.getrandbits(31), "seconds": 0.0}
        return {**plain, "nbytes": 0, "times": 0, "folder": self.folder, **more}

    def submit(self, spec: dict[str, Any], deps: list[Planned], **options: Any) -> Planned:
        """Submit a task."""
        inputs = [dep.future for dep in deps]
        future = self.client.submit(work, spec, *inputs, key=spec["id"], **options)
        say(tasks=1)
        return Planned(future, spec, deps, hash_of(spec["salt"], [dep.number for dep in deps]))

    def graph(self, rng: random.Random) -> list[Planned]:
        """Submit a random graph; what of it is wanted."""
        size = rng.randint(20, 60) if rng.random() < 0.15 else rng.randint(1, 12)
        retries = 2 if rng.random() < 0.5 else 0
        made: list[Planned] = []
        for _ in range(size):
            with self.lock:
                before = [*made, *self.kept]
                deps = rng.sample(before, min(len(before), rng.randint(0, 3)))
                made.append(self.submit(self.random_spec(rng), deps, retries=retries))
        inputs = {id(dep) for one in made for dep in one.deps}
        wanted = [one for one in made if id(one) not in inputs or rng.random() < 0.3]
        for one in made:
            if one not in wanted:
                one.future.release()
        if rng.random() < 0.1:
            self.begin(self.cancel_later, rng.choice(wanted), rng.uniform(0.001, 1.5))
        return wanted

    def random_spec(self, rng: random.Random) -> dict[str, Any]:
        """Describe a task of a kind that users write."""
        nbytes = 0
        if rng.random() < 0.15:
            nbytes = 4 * rng.randint(20_000, MIB if rng.random() < 0.2 else MIB // 4)
        dice = rng.random()
        if dice < 0.8:
            return self.spec("quick", rng, nbytes=nbytes)
        if dice < 0.82:
            return self.spec("submits", rng, nbytes=nbytes)
        if dice < 0.96:
            return self.spec("sleeps", rng, seconds=rng.uniform(0.01, 1), nbytes=nbytes)
        if dice < 0.99:
            return self.spec("flaky", rng, times=rng.randint(1, 2), nbytes=nbytes)
        return self.spec("throws", rng, times=10**9)

    def scatter(self, rng: random.Random) -> Planned | None:
        """Put data on a worker."""
        spec = self.spec("quick", rng, nbytes=4 * rng.randint(0, MIB // 2))
        number = hash_of(spec["salt"], [])
        value = {spec["id"]: body_of(number, spec["nbytes"])}
        born = time.time()
        try:
            future = self.client.scatter(value, broadcast=rng.random() < 0.2)[spec["id"]]
        except Exception as error:
            # The chosen worker may be one that a fault is about to take; a user tries again.
            say(refused=f"scatter: {error}")
            return None
        say(scattered=1)
        return Planned(future, spec, [], number, born, scattered=True)

    def cancel_later(self, one: Planned, seconds: float, force: bool = False) -> None:
        """Cancel it, and so all that stands on it."""
        time.sleep(seconds)
        with self.lock:
            gone = [other for other in [*self.pending, *self.kept] if one in other.below()]
            if one not in gone:
                return
            for other in gone:
                other.cancelled = True
            self.kept = [other for other in self.kept if not other.cancelled]
            say(cancelled=1)
            one.future.cancel(force=force)

    def misbehave(self, kind: str, times: int, seconds: float, cancel: float | None) -> None:
        """Submit a task that misbehaves, and one that stands on it, as a fault."""
        spec = self.spec(kind, self.random, times=times, seconds=seconds)
        options = {} if cancel is not None or kind != "endless" else {"task_timeout": seconds}
        one = self.submit(spec, [], **options)
        after = self.submit(self.spec("quick", self.random), [one])
        if cancel is not None:
            self.begin(self.cancel_later, one, cancel, True)
        self.begin(self.settle, random.Random(spec["salt"]), [one, after])

    # ---------------------------------------------------------------- how it ends

    def settle(self, rng: random.Random, wanted: list[Planned]) -> None:
        """Wait for all of them; keep some for later graphs."""
        with self.lock:
            self.pending.update(dict.fromkeys(wanted, True))
        for one in wanted:
            ended = self.judge(rng, one)
            with self.lock:
                self.pending.pop(one, None)
                keep = ended and rng.random() < 0.3 and not self.stopping.is_set()
                if keep and not one.cancelled and len(self.kept) < KEPT_MOST:
                    self.kept.append(one)
                    continue
                if len(self.kept) == KEPT_MOST and rng.random() < 0.3:
                    self.kept.pop(0).future.release()
            one.future.release()

    def judge(self, rng: random.Random, one: Planned) -> bool:
        """Wait, and say how it ended; whether its value is right."""
        name = one.spec["id"]
        for tries in range(5):
            try:
                value = self.result(one)
                number = number_of(value)
            except Exception as error:
                again = tries < 4 and not one.cancelled and not self.stopping.is_set()
                if again and one.future.status == "error" and rng.random() < 0.3:
                    say(retried=1)
                    one.future.retry()
                    continue
                self.tell_error(one, error)
                return False
            size = 0 if isinstance(value, int) else value.nbytes
            if number != one.number or size != one.spec["nbytes"]:
                say(wrong=name, what=f"{number} of {size} bytes, not {one.number}")
                return False
            say(right=1)
            return True
        return False

    def result(self, one: Planned) -> Any:
        """Wait; say now and then that it takes long."""
        while True:
            try:
                return one.future.result(timeout=STUCK_S)
            except TimeoutError:
                if one.future.done():
                    raise
                try:
                    why = self.client.explain(one.future)
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                say(note=f"{one.spec['id']} ({one.spec['kind']}) is {one.future.status}: {why}")

    def tell_error(self, one: Planned, error: BaseException) -> None:
        """Tell of an error, with what may explain it: the task to blame, what stands below."""
        below = one.below()
        text = str(error)
        blamed = getattr(error, "key", None) or text.removeprefix("planned: ").split()[0]
        found = next((dep for dep in below if blamed in (dep.spec["id"], dep.future.key)), None)
        say(
            error=one.spec["id"],
            code=getattr(error, "code", type(error).__name__),
            text=text[:2000],
            cancelled=any(dep.cancelled for dep in below),
            kind=None if found is None else found.spec["kind"],
            times=0 if found is None else found.spec["times"],
            scattered=found is not None and found.scattered,
            born=1000 * (one.born if found is None else found.born),
        )

    def finish(self, seconds: float) -> None:
        """Submit nothing any more, wait until all has ended, let go of everything."""
        self.stopping.set()
        until = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self.lock:
            for one in list(self.pending)[:3]:
                say(lose=one.spec["id"], what=f"it never ended: {self.client.explain(one.future)}")
            for one in [*self.kept, *self.pending]:
                one.future.release()
        say(finished=True)


def main() -> None:
    """Serve main.ts until it closes the pipe."""
    address, folder, seed = sys.argv[1:4]
    load = Load(address, folder, int(seed))
    say(started=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "finish" in told:
            load.finish(told["finish"])
        else:
            load.misbehave(told["misbehave"], told["times"], told["seconds"], told["cancel"])
    load.client.close()


if __name__ == "__main__":
    main()
