"""Objects that training programs keep beside the weights. Their own classes are gone when the file is read."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch


@contextmanager
def trainer() -> Iterator[ModuleType]:
    """A module with classes of its own, which is there only while files are written."""
    module = ModuleType("trainer")

    class Options(dict):
        """A dict with attributes, as configurations are."""

    class Node:
        """An object with state and slots."""

        __slots__ = ("value",)

        def __init__(self, value: Any) -> None:
            self.value = value

        def __getstate__(self) -> Any:
            return None, {"value": self.value}

        def __setstate__(self, state: Any) -> None:
            raise AssertionError("a class of the file was used")

    class Colour(enum.Enum):
        RED = 1

    for kind in (Options, Node, Colour):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]


def companions(module: ModuleType) -> dict[str, Any]:
    """One object of each kind, by its name."""
    options = module.Options(lr=0.002, path=Path("/data"))
    options.extra = options  # refers to itself
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2)).sum().backward()
    optimizer.step()
    return {
        "namespace": argparse.Namespace(size=32, path=Path("/data"), device=torch.device("cuda")),
        "config": options,
        "slots": module.Node([module.Node(1)]),
        "enum": {module.Colour.RED: module.Colour},
        "optimizer": optimizer.state_dict(),
        "numpy scalar": np.float64(0.5),
        "numpy arrays": [np.arange(6).reshape(2, 3), np.array("text"), np.array([{}, None]), np.zeros(2, "i4,f8")],
        "numpy others": [np.datetime64("2021-01-01"), np.dtype("O"), np.random.RandomState(0)],
        "torch others": [torch.float32, torch.Size([1]), layer, optimizer, torch.Generator().get_state()],
        "odd tensors": [torch.zeros(2).cfloat(), torch.eye(2).to_sparse(), torch.nn.Parameter(torch.ones(1))],
        "collections": [collections.defaultdict(list, a=[1]), collections.Counter("ab"), collections.deque([1])],
        "sets": [{1, 2}, frozenset([1])],
        "values": [datetime.datetime(2021, 1, 1), Fraction(1, 3), slice(1), complex(1, 2), bytearray(b"x")],
        "names": [os.getcwd, print, dict, functools.partial(os.getcwd)],
    }
