"""Find and use directions in a GAN's latent space that change one part of a picture (LELSD, ICASSP 2022).

Public names load on first use (PEP 562), so that `import lelsd_core` costs nothing and needs no torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Threads that wait in turn soon sleep instead of spinning: networks this small are as fast, and when anything else
# runs on the machine they are several times faster. Read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# No word to anybody about who downloads with what. Read when huggingface_hub is first imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_HOME = {
    "load_generator": "registry",
    "load_segmenter": "registry",
    "load_inverter": "registry",
    "localization_score": "localization",
    "discover": "discovery.search",
    "DiscoverConfig": "discovery.config",
    "Direction": "directions",
    "move": "directions",
    "Editor": "editor",
    "Session": "editor",
    "UserError": "errors",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lelsd_core' has no attribute {name!r}")
    return getattr(import_module(f"lelsd_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
