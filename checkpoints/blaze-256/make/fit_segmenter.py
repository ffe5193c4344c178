"""Train segmenter.safetensors on the labels of `labels.py`, and print its scores on held-out samples.

    PYTHONPATH=. python checkpoints/blaze-256/make/fit_segmenter.py train_*_labels.npz --heldout heldout_labels.npz

Trained as digiface-64's segmenter is, with the functions of its script, at 128 pixels and with one level more.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from lelsd_core.segmenters.unet import UNet
from lelsd_core.weights.safetensors import write_safetensors

HERE = Path(__file__).resolve().parents[1]
sys.path.append(str(HERE.parent / "digiface-64" / "make"))
from checkpoints_make import load_labels, recipe  # noqa: E402
from train_segmenter import augmented, intersection_over_union, loss_of, trained  # noqa: E402

PARTS = ("background", "hair", "skin", "brows", "eyes", "nose", "mouth", "ears", "neck", "clothes")
SIZE, WIDTHS = 128, (32, 64, 128, 192)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--heldout", required=True)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    images, labels = load_labels(options.labels)

    def loss_of_batch(network: nn.Module) -> Tensor:
        rows = torch.randint(len(images), (options.batch,), generator=random)
        x, y = augmented(images[rows], labels[rows], random)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        return loss_of(logits.float(), y)

    plain = trained(UNet(len(PARTS), WIDTHS), loss_of_batch, steps=options.steps, lr=options.lr)
    images, labels = load_labels([options.heldout])
    facts = {
        "kind": "segmenter",
        "parts": list(PARTS),
        "size": SIZE,
        "widths": list(WIDTHS),
        "iou": intersection_over_union(plain, images, labels, PARTS),
        "iou_samples": len(images),
        "training_data": "samples of blaze-256, labelled by MediaPipe 0.10.14 and by its own features",
        "recipe": recipe(options),
    }
    print(json.dumps(facts, indent=1))
    tensors = {name: tensor.half() for name, tensor in plain.state_dict().items()}
    write_safetensors(HERE / "segmenter.safetensors", tensors, facts)


if __name__ == "__main__":
    main()
