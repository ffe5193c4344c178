"""Train landmarks.safetensors on the points of `points.py`, and print its errors on the last faces of each file.

    python checkpoints/digiface-64/make/train_landmarks.py points_a.json points_b.json points_c.json

Cross-entropy with a small Gaussian at each point, so that a map is as wide as the network is unsure, plus the absolute
error of the maps' means. Half the views are nearly aligned, others are far off; one in eight shows no whole face or it
upside down, and its maps are to be flat.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from checkpoints_make import HERE, affine, recipe, recolour, trained  # beside this file
from torch import Tensor, nn

from lelsd_core.faces.landmarks import landmark_network, means
from lelsd_core.formats.weights import write_safetensors
from lelsd_core.generators import Generator
from lelsd_core.registry import load_generator

HELD_OUT = 250  # of each file
SIGMA = 1.0  # pixels, of the Gaussian around a point
NEAR = {"turn": 10, "scale": (0.88, 1.14), "shift": 0.08}
FAR = {"turn": 40, "scale": (0.6, 1.45), "shift": 0.3}
NOWHERE = {"turn": 180, "scale": (0.25, 4.0), "shift": 1.0}
CENTRES = torch.arange(64) + 0.5


def load_points(paths: list[str], generator: Generator) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 64, 64) in [-1, 1] and their points (N, 5, 2) in pixels; each file's held-out faces come last."""
    files = [list(json.loads(Path(path).read_text(encoding="utf-8"))["faces"].items()) for path in paths]
    rows = [row for file in files for row in file[:-HELD_OUT]] + [row for file in files for row in file[-HELD_OUT:]]
    pictures = []
    for start in range(0, len(rows), 50):
        with torch.inference_mode():
            codes = generator.sample([int(seed) for seed, _ in rows[start : start + 50]])
            pictures.append(generator.synthesize(codes, "Z").image.clamp(-1, 1).half())
    return torch.cat(pictures).clone(), torch.tensor([points for _, points in rows])


def views(images: Tensor, points: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures and points, mirrored, turned, moved, scaled and recoloured together."""
    count = len(images)
    near, nowhere = count // 2, count // 8
    grid = torch.cat(
        [
            affine(near, random, **NEAR),
            affine(count - near - nowhere, random, **FAR),
            affine(nowhere, random, **NOWHERE),
        ]
    )
    flip = torch.rand(count, generator=random) < 0.5
    mirrored = points[:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([64.0, 0.0])
    x = torch.where(flip[:, None, None, None], images.flip(3), images)
    y = torch.where(flip[:, None, None], mirrored, points)
    inside = F.grid_sample(torch.ones_like(x[:, :1]), grid, align_corners=False)
    fill = 2 * torch.rand(count, 3, 1, 1, generator=random) - 1
    x = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    x = torch.where(torch.rand(count, 1, 1, 1, generator=random) < 0.5, x, x * inside + (1 - inside) * fill).clamp(
        -1, 1
    )
    corner = grid[:, 0, 0]
    linear = torch.stack([grid[:, 0, 1] - corner, grid[:, 1, 0] - corner], 2)  # source half widths per view pixel
    y = torch.linalg.solve(linear, (y / 32 - 1 - corner[:, None]).mT).mT + 0.5
    return torch.where(torch.rand(count, 1, 1, 1, generator=random) < 0.3, x, recolour(x, random)), y


def loss_of(logits: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy with Gaussians at the points, flat if the face isn't whole and upright, plus the means' error."""
    eyes, mouth = points[:, 1] - points[:, 0], points[:, 3:].mean(1) - points[:, :2].mean(1)
    whole = ((points > 0) & (points < 64)).all((1, 2)) & (mouth[:, 1] > 6) & (eyes[:, 0].abs() > 3)
    whole &= mouth[:, 1] > 0.6 * mouth.norm(dim=1)
    squared = (points[..., None] - CENTRES) ** 2  # (B, 5, 2, 64)
    x, y = (-squared / (2 * SIGMA**2)).softmax(-1).unbind(2)
    target = torch.where(whole[:, None, None, None], y[..., :, None] * x[..., None, :], torch.tensor(1 / 64**2))
    entropy = -(target * logits.flatten(2).log_softmax(2).view_as(logits)).sum((2, 3))
    distance = (means(logits)[0] - points).abs().sum(2) * whole[:, None]
    return entropy.mean() + 0.5 * distance.clamp(max=8).mean()


@torch.inference_mode()
def held_out_errors(network: nn.Module, images: Tensor, points: Tensor) -> dict[str, list[float]]:
    """Errors of the irises as shares of the eye distance, worse eye of each face: median, 95th percentile, worst."""
    found = torch.cat([means(network(batch.float()))[0] for batch in images.split(50)])
    errors = (found - points)[:, :2].norm(dim=2).max(1).values / (points[:, 1] - points[:, 0]).norm(dim=1)
    return {"eye_error": [round(float(errors.quantile(q)), 4) for q in (0.5, 0.95, 1.0)], "faces": len(images)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="+")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=2e-3)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    images, points = load_points(options.points, load_generator("digiface-64"))
    learnt = len(images) - HELD_OUT * len(options.points)

    def loss_of_batch(network: nn.Module) -> Tensor:
        rows = torch.randint(learnt, (options.batch,), generator=random)
        x, y = views(images[rows].float(), points[rows], random)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        return loss_of(logits.float(), y)

    plain = trained(landmark_network(), loss_of_batch, steps=options.steps, lr=options.lr)
    scores = held_out_errors(plain, images[learnt:], points[learnt:])
    print(json.dumps(scores))
    facts = {
        "kind": "landmarks",
        "points": ["left iris", "right iris", "nose tip", "left mouth corner", "right mouth corner"],
        **scores,
        "training_data": "samples of digiface-64 read by MediaPipe 0.10.14",
        "recipe": recipe(options),
    }
    tensors = {name: tensor.half() for name, tensor in plain.state_dict().items()}
    write_safetensors(HERE / "landmarks.safetensors", tensors, facts)


if __name__ == "__main__":
    main()
