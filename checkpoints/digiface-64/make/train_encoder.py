"""Train encoder.safetensors: a picture -> codes in S that digiface-64 renders like it.

    python checkpoints/digiface-64/make/train_encoder.py train_?.npz --steps 6000

Its pictures are labelled samples (`labels.py`), mirrored, recoloured, turned and moved a little, half of them on
another sample's background, so that they are not the generator's own any more. The loss is the picture's: absolute
error, three times as much on eyes, brows, nose and mouth, plus the prior's cost of the codes.
"""

from __future__ import annotations

import argparse
import math

import torch
import torch.nn.functional as F
from checkpoints_make import HERE, affine, load_labels, recipe, recolour  # beside this file
from torch import Tensor
from tqdm import tqdm

from lelsd_core.generators.base import Generator
from lelsd_core.inversion import FaceEncoder, Prior
from lelsd_core.registry import load_generator
from lelsd_core.weights.safetensors import write_safetensors

Z_SPREAD, STYLE_SPREAD = 0.8, 0.15  # of the prior: z as sampled; gains and biases as large as pictures still bear


def prior_of(generator: Generator, weight: float) -> Prior:
    """Zero mean; the spread of z for its columns, that of gains and biases for theirs."""
    movable = generator.spaces[-1].column_mask()
    return Prior(torch.zeros_like(movable), Z_SPREAD + (STYLE_SPREAD - Z_SPREAD) * movable, weight)


def photos(images: Tensor, labels: Tensor, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Photo-like pictures (B, 3, 64, 64) in [-1, 1] and how much each pixel matters (B, 1, 64, 64)."""
    x, parts = images[rows].float() / 127.5 - 1, labels[rows][:, None]
    other = x.roll(1, 0)
    swap = (torch.rand(len(x), 1, 1, 1, generator=random) < 0.5) & (parts == 0)
    x = torch.where(swap, other.flip(-1), x)
    matters = 1 + 2 * ((parts >= 3) & (parts <= 6)).float()
    flip = torch.rand(len(x), 1, 1, 1, generator=random) < 0.5
    both = torch.where(flip, torch.cat([x, matters], 1).flip(-1), torch.cat([x, matters], 1))
    grid = affine(len(x), random, turn=6, scale=(0.9, 1.1), shift=0.05)
    both = F.grid_sample(both, grid, padding_mode="reflection", align_corners=False)
    return recolour(both[:, :3], random), both[:, 3:]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--prior", type=float, default=0.02)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    images, labels = load_labels(options.labels)
    generator = load_generator("digiface-64")
    prior = prior_of(generator, options.prior)
    encoder = FaceEncoder(len(prior.centre)).to(memory_format=torch.channels_last)
    encoder.centre.copy_(prior.centre)
    encoder.spread.copy_(prior.spread)
    optimizer = torch.optim.AdamW(encoder.parameters(), options.lr, weight_decay=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, (i + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * i / options.steps))
    )
    average = 0.0
    for step in (bar := tqdm(range(options.steps), mininterval=10)):
        rows = torch.randint(len(images), (options.batch,), generator=random)
        faces, matters = photos(images, labels, rows, random)
        with torch.autocast("cpu", torch.bfloat16):
            codes = encoder(faces)
            pictures = generator.synthesize(codes, "S").image
        loss = ((pictures.float() - faces).abs() * matters).mean() + prior.cost(codes.float())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average = 0.99 * average + 0.01 * float(loss.detach()) if step else float(loss.detach())
        bar.set_postfix(loss=f"{average:.4f}", refresh=False)
        if step % 1000 == 999 or step == options.steps - 1:
            save(encoder, generator, options, step + 1, average)


def save(encoder: FaceEncoder, generator: Generator, options: argparse.Namespace, step: int, loss: float) -> None:
    """Write the encoder as it is now."""
    facts = {
        "kind": "encoder",
        "generator": generator.name,
        "fingerprint": generator.fingerprint,
        "space": "S",
        "prior_weight": options.prior,
        "loss": loss,
        "training_data": "samples of digiface-64, recoloured and on other backgrounds",
        "recipe": recipe(options, step=step),
    }
    tensors = {name: tensor.half() for name, tensor in encoder.state_dict().items()}
    write_safetensors(HERE / "encoder.safetensors", tensors, facts)


if __name__ == "__main__":
    main()
