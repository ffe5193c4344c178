"""Refinement of a photo's inversion with a code for each cell of the 8 × 8 map, against the usual one, at equal time.

    python -m tests.bench.cells [--weights 0.01 0.1 1]

    photo --encoder--> one code --refine for as long as usual--> one code, or one z for each cell and the usual gains

A z for each cell, x[c] = h(z[c])[c], is the finest form of a local move: every cell moves by itself. The cells'
deviation from their mean costs `weight` per standard deviation of a sample. Printed, for the photo and its variants:
the mean absolute error, and the smallest share of its stored gain that a shipped slider keeps on the refined codes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from lelsd_core.editor import Editor
from lelsd_core.generators.base import State
from lelsd_core.generators.dcgan import TAPS, styled
from lelsd_core.images import read_photo
from lelsd_core.inversion.inverters import Inverter
from lelsd_core.inversion.refine import BETAS, RATES, STEPS, Likeness, likeness_weights, step_size
from lelsd_core.localization import locality_gain, localization_score
from lelsd_core.registry import load_editor
from lelsd_core.segmenters import part_mask
from tests.bench.inversion import PHOTO, variants

SIDE, CELLS = 8, 64
LEAST_AREA = 0.005  # of a part on the photo, for its slider to count


class CellField:
    """The picture of a z (64, 100) for each cell of the 8 × 8 map, and a code of S for all that follows."""

    def __init__(self, editor: Editor) -> None:
        self.generator, self.space = editor.generator, editor.generator.spaces[-1]
        self.groups = []  # cells of one parity, and for each tap, places in the 4 × 4 map (16 = outside) and a kernel
        weight = self.generator.weight1
        for (p, rows), (q, columns) in product(enumerate(TAPS), repeat=2):
            cells = [(y, x) for y in range(p, SIDE, 2) for x in range(q, SIDE, 2)]
            places, kernels = [], []
            for (down, row), (right, column) in product(rows, columns):
                sources = [(y // 2 + down, x // 2 + right) for y, x in cells]
                places.append([4 * a + b if 0 <= a < 4 and 0 <= b < 4 else 16 for a, b in sources])
                kernels.append(weight[:, :, row, column])
            self.groups.append(
                (torch.tensor([SIDE * y + x for y, x in cells]), torch.tensor(places), torch.stack(kernels))
            )

    def picture(self, cells: Tensor, codes: Tensor) -> Tensor:
        """(1, 3, 64, 64)."""
        generator, (_, gain, bias, gain1, bias1, *_) = self.generator, self.space.split(codes)
        maps = (cells @ generator.weight0).view(CELLS, 4, 4, -1) + generator.bias0
        maps = styled(maps.permute(0, 3, 1, 2), gain, bias).flatten(2)  # (64, 512, 16)
        maps = torch.cat([maps, torch.zeros_like(maps[..., :1])], 2)
        x = torch.zeros(CELLS, generator.weight1.shape[1])
        for index, places, kernels in self.groups:
            taps = torch.stack([maps[index, :, place] for place in places])  # (4, 16, 512)
            x = x.index_copy(0, index, torch.einsum("tcd,tdo->co", taps, kernels))
        x = styled(x.T.view(1, -1, SIDE, SIDE) + generator.bias1[:, None, None], gain1, bias1)
        return generator.synthesize(codes, self.space.name, resume=("8.conv", State(x))).image


def refined(editor: Editor, face: Tensor, weight: float | None, seconds: float | None) -> tuple[Callable, float, float]:
    """A function from codes of S to pictures after a refinement, its error, and the CPU time that it took.

    Without a weight, one code is refined as usual, with `STEPS` steps; otherwise cells, for as many seconds.
    """
    inverter: Inverter = editor.inverter
    prior, likeness = inverter.prior_in("S"), Likeness(face, likeness_weights(editor.segmenter, face))
    origin, field = inverter.encode(face).codes, CellField(editor)
    offset = torch.zeros_like(origin).requires_grad_()
    cells = torch.zeros(CELLS, 100).requires_grad_()  # in standard deviations
    z_spread = prior.spread[:100]

    def render(codes: Tensor) -> Tensor:
        if weight is None:
            return editor.generator.synthesize(codes, "S").image
        return field.picture(codes[:, :100] + cells * z_spread, codes)

    parameters = [offset] if weight is None else [offset, cells]
    adam, began, step, steps = torch.optim.Adam(parameters, RATES[1], betas=BETAS[1]), time.process_time(), 0, STEPS
    while step < steps:
        codes = origin + offset * prior.spread
        loss = likeness.loss(render(codes)) + prior.cost(codes)
        if weight is not None:
            loss = loss + weight * (cells - cells.mean(0)).square().mean()
        adam.zero_grad()
        loss.backward()
        for group in adam.param_groups:
            group["lr"] = RATES[1] * step_size(step, steps)
        adam.step()
        step += 1
        if seconds and step == 10:  # the steps that fit into the time
            steps = max(20, round(seconds / (time.process_time() - began) * step))
    codes = (origin + offset * prior.spread).detach()
    error = float((render(codes) - face).detach().abs().mean())
    return lambda change: render(codes + change).detach(), error, time.process_time() - began


def kept(editor: Editor, render: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """The share of its stored gain that each slider keeps, over both ends."""
    shares, parts = {}, editor.segmenter.parts
    before = render(torch.zeros(1, editor.generator.spaces[-1].width))
    for direction in editor.directions:
        if direction.local or direction.space != "S":
            continue
        scores, areas = [], []
        for end in (direction.low, direction.high):
            after = render(end * direction.vector[None])
            masks = [
                part_mask(editor.segmenter.segment(picture), parts, direction.parts) for picture in (before, after)
            ]
            mask = sum(masks) / 2
            scores.append(float(localization_score(before, after, mask)))
            areas.append(float(mask.mean()))
        if min(areas) > LEAST_AREA:
            shares[direction.name] = locality_gain(sum(scores) / 2, sum(areas) / 2) / direction.gain
    return shares


def main() -> None:
    """Print a line for each photo: error, and in brackets the smallest share of a gain that is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", type=float, default=[0.01, 0.1, 1.0], help="[%(default)s]")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that the CPU time is the time on an idle machine
    editor = load_editor("digiface-64")
    for name, photo in variants(read_photo(PHOTO)):
        detected = editor.detect(photo)
        face = editor.aligner.cut(detected.photo, detected.candidate(0)).picture
        render, error, seconds = refined(editor, face, None, None)
        line = f"{name}, {seconds:.1f} s of CPU: one code {error:.4f} ({min(kept(editor, render).values()):.2f})"
        for weight in options.weights:
            render, error, _ = refined(editor, face, weight, seconds)
            line += f", cells at weight {weight:g} {error:.4f} ({min(kept(editor, render).values()):.2f})"
        print(line, flush=True)


if __name__ == "__main__":
    main()
