"""`region`: a part of one's own, painted on faces or clicked in one, as a file for `discover --own`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lelsd_core.device import choose_device
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError, check_file
from lelsd_core.images import grid, read_photo, save_picture, spotlight
from lelsd_core.registry import load_editor
from lelsd_core.segmenters import FeatureSegmenter, fit_clusters, fit_region
from lelsd_core.segmenters.features import labels_of
from lelsd_core.segmenters.files import read_segmenter

SEED = "seed:"
CLUSTERS = 16
MASK_SIDE = 256  # pixels of a mask that is read from a picture


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Fit the region, write its file and, if wanted, a picture of where it is on the faces."""
    out = Path(options.out)
    check_file(out, ".safetensors")
    if options.preview:
        check_file(Path(options.preview))
    faces, masks = options.on or [f"{SEED}0"], options.mask
    if bool(masks) == bool(options.at):
        raise UserError("Say where the region is: by --mask PICTURE for each face, or by --at X,Y in one face.")
    if masks and len(masks) != len(faces):
        raise UserError(f"{len(masks)} masks are given for {len(faces)} faces; give each --on FACE its --mask PICTURE.")
    points, painted = [point_of(text) for text in options.at], [read_mask(path) for path in masks]
    sources = [source_of(face) for face in faces]
    editor = load_editor(options.generator, choose_device(options.device), class_index=options.class_index)
    name = options.name or out.stem
    if name in editor.segmenter.parts:
        raise UserError(f"There is a part named {name!r} already; give the region another --name.")
    generator, finest = editor.generator, editor.generator.space_names[-1]
    sessions = [opened(editor, source) for source in sources]
    codes = torch.cat([generator.lift(s.codes.to(generator.device), s.space, finest) for s in sessions])
    if painted:
        region = fit_region(generator, codes, finest, torch.from_numpy(np.stack(painted)), name)
    else:
        clusters = fit_clusters(generator, CLUSTERS)
        labels = labels_of(generator, clusters, codes[:1], finest)[0]
        region = clusters.named({name: [clusters.parts[number] for number in sorted(labels_at(labels, points))]})
    region.save(out)
    inside = labels_of(generator, region, codes, finest) == 0
    area = float(inside.float().mean())
    print(f"{out}: {name}, {area:.1%} of these faces. Search with: discover OUT.safetensors --own {out}")
    if options.preview:
        save_picture(shown(sessions, inside), options.preview)
    return {"name": name, "method": region.method, "area": area}


def source_of(text: str) -> int | Path:
    """The seed of "seed:7", or the path of a photo. UserError for a seed that is none."""
    if not text.startswith(SEED):
        return Path(text)
    seed = text.removeprefix(SEED)
    if not seed.isdecimal():
        raise UserError(f"{text!r} names no seed; write seed: and a whole number, such as seed:7.")
    return int(seed)


def opened(editor: Editor, source: int | Path) -> Session:
    """The face of a seed, or of a photo."""
    return editor.random_face(source) if isinstance(source, int) else editor.open(source)


def point_of(text: str) -> tuple[float, float]:
    """The place "X,Y" in shares of the frame. UserError for anything else."""
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x < 1 and 0 <= y < 1):
        raise UserError(f"--at is {text!r}; it takes X,Y in shares of the aligned face, such as 0.5,0.8.")
    return x, y


def read_mask(path: str) -> np.ndarray:
    """The mask of a picture, (h, w) of booleans: what is lighter than the middle."""
    picture = read_photo(path).convert("L").resize((MASK_SIDE, MASK_SIDE))
    return np.asarray(picture) > 127


def labels_at(labels: Tensor, points: list[tuple[float, float]]) -> set[int]:
    """The labels (h, w) at some places."""
    height, width = labels.shape
    return {int(labels[int(y * height), int(x * width)]) for x, y in points}


def shown(sessions: list[Session], inside: Tensor) -> Any:
    """The faces in a row, dark outside the region, (N, h, w) of booleans."""
    masks = inside.float().cpu().numpy()
    return grid([[spotlight(s.original, mask) for s, mask in zip(sessions, masks, strict=True)]], gap=4)


def load_region(path: str) -> FeatureSegmenter:
    """The region of a file. UserError for a file that is none."""
    if not Path(path).is_file():
        raise UserError(f"There is no file {path}; `region` writes one.")
    region = read_segmenter(Path(path))
    if not isinstance(region, FeatureSegmenter) or len(region.parts) != 2:
        raise UserError(f"{Path(path).name} holds no region of one's own; `region` writes such a file.")
    return region
