"""Generators: one file per architecture, all with the interface of `base`."""

from lelsd_core.generators.base import Generator, Layer, State, Step, Synthesis
from lelsd_core.generators.biggan import BigGAN
from lelsd_core.generators.blaze import BlazeStyleGAN
from lelsd_core.generators.dcgan import DCGAN
from lelsd_core.generators.stylegan1 import StyleGAN1
from lelsd_core.generators.stylegan2 import StyleGAN2
from lelsd_core.generators.stylegan3 import StyleGAN3

ARCHITECTURES: dict[str, type[Generator]] = {
    "stylegan1": StyleGAN1,
    "stylegan2": StyleGAN2,
    "stylegan3": StyleGAN3,
    "biggan": BigGAN,
    "dcgan": DCGAN,
    "blaze": BlazeStyleGAN,
}
__all__ = ["ARCHITECTURES", "Generator", "Layer", "State", "Step", "Synthesis"]
