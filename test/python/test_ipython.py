"""IPython in a terminal: the same client, magics and reprs as in a notebook, and a bar in text."""

from __future__ import annotations

import subprocess
import sys

LINES = """
%load_ext taskloom
%taskloom start --workers 2 terminal
import time
futures = client.map(lambda x: time.sleep(0.2) or x * x, range(4))
import taskloom; taskloom.progress(futures)
client.gather(futures)
futures[3]
%taskloom info
client.submit(lambda: 1 / 0).result()
%taskloom stop
%taskloom list
"""


def test_a_session_in_a_terminal():
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
        input=LINES,
        capture_output=True,
        text=True,
        timeout=120,
    )
    shown = done.stdout
    assert done.returncode == 0, done.stderr
    assert "[0, 1, 4, 9]" in shown
    assert "4 / 4" in shown or "4/4" in shown, shown
    assert "<Future: finished" in shown
    assert "terminal" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "Task exception was never retrieved" not in done.stderr
