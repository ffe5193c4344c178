"""Seed ranges: which samples are used for what. No two ranges share a seed, so nothing is measured on what it saw."""

from __future__ import annotations

from itertools import pairwise

MAX_SEED = 2**31 - 1  # that a person can ask for
FACES = range(100_000)  # random faces of the page
PRIOR = range(200_000, 204_096)  # mean and standard deviation of latent codes, for inversion
INVERSION_STARTS = range(300_000, 300_032)  # tried as a first guess where there is no encoder
HELD_OUT = range(500_000, 500_256)  # evaluation and calibration
CARDS = range(600_000, 600_064)  # the repeated evaluation in the model cards, with another segmenter
EARLY_STOPPING = range(800_000, 800_064)  # the held-out score that ends a search
TRAINING = range(1_000_000, 2_000_000)  # searches for directions
FEATURE_SEGMENTERS = range(2_000_000, 2_000_064)  # clusters and linear heads on generator features
OFFICIAL = range(3_000_000, 4_000_000)  # the official recipe, drawn fresh at every step
STARTS = range(4_000_000, 4_010_000)  # samples that named starts are measured on

ALL = (FACES, PRIOR, INVERSION_STARTS, HELD_OUT, CARDS, EARLY_STOPPING, TRAINING, FEATURE_SEGMENTERS, OFFICIAL, STARTS)
assert all(first.stop <= second.start for first, second in pairwise(ALL)), "seed ranges overlap"
