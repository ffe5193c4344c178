"""Weights files: the catalogue of networks, downloads, and readers for every file format."""

from __future__ import annotations

from pathlib import Path


def checkpoints_folder() -> Path:
    """The folder of the shipped weights: inside the package once it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "checkpoints"
    return installed if installed.is_dir() else package.parent / "checkpoints"
