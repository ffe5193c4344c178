"""Inversion: from an aligned face to latent codes that render it.

face (1, 3, R, R)  --encode-->  codes (1, D)  --refine-->  better codes (1, D)  --tune, optional-->  tuned weights
"""

from lelsd_core.inversion.inverters import (
    E4EInverter,
    EncoderInverter,
    FaceEncoder,
    Inverter,
    SampleInverter,
    build_encoder,
)
from lelsd_core.inversion.refine import (
    BALANCED,
    CLOSENESS,
    Closeness,
    Inversion,
    Prior,
    closeness_of,
    likeness_weights,
    refine,
    sampled_prior,
)

__all__ = [
    "BALANCED",
    "CLOSENESS",
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
    "likeness_weights",
    "refine",
    "sampled_prior",
]
