"""Inversion: from an aligned face to latent codes that render it.

face (1, 3, R, R)  --encode-->  codes (1, D)  --refine-->  better codes (1, D)  --tune, optional-->  tuned weights
"""

from lelsd_core.inversion.inverters import E4EInverter, EncoderInverter, FaceEncoder, Inverter, SampleInverter
from lelsd_core.inversion.inverters import build_encoder as build_encoder
from lelsd_core.inversion.refine import BALANCED, CLOSENESS, Inversion, Prior, closeness_of, likeness_weights, refine
from lelsd_core.inversion.refine import sampled_prior as sampled_prior
