"""Generators: one file per architecture, all with the interface of `base`."""

from lelsd_core.generators.base import Generator, Layer, State, Step, Synthesis
from lelsd_core.generators.biggan import BigGAN, BigGANConfig
from lelsd_core.generators.dcgan import DCGAN, DCGANConfig
from lelsd_core.generators.stylegan1 import StyleGAN1
from lelsd_core.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from lelsd_core.generators.stylegan3 import StyleGAN3, StyleGAN3Config

__all__ = [
    "DCGAN",
    "BigGAN",
    "BigGANConfig",
    "DCGANConfig",
    "Generator",
    "Layer",
    "State",
    "Step",
    "StyleGAN1",
    "StyleGAN2",
    "StyleGAN2Config",
    "StyleGAN3",
    "StyleGAN3Config",
    "Synthesis",
]
