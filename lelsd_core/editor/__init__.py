"""Edits faces in photos: `Editor` holds the models and does the work, `Session` holds one face and its latent codes."""

from lelsd_core.editor.editor import Editor
from lelsd_core.editor.session import DetectedPhoto, Edit, InversionOptions, Locality, Session

__all__ = ["DetectedPhoto", "Edit", "Editor", "InversionOptions", "Locality", "Session"]
