"""Segmenters: which pixels belong to which part. One protocol, one file for each kind."""

from lelsd_core.segmenters.base import Parts, Segmenter, part_mask, segment_synthesis
from lelsd_core.segmenters.clusters import fit_clusters, parts_like
from lelsd_core.segmenters.combined import Region, combine, region
from lelsd_core.segmenters.examples import fit_head, paint
from lelsd_core.segmenters.features import FeatureSegmenter
from lelsd_core.segmenters.parts import PartsSegmenter, build_parts_segmenter

__all__ = [
    "FeatureSegmenter",
    "Parts",
    "PartsSegmenter",
    "Region",
    "Segmenter",
    "build_parts_segmenter",
    "combine",
    "fit_clusters",
    "fit_head",
    "paint",
    "part_mask",
    "parts_like",
    "region",
    "segment_synthesis",
]
