"""Inversion: from an aligned face to codes that render it, a first guess by an encoder, then refined.

    face (1, 3, R, R)  --encode-->  codes (1, D)  --refine-->  better codes (1, D)  --tune, StyleGAN2-->  small delta

A Gaussian prior (centre and spread for each column of a code) keeps codes where edits work; it is also the scale
in which the optimiser steps. Sources: Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (e4e), 2021,
for a base code plus offsets kept close to the prior; Abdal et al., "Image2StyleGAN", 2019, for refinement; Roich et
al., "Pivotal Tuning for Latent-based Editing of Real Images", 2021.
"""

from lelsd_core.inversion.inverters import (
    BaseInverter,
    E4EInverter,
    EncoderInverter,
    FaceEncoder,
    SampleInverter,
    build_encoder,
)
from lelsd_core.inversion.refine import (
    BALANCED,
    CLOSENESS,
    STEPS,
    Closeness,
    Inversion,
    Inverter,
    Prior,
    closeness_of,
    refine,
    sampled_prior,
)

__all__ = [
    "BALANCED",
    "CLOSENESS",
    "STEPS",
    "BaseInverter",
    "Closeness",
    "E4EInverter",
    "EncoderInverter",
    "FaceEncoder",
    "Inversion",
    "Inverter",
    "Prior",
    "SampleInverter",
    "build_encoder",
    "closeness_of",
    "refine",
    "sampled_prior",
]
