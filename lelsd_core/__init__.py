"""Find and use directions in a GAN's latent space that change one part of a picture (LELSD, ICASSP 2022).

Public names load on first use (PEP 562), so that `import lelsd_core` is fast and loads no torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# OpenMP threads sleep soon instead of spinning while they wait: just as fast for networks of this size, and several
# times faster when other programs use the CPU. Read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# No telemetry with downloads. Read when huggingface_hub is first imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_MODULES = {
    "load_generator": "registry",
    "load_segmenter": "registry",
    "load_inverter": "registry",
    "load_editor": "registry",
    "read_photo": "images",
    "save_picture": "images",
    "localization_score": "localization",
    "discover": "discovery.search",
    "DiscoverConfig": "discovery.config",
    "Direction": "directions",
    "move": "directions",
    "Editor": "editor",
    "Session": "editor",
    "UserError": "errors",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lelsd_core' has no attribute {name!r}")
    return getattr(import_module(f"lelsd_core.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
