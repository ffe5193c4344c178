"""Ways to paste an edited face, against a truth that the generator itself makes.

    python -m tests.bench.paste [--generator blaze-256] [--count 8]

    made-up face G(ω) --enlarged, in a larger picture--> photo;   ω with its fine layers changed --> inversion
    both moved by the same step, let in around a part --> truth and edit;   edit --pasted each way--> against the truth

So the photo has detail that the inversion lacks, and the truth is known. Printed for shapes and for looks: the mean
absolute error, in levels of 255, where the edit changes the face, and LPIPS of the box around it.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lelsd_core.editor import Editor
from lelsd_core.evaluation.perceptual import PerceptualTarget, load_lpips
from lelsd_core.images import to_pil, to_tensor
from lelsd_core.local import EditedCodes, LocalMove, patches_of
from lelsd_core.paste import PASTE
from lelsd_core.registry import load_editor
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import part_mask, segment_synthesis
from lelsd_core.weights.cache import local

PARTS, LOOKS = ("mouth", "brows", "nose", "hair"), ("mouth", "hair")
UNLIKE = 0.4  # relative standard deviation of the change of the fine layers' styles
LEVELS, LEAST = 6, 0.005  # a pixel that changes by more counts; the share of them that a case must have
SIDE = 128  # of the box that LPIPS sees
MARGIN = 0.25  # of the face's width, around it in the photo


@dataclass(frozen=True, eq=False)
class Case:
    """Pictures (1, 3, R, R) of one edit: the face, its inversion, and both edited."""

    kind: str  # "shape" or "look"
    face: Tensor
    before: Tensor
    after: Tensor
    truth: Tensor


@torch.inference_mode()
def cases(editor: Editor, count: int) -> Iterator[Case]:
    """The cases of `count` faces, each with another one's code as the step of its local moves."""
    generator, segmenter, finest = editor.generator, editor.segmenter, editor.generator.space_names[-1]
    layer = editor.shape_config.local
    coarse = generator.layer_columns(list(generator.layers)[: list(generator.layers).index(layer) + 1])
    codes = generator.sample_in(finest, HELD_OUT[: 2 * count], truncation=generator.usual_truncation)
    random = torch.Generator().manual_seed(0)

    def picture(codes: Tensor, step: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        moved = () if step is None else ((LocalMove(layer), codes + step * coarse),)
        patches = patches_of(generator, EditedCodes(codes, moved), lambda _: mask)
        return generator.synthesize(codes, finest, patches=patches).image

    for face, other in zip(codes[:count].split(1), codes[count:].split(1), strict=True):
        unlike = 1 + UNLIKE * torch.randn(face.shape, generator=random)
        inversion = torch.where(coarse > 0, face, face * unlike)
        seen = segment_synthesis(segmenter, generator.synthesize(face, finest, keep=segmenter.needs))
        for found in (part_mask(seen, segmenter.parts, part) for part in PARTS):
            mask = LocalMove(layer).mask(lambda _, found=found: found)
            edited = picture(inversion, other - face, mask), picture(face, other - face, mask)
            yield Case("shape", picture(face), picture(inversion), *edited)
        for direction in editor.directions:
            if direction.name in LOOKS and direction.space == finest:
                step = 0.7 * direction.high * direction.vector
                yield Case("look", picture(face), picture(inversion), picture(inversion + step), picture(face + step))


def main() -> None:
    """Print a line for each way to paste, and kind of edit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="blaze-256", help="[%(default)s]")
    parser.add_argument("--count", type=int, default=8, help="faces [%(default)s]")
    options = parser.parse_args()
    editor = load_editor(options.generator)
    network, errors = load_lpips(local("lpips-alex"), torch.device("cpu")), defaultdict(list)
    for case in cases(editor, options.count):
        face, before, after, truth = map(to_pil, (case.face, case.before, case.after, case.truth))
        size = 512  # of the face in the photo
        border, scale = round(MARGIN * size), face.width / size
        photo, wanted = (framed(picture, size, border) for picture in (face, truth))
        matrix = np.array([[scale, 0.0, -scale * border], [0.0, scale, -scale * border]])
        changes = np.abs(np.float32(framed(after, size, border)) - np.float32(framed(before, size, border))).max(2)
        changed = changes > LEVELS
        if changed.mean() < LEAST:
            continue
        rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        target = PerceptualTarget(network, view(wanted, box))
        for how, paste in PASTE.items():
            pasted = paste(photo, before, after, matrix)
            error = np.abs(np.float32(pasted) - np.float32(wanted))[changed].mean()
            with torch.inference_mode():
                errors[case.kind, how].append((float(error), float(target.distance(view(pasted, box)))))
    for (kind, how), values in sorted(errors.items(), reverse=True):
        error, lpips = map(statistics.mean, zip(*values, strict=True))
        print(f"{kind}, {how}: error {error:.2f}, LPIPS {lpips:.4f}, of {len(values)} edits")


def framed(face: Image.Image, size: int, border: int) -> Image.Image:
    """A face, enlarged and put into the middle of a larger picture."""
    photo = Image.new("RGB", (size + 2 * border,) * 2, (110, 120, 130))
    photo.paste(face.resize((size, size), Image.Resampling.BICUBIC), (border, border))
    return photo


def view(photo: Image.Image, box: tuple[int, int, int, int]) -> Tensor:
    """(1, 3, SIDE, SIDE) of a box."""
    return F.interpolate(to_tensor(photo.crop(box)), (SIDE, SIDE), mode="area")


if __name__ == "__main__":
    main()
