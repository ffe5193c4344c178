"""Segmenters: which pixels belong to which part. One protocol, one file for each kind."""

from lelsd_core.segmenters.base import Segmenter, part_mask
from lelsd_core.segmenters.parts import PartsSegmenter, build_parts_segmenter

__all__ = ["PartsSegmenter", "Segmenter", "build_parts_segmenter", "part_mask"]
