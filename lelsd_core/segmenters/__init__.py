"""Segmenters: which pixels belong to which part. One protocol, one file for each kind."""

from lelsd_core.segmenters.base import Parts, Segmenter, part_mask
from lelsd_core.segmenters.parts import PartsSegmenter, build_parts_segmenter

__all__ = ["Parts", "PartsSegmenter", "Segmenter", "build_parts_segmenter", "part_mask"]
