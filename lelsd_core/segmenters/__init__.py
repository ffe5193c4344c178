"""Segmenters, which find the parts of a picture: one interface, one file per kind."""

from lelsd_core.segmenters.base import SURROUNDINGS, Parts, Segmenter, adapt, part_mask, segment_synthesis
from lelsd_core.segmenters.combined import combine, region
from lelsd_core.segmenters.features import FeatureSegmenter
from lelsd_core.segmenters.fitting import fit_clusters, fit_head, fit_region, paint, parts_like
from lelsd_core.segmenters.split import region_among, regions_of, split_by
from lelsd_core.segmenters.unet import UNetSegmenter
