"""Runs Dask's own suites, from its wheel, on Taskloom and on Dask's processes, and compares.

    python test/dask/run.py                   all of SUITES on both, then the comparison
    python test/dask/run.py --quick           the parts that every check runs, on Taskloom only
    python test/dask/run.py dask/bag/tests    these parts only
    python test/dask/run.py --compare         only compare what is there
    python test/dask/run.py --table           the same as a table for docs/dask-suites.md

Outcomes are kept in ``--folder`` (default ``test-results/dask``), so that a run that was ended goes
on where it was. Exit code 1: a test fails on Taskloom that neither fails on processes nor stands
in `explained.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BAD = ("failed", "error")
FEW = 40
"""Files of fewer tests share a row of the table."""
SUITES = [
    "dask/bag/tests",
    "dask/tests/test_delayed.py",
    *(
        f"dask/array/tests/test_{name}.py"
        for name in ("rechunk", "overlap", "slicing", "linalg", "array_core", "reductions")
    ),
    "dask/dataframe/dask_expr/tests",
    *(
        f"dask/dataframe/{name}"
        for name in (
            "tests/test_shuffle.py",
            "tests/test_multi.py",
            "tests/test_groupby.py",
            "io/tests",
        )
    ),
]
QUICK = [
    "dask/tests/test_delayed.py",
    "dask/bag/tests/test_bag.py",
    "dask/array/tests/test_overlap.py",
    "dask/array/tests/test_rechunk.py",
    "dask/array/tests/test_linalg.py",
    "dask/array/tests/test_array_core.py",
    "dask/array/tests/test_slicing.py",
    "dask/dataframe/dask_expr/tests/test_collection.py",
    "dask/dataframe/dask_expr/tests/test_groupby.py",
    "dask/dataframe/dask_expr/tests/test_merge.py",
    "dask/dataframe/dask_expr/tests/test_shuffle.py",
    "dask/dataframe/io/tests/test_csv.py",
    "dask/dataframe/io/tests/test_io.py",
]


def site() -> Path:
    """Return the folder that Dask's wheel is installed in."""
    return Path(find_spec("dask").origin).resolve().parents[1]


def run(route: str, part: str, notes: Path, limit: int) -> None:
    """Run one part; its outcomes go to the notes whatever becomes of the process."""
    env = {
        **os.environ,
        "TASKLOOM_ROUTE": route,
        "TASKLOOM_OUTCOMES": str(notes.resolve()),
        "TASKLOOM_LIMIT": str(limit),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(HERE)]),
    }
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "suites.ini")]
    command += ["--rootdir", str(site()), "-p", "routed", "--color=no", part]
    # Those of dask.distributed are not there where it is not.
    command += ["--continue-on-collection-errors"]
    done = subprocess.run(command, cwd=site(), env=env)
    # 1: some failed; 5: all were noted before.
    if done.returncode not in (0, 1, 5):
        sys.exit(f"pytest ended with code {done.returncode} in {part}")


def read(notes: Path) -> dict[str, dict]:
    """Return the outcomes by test, the worst where a test has more than one."""
    found: dict[str, dict] = {}
    if notes.exists():
        for line in notes.read_text().splitlines():
            one = json.loads(line)
            if found.get(one["id"], {}).get("outcome") not in BAD:
                found[one["id"]] = one
    return found


def failures(outcomes: dict[str, dict]) -> set[str]:
    """Return the tests that failed."""
    return {test for test, one in outcomes.items() if one["outcome"] in BAD}


def counts(outcomes: dict[str, dict]) -> str:
    """Return how many came out how."""
    found = Counter(one["outcome"] for one in outcomes.values())
    return ", ".join(f"{number} {name}" for name, number in sorted(found.items())) or "none"


