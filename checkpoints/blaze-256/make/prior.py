"""Fit the prior of generator.safetensors, which turns z into W: a Gaussian, and a shift that makes photographs of it.

    PYTHONPATH=. python checkpoints/blaze-256/make/prior.py        (after convert.py; six minutes on one core)
    PYTHONPATH=. python checkpoints/blaze-256/make/prior.py PHOTOS        (fifteen: the shift anew)

**The Gaussian.** Codes that are normally distributed about the mean W, in all directions alike, make blotches or broken
mouths in a third of the pictures. The encoder gives such a picture the code of a face: those codes lie in a few
directions, close to their mean, and the pictures made from them are clean, with less hatching. The Gaussian has the
mean, the directions and the standard deviations of these codes, the latter times `WIDER` for variety.

**The shift.** Its pictures are still drawn ones: hatched, of muted colours. One vector, added to the fine code of all
of them alike, changes that and leaves shapes as they are; `shift.safetensors` holds it. It was optimised on a folder of
photos in the FFHQ frame, one photo and one random code a step, so that
- what the encoder guesses of a photo looks like the photo: LPIPS and L1;
- random pictures have the statistics of photos: mean and standard deviation of colours and of AlexNet's first features,
  in standard deviations of the photos, averaged over the last dozen pictures.
As fine codes then make more of colours, that part of the Gaussian is widened by `WIDER_FINE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from convert import HERE, packed, prior
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lelsd_core.evaluation.perceptual import load_lpips
from lelsd_core.generators.blaze import GROUPS, BlazeStyleGAN
from lelsd_core.images import to_tensor
from lelsd_core.inversion import build_encoder
from lelsd_core.inversion.blaze import REPEATS
from lelsd_core.weights.cache import local
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

SEEDS = range(700_000, 700_512)  # used for nothing else
DIRECTIONS = 128  # they hold 93 % of the variance
WIDER = 2.0
WIDER_FINE = 1.3
SHIFT = HERE / "make" / "shift.safetensors"
STEPS, RATE = 90, 0.02  # of Adam; the rate falls to zero in the second half
DRAWN = 45  # random codes
LIKENESS, LIKE_PHOTOS = 1.0, 0.3  # weights of the two aims
RUNNING = 12  # pictures over which statistics are averaged


@torch.inference_mode()
def gaussian(tensors: dict[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """prior.mean and prior.factor from the encoder's codes of samples."""
    generator = BlazeStyleGAN(tensors | prior(encoder.mean.numpy()))
    codes = [group_codes(encoder(generator.synthesize(generator.sample([seed]), "Z").image)).double() for seed in SEEDS]
    codes = torch.cat(codes).flatten(1)
    mean = codes.mean(0)
    _, lengths, directions = torch.linalg.svd(codes - mean, full_matrices=False)
    spreads = WIDER * lengths / len(codes) ** 0.5
    print(f"{float(lengths[:DIRECTIONS].square().sum() / lengths.square().sum()):.1%} of the variance")
    return {"prior.mean": mean.float(), "prior.factor": (spreads[:, None] * directions)[:DIRECTIONS].T.float()}


def group_codes(codes: Tensor) -> Tensor:
    """The encoder's W+ (B, 12·512) → W (B, 3, 512)."""
    return codes.unflatten(1, (len(GROUPS) * REPEATS, -1))[:, ::REPEATS]


def find_shift(tensors: dict[str, Tensor], encoder: nn.Module, photos: Tensor, lpips: nn.Module) -> Tensor:
    """The shift (512,) of fine codes. Photos (N, 3, 256, 256) in [-1, 1]; each is also used mirrored."""
    generator = BlazeStyleGAN(tensors).requires_grad_(False)
    after = list(generator.layers)[2 * REPEATS - 1]  # fine codes act behind this layer

    def shapes(codes: Tensor) -> tuple[Tensor, dict]:
        """A code (3, 512), and what its coarse and middle parts make."""
        codes = codes[None]
        return codes, generator.synthesize(codes.flatten(1), "W", keep=(after,), image=False).states[after]

    def picture(made: tuple[Tensor, dict], shift: Tensor) -> Tensor:
        codes, state = made
        codes = torch.cat([codes[:, :2], codes[:, 2:] + shift], 1)
        return generator.synthesize(codes.flatten(1), "W", resume=(after, state)).image

    def statistics(pictures: Tensor) -> Tensor:
        """(B, 1,286): mean and standard deviation of each colour and of each feature of three layers."""
        maps = lpips.net(lpips.scaling_layer(pictures))[:3]
        return torch.cat([f(m.flatten(2), 2) for m in (pictures, *maps) for f in (torch.mean, torch.std)], 1)

    photos = torch.cat([photos, photos.flip(3)])
    with torch.no_grad():
        guesses = [shapes(group_codes(encoder(photo[None]))[0]) for photo in photos]
        codes = generator.lift(generator.sample(SEEDS[:DRAWN]), "Z", "W", truncation=generator.usual_truncation)
        drawn = [shapes(code.view(len(GROUPS), -1)) for code in codes]
        all_statistics = torch.cat([statistics(photo[None]) for photo in photos])
        mean, deviation = all_statistics.mean(0), all_statistics.std(0) + 0.05 * all_statistics.std(0).mean()
    shift = torch.zeros(codes.shape[1] // len(GROUPS), requires_grad=True)
    optimizer = torch.optim.Adam([shift], RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 - 2 * step / STEPS))
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0)).tolist()
    running = torch.zeros_like(mean)
    for step in range(STEPS):
        index = order[step % len(order)]
        guess, photo = picture(guesses[index], shift), photos[index, None]
        unlike = lpips(guess, photo).mean() + (guess - photo).abs().mean()
        away = (statistics(picture(drawn[step % DRAWN], shift))[0] - mean) / deviation
        running.lerp_(away.detach(), max(1 / RUNNING, 1 / (step + 1)))
        optimizer.zero_grad()
        (LIKENESS * unlike + LIKE_PHOTOS * 2 * (running * away).mean()).backward()  # the gradient of running²'s mean
        optimizer.step()
        schedule.step()
        print(f"{step} {float(unlike.detach()):.3f} {float(running.square().mean()):.3f}", flush=True)
    return shift.detach()


def read_photos(folder: Path) -> Tensor:
    """All pictures of a folder at 256 × 256, in the order of their names."""
    images = [
        Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BOX) for path in sorted(folder.iterdir())
    ]
    return torch.cat([to_tensor(image) for image in images])


def main(photos: str | None = None) -> None:
    encoder = build_encoder(*read_safetensors(HERE / "encoder.safetensors", "encoder")).eval()
    tensors, facts = read_safetensors(HERE / "generator.safetensors", "generator")
    tensors |= gaussian(tensors, encoder)
    if photos:
        shift = find_shift(tensors, encoder, read_photos(Path(photos)), load_lpips(local("lpips-alex")))
        save_file({"fine": shift}, SHIFT)
    tensors |= shifted(tensors, load_file(SHIFT)["fine"])
    write_safetensors(HERE / "generator.safetensors", packed(tensors), facts)


def shifted(tensors: dict[str, Tensor], shift: Tensor) -> dict[str, Tensor]:
    """The prior with its fine codes moved and widened."""
    mean, factor = tensors["prior.mean"].clone(), tensors["prior.factor"].clone()
    mean[-len(shift) :] += shift
    factor[-len(shift) :] *= WIDER_FINE
    return {"prior.mean": mean, "prior.factor": factor}


if __name__ == "__main__":
    main(*sys.argv[1:])
