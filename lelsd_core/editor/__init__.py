"""From a photo to its edited copy: the `Editor` does it, a `Session` is one person's work. All the rest serves them."""

from lelsd_core.editor.editor import MIDDLE, Editor
from lelsd_core.editor.session import DetectedPhoto, Edit, InversionOptions, Locality, Session

__all__ = ["MIDDLE", "DetectedPhoto", "Edit", "Editor", "InversionOptions", "Locality", "Session"]
