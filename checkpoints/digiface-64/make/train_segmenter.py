"""Train segmenter.safetensors on the labels of `labels.py`, and print its scores on held-out samples.

    python checkpoints/digiface-64/make/train_segmenter.py train_?.npz --heldout heldout.npz --steps 5500

Cross-entropy and soft Dice (thin parts count as much as large ones), AdamW, one cosine, a running average of the
weights. Pictures are turned, moved, scaled, recoloured, blurred and made noisy, so that photos that are not quite
aligned are read as well.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from checkpoints_make import HERE, affine, load_labels, recipe, recolour  # beside this file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from lelsd_core.segmenters.unet import UNet
from lelsd_core.weights.safetensors import write_safetensors

AGREE = 0.93  # share of the pixels that must have the same label in the mirrored picture
PARTS = ("background", "hair", "skin", "brows", "eyes", "nose", "mouth", "clothes")


def augmented(images: Tensor, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures in [-1, 1] and their labels, turned, moved, scaled and recoloured together."""
    x = images.float() / 127.5 - 1
    grid = affine(len(x), random, turn=15, scale=(0.85, 1.2), shift=0.1, side=x.shape[-1])
    inside = F.grid_sample(torch.ones_like(x[:, :1]), grid, align_corners=False)
    fill = 2 * torch.rand(len(x), 3, 1, 1, generator=random) - 1
    x = F.grid_sample(x, grid, align_corners=False) + (1 - inside) * fill
    y = F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].long()
    plain = torch.rand(len(x), 1, 1, 1, generator=random) < 0.4
    return torch.where(plain, x, recolour(x, random)), y


def trained(network: nn.Module, loss_of_batch: Callable[[nn.Module], Tensor], *, steps: int, lr: float) -> nn.Module:
    """Train a network with a BatchNorm behind each ReLU's convolution; the average of its latest weights, folded.

    Args:
        network: as it is used later, without BatchNorm.
        loss_of_batch: draws a batch and gives the network's loss on it, a scalar.
        steps, lr: of AdamW; the rate rises over 100 steps and falls along a cosine.

    Returns:
        The network without BatchNorm, its weights rounded to float16.
    """
    network = with_batch_norm(network).to(memory_format=torch.channels_last).train()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, (i + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * i / steps))
    )
    for step in (bar := tqdm(range(steps), mininterval=10)):
        loss = loss_of_batch(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if step % 50 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    plain = folded(average.module.eval())
    plain.load_state_dict({name: tensor.half().float() for name, tensor in plain.state_dict().items()})
    return plain


def with_batch_norm(network: nn.Module) -> nn.Module:
    """Put a BatchNorm behind each 3×3 convolution that has a ReLU."""
    for block in conv_blocks(network):
        block.insert(1, nn.BatchNorm2d(block[0].out_channels))
    return network


def folded(network: nn.Module) -> nn.Module:
    """The same function without BatchNorm."""
    plain = copy.deepcopy(network).eval()
    for block in conv_blocks(plain):
        block[0] = nn.utils.fusion.fuse_conv_bn_eval(block[0], block[1])
        del block[1]
    return plain


def conv_blocks(network: nn.Module) -> list[nn.Sequential]:
    """Its sequences that start with a convolution."""
    return [m for m in network.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice over the batch."""
    probabilities = logits.softmax(1)
    truth = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).float()
    overlap = (probabilities * truth).sum((0, 2, 3))
    dice = 1 - 2 * overlap / ((probabilities + truth).sum((0, 2, 3)) + 1)
    return F.cross_entropy(logits, labels) + dice.mean()


@torch.inference_mode()
def intersection_over_union(
    network: nn.Module, images: Tensor, labels: Tensor, parts: Sequence[str] = PARTS
) -> dict[str, float]:
    """IoU of each part over all pixels of all pictures."""
    found = torch.cat([network(batch.float() / 127.5 - 1).argmax(1) for batch in images.split(50)])
    return {
        part: float(((found == i) & (labels == i)).sum() / ((found == i) | (labels == i)).sum())
        for i, part in enumerate(parts)
    }


def held_out_scores(network: nn.Module, path: str) -> dict[str, object]:
    """IoU where MediaPipe agrees with itself on the mirrored picture, and over all labelled samples."""
    images, labels = load_labels([path])
    sure = torch.from_numpy(np.load(path)["agree"] >= AGREE)
    return {
        "iou": intersection_over_union(network, images[sure], labels[sure]),
        "iou_samples": int(sure.sum()),
        "iou_all": intersection_over_union(network, images, labels),
        "iou_all_samples": len(images),
    }


def arguments(about: str | None, *, steps: int, batch: int) -> argparse.Namespace:
    """The command line of a training, with the defaults of its steps and its batch."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--heldout", required=True)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=2e-3)
    return parser.parse_args()


def fitted(build: Callable[[], nn.Module], options: argparse.Namespace) -> nn.Module:
    """A network, built and trained with seed 0, on the files of labels that the command line names."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    images, labels = load_labels(options.labels)

    def loss_of_batch(network: nn.Module) -> Tensor:
        rows = torch.randint(len(images), (options.batch,), generator=random)
        x, y = augmented(images[rows], labels[rows], random)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        return loss_of(logits.float(), y)

    return trained(build(), loss_of_batch, steps=options.steps, lr=options.lr)


def save(path: Path, network: nn.Module, facts: dict[str, object]) -> None:
    """Write a segmenter as float16, and print what its header says."""
    print(json.dumps(facts, indent=1))
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    write_safetensors(path, tensors, {"kind": "segmenter", **facts})


def main() -> None:
    options = arguments(__doc__, steps=3000, batch=32)
    plain = fitted(lambda: UNet(len(PARTS)), options)
    facts = {
        "parts": list(PARTS),
        **held_out_scores(plain, options.heldout),
        "training_data": "samples of digiface-64 labelled by MediaPipe 0.10.14",
        "recipe": recipe(options),
    }
    save(HERE / "segmenter.safetensors", plain, facts)


if __name__ == "__main__":
    main()
