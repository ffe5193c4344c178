"""Fit the prior of generator.safetensors, which turns z into W: a Gaussian over the encoder's codes of samples.

    PYTHONPATH=. python checkpoints/blaze-256/make/prior.py        (after convert.py; six minutes on one core)

Codes that are normally distributed about the mean W, in all directions alike, make blotches or broken mouths in a
third of the pictures. The encoder gives such a picture the code of a face: those codes lie in a few directions, close
to their mean, and the pictures made from them are clean, with less hatching. The Gaussian has the mean, the directions
and the standard deviations of these codes, the latter times `WIDER` for variety; with the usual truncation that is 1.4.
"""

from __future__ import annotations

import torch
from convert import HERE, prior, stored

from lelsd_core.generators.blaze import BlazeStyleGAN
from lelsd_core.inversion import build_encoder
from lelsd_core.inversion.blaze import REPEATS
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

SEEDS = range(700_000, 700_512)  # used for nothing else
DIRECTIONS = 128  # they hold 93 % of the variance
WIDER = 2.0


@torch.inference_mode()
def main() -> None:
    encoder = build_encoder(*read_safetensors(HERE / "encoder.safetensors", "encoder")).eval()
    tensors, facts = read_safetensors(HERE / "generator.safetensors", "generator")
    tensors |= prior(encoder.mean.numpy())
    generator = BlazeStyleGAN(tensors)
    codes = []
    for seed in SEEDS:
        rows = encoder(generator.synthesize(generator.sample([seed]), "Z").image).unflatten(
            1, (-1, encoder.mean.numel())
        )
        codes.append(rows[:, ::REPEATS].flatten(1).double())
    mean = torch.cat(codes).mean(0)
    _, lengths, directions = torch.linalg.svd(torch.cat(codes) - mean, full_matrices=False)
    spreads = WIDER * lengths / len(codes) ** 0.5
    tensors["prior.mean"] = mean.float()
    tensors["prior.factor"] = (spreads[:, None] * directions)[:DIRECTIONS].T.float()
    print(f"{float(lengths[:DIRECTIONS].square().sum() / lengths.square().sum()):.1%} of the variance")
    write_safetensors(HERE / "generator.safetensors", stored(tensors), facts)


if __name__ == "__main__":
    main()
