"""From a photo to its edited copy: the `Editor` does it, a `Session` is one person's work. All the rest serves them."""

from lelsd_core.editor.editor import MIDDLE, Editor
from lelsd_core.editor.session import Edit, Fit, Locality, Session, Source

__all__ = ["MIDDLE", "Edit", "Editor", "Fit", "Locality", "Session", "Source"]
