"""Fixtures: the networks that ship, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from PIL import Image

from lelsd_core.editor import Editor
from lelsd_core.registry import load_editor

settings.register_profile("any machine", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("any machine")
EXAMPLES = Path(__file__).parents[1] / "demo" / "examples"


@pytest.fixture(scope="session")
def editor() -> Editor:
    """The whole editor of digiface-64; shared, because nothing may change it."""
    torch.manual_seed(0)
    return load_editor("digiface-64")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A real photo, 512 × 512: Eileen Collins, NASA, public domain."""
    return Image.open(Path(__file__).parent / "data" / "astronaut.png").convert("RGB")
