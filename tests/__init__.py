"""Tests. What torch reads from the environment is set before it is imported: how its threads wait, and their number."""

import os

import lelsd_core  # noqa: F401

if "PYTEST_XDIST_WORKER" in os.environ:  # pytest -n 2: each process computes on one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")
