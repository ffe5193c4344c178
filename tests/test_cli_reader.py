"""The command line in a pipe whose reader leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_reader_that_leaves_ends_a_command_without_a_traceback():
    command = [sys.executable, "-u", "-m", "lelsd_core", "weights", "list"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    told = running.stderr.read()
    running.stderr.close()
    assert running.wait(timeout=60) == 141
    assert told == b""