def compare(ours: dict[str, dict], theirs: dict[str, dict], explained: dict[str, str]) -> bool:
    """Print both, by part; whether nothing fails for which there is no reason."""
    both = ours.keys() & theirs.keys()
    files = Counter(test.partition("::")[0] for test in both)
    for file in sorted(files):
        mine = {test: ours[test] for test in both if test.startswith(file + "::")}
        their = {test: theirs[test] for test in mine}
        print(f"{file}\n    taskloom   {counts(mine)}\n    processes  {counts(their)}")
    print(f"both ran {len(both)} tests; on one alone: {len(ours.keys() ^ theirs.keys())}")
    only_theirs = (failures(theirs) - failures(ours)) & both
    for test in sorted(only_theirs):
        print(f"fails on processes only  {test}  {theirs[test]['why'][:150]}")
    only = (failures(ours) - failures(theirs)) & both
    for test in sorted(only):
        why = explained.get(test) or f"NOT EXPLAINED: {ours[test]['why'][:200]}"
        print(f"fails on taskloom only   {test}  {why}")
    return not only - explained.keys()


def table(ours: dict[str, dict], theirs: dict[str, dict]) -> None:
    """Print the counts of both, a row for each file; files of few tests of a folder share one."""
    both = ours.keys() & theirs.keys()
    files = Counter(test.partition("::")[0] for test in both)
    rows: dict[str, list[str]] = {}
    for file in sorted(files):
        name = file.removeprefix("dask/")
        folder = name.rpartition("/")[0]
        row = f"`{folder}`, smaller files" if files[file] < FEW else f"`{name}`"
        rows.setdefault(row, []).append(file)
    print("| | tests | Taskloom: passed | failed | `processes`: passed | failed |")
    print("|---|---|---|---|---|---|")
    for row, parts in {**rows, "**all**": list(files)}.items():
        tests = [test for test in both if test.partition("::")[0] in parts]
        cells = [len(tests)]
        for side in (ours, theirs):
            outcomes = [side[test]["outcome"] for test in tests]
            cells += [outcomes.count("passed"), sum(one in BAD for one in outcomes)]
        print(f"| {row} | {' | '.join(f'{cell:,}' for cell in cells)} |")


def quick(folder: Path, limit: int) -> bool:
    """Run the quick parts on Taskloom and judge them by the list; no processes needed."""
    notes = folder / "quick.jsonl"
    notes.unlink(missing_ok=True)
    for part in QUICK:
        run("taskloom", part, notes, limit)
    known = json.loads((HERE / "explained.json").read_text())
    accepted = known["taskloom"].keys() | known["both"].keys()
    ours = read(notes)
    wrong = sorted(failures(ours) - accepted)
    for test in wrong:
        print(f"{test}\n    {ours[test]['why']}")
    good = sum(one["outcome"] in ("passed", "xfailed") for one in ours.values())
    report = {"passed": good, "failed": len(wrong)}
    (folder / "quick.json").write_text(json.dumps(report))
    print(f"dask {version('dask')}: {counts(ours)}; {len(wrong)} not explained")
    return good > 0 and not wrong


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=SUITES)
    parser.add_argument("--folder", type=Path, default=ROOT / "test-results" / "dask")
    parser.add_argument("--limit", type=int, default=60, help="seconds a test may take")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.quick:
        return 0 if quick(args.folder, args.limit) else 1
    routes = ("processes", "taskloom")
    notes = {route: args.folder / f"{version('dask')}-{route}.jsonl" for route in routes}
    for part in [] if args.compare or args.table else args.parts:
        for route in routes:
            run(route, part, notes[route], args.limit)
    known = json.loads((HERE / "explained.json").read_text())
    # What goes wrong in any other process may by chance come out right in the pool.
    explained = known["both"] | known["taskloom"]
    found = {route: read(path) for route, path in notes.items()}
    if args.table:
        table(found["taskloom"], found["processes"])
        return 0
    return 0 if compare(found["taskloom"], found["processes"], explained) else 1


if __name__ == "__main__":
    sys.exit(main())
