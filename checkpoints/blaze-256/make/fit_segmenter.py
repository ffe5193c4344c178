"""Train segmenter.safetensors on the labels of `label_samples.py`, and print its scores on held-out samples.

    PYTHONPATH=. python checkpoints/blaze-256/make/fit_segmenter.py train_*_labels.npz --heldout heldout_labels.npz

Trained as digiface-64's segmenter is, with the functions of its script, at 128 pixels and with one level more.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lelsd_core.segmenters.unet import UNet

HERE = Path(__file__).resolve().parents[1]
sys.path.append(str(HERE.parent / "digiface-64" / "make"))
from checkpoints_make import load_labels, recipe  # noqa: E402
from train_segmenter import arguments, fitted, intersection_over_union, save  # noqa: E402

PARTS = ("background", "hair", "skin", "brows", "eyes", "nose", "mouth", "ears", "neck", "clothes")
SIZE, WIDTHS = 128, (32, 64, 128, 192)


def main() -> None:
    options = arguments(__doc__, steps=3600, batch=16)
    plain = fitted(lambda: UNet(len(PARTS), WIDTHS), options)
    images, labels = load_labels([options.heldout])
    facts = {
        "parts": list(PARTS),
        "size": SIZE,
        "widths": list(WIDTHS),
        "iou": intersection_over_union(plain, images, labels, PARTS),
        "iou_samples": len(images),
        "training_data": "samples of blaze-256, labelled by MediaPipe 0.10.14 and by its own features",
        "recipe": recipe(options),
    }
    save(HERE / "segmenter.safetensors", plain, facts)


if __name__ == "__main__":
    main()
