"""Generators: one file for each architecture, all under the contract of `base`."""

from lelsd_core.generators.base import Generator, Layer, State, Step, Synthesis
from lelsd_core.generators.dcgan import DCGAN, DCGANConfig

__all__ = ["DCGAN", "DCGANConfig", "Generator", "Layer", "State", "Step", "Synthesis"]
