"""Tests. The package is imported before torch, so that threads sleep instead of spinning while others work."""

import lelsd_core  # noqa: F401
