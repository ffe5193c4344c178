"""An e4e file → encoder, mean W and view, and the generator inside it, from one reading.

file  --read as data, once-->  encoder.* , decoder.* , latent_avg, opts  -->  `E4EFile`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lelsd_core.formats.generators import Options, build_generator, kind_of, sorted_out
from lelsd_core.formats.layouts import LAYOUTS, Extra, state_dict_of
from lelsd_core.formats.torchfile import RefusedError, is_torch_file, read_torch, told_in_one_sentence
from lelsd_core.generators import Generator
from lelsd_core.inversion.e4e import MARKER, E4EEncoder

EXPECTED = "an e4e file was expected, such as e4e_ffhq_encode.pt"
SQUARE, CAR = (256, 256), (192, 256)  # height and width of what the encoders were trained with
CAR_ROWS = 16  # of W+ in the published encoder for cars, should its file not say what it is for


@dataclass(frozen=True, eq=False)
class E4EFile:
    """What an e4e file holds.

    Args:
        encoder: ready to run, on the CPU.
        mean: (L, 512), to be added to its rows.
        view: height and width of what it wants to see.
        generator: the StyleGAN2 inside, unless it was not wanted; without a name.
    """

    encoder: E4EEncoder
    mean: Tensor
    view: tuple[int, int]
    generator: Generator | None


def read_e4e(path: Path, *, generator: bool = True) -> E4EFile:
    """Read a file of encoder4editing; what has been used is let go, so that little more memory is taken than it has.

    Args:
        path: the file.
        generator: whether the generator inside is wanted.

    Raises:
        UserError: damaged, foreign, another kind of encoder, or tensors that do not fit together.
    """
    with told_in_one_sentence(path.name, EXPECTED):
        tensors, facts = read(path)
        check_kind(tensors, facts)
        encoder = {name: tensors.pop(name) for name in list(tensors) if name.startswith("encoder.")}
        inside = sorted_out(tensors, Extra(mean=facts.get("latent_avg")), path.stat().st_size) if generator else None
        del tensors
        network = E4EEncoder({name[len("encoder.") :]: encoder.pop(name) for name in list(encoder)}).eval()
        decoder = build_generator(inside, Options()) if inside else None
        view = CAR if is_for_cars(facts, len(network.styles)) else SQUARE
        check_fit(network, view)
        return E4EFile(network, mean_of(facts, decoder, len(network.styles)), view, decoder)


def read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors of a torch file by official name, and what lies beside them."""
    with open(path, "rb") as file:
        start = file.read(512)
        if not is_torch_file(start):
            raise RefusedError(f"it is {kind_of(start)}")
        content = read_torch(file, path.stat().st_size)
    tensors, mean = state_dict_of(content)
    return tensors, {"opts": content.get("opts"), "latent_avg": mean}


def check_kind(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Refuse what holds no encoder, and the encoders of pSp and ReStyle, whose tensors have the same names."""
    if MARKER not in tensors:
        found = next((f"a generator, {layout.about}" for layout in LAYOUTS if layout.marker in tensors), None)
        some = ", ".join(list(tensors)[:3]) or "none"
        raise RefusedError(f"it holds {found}" if found else f"its tensors ({some}) are those of no encoder known here")
    kind = option(facts, "encoder_type", "Encoder4Editing")
    if kind != "Encoder4Editing":
        raise RefusedError(f"its encoder is a {kind}, not e4e's Encoder4Editing")


def option(facts: Mapping[str, Any], name: str, default: Any) -> Any:
    """One of the options that the encoder was trained with, or a default where the file does not tell."""
    told = facts.get("opts")
    return told.get(name, default) if isinstance(told, Mapping) else default


def is_for_cars(facts: Mapping[str, Any], rows: int) -> bool:
    """Whether it was trained with cars, which are wider than high."""
    domain = option(facts, "dataset_type", None)
    return rows == CAR_ROWS if domain is None else "car" in str(domain)


def mean_of(facts: Mapping[str, Any], generator: Generator | None, rows: int) -> Tensor:
    """What is added to the encoder's rows, (L, 512): as stored, else the mean W of the generator inside."""
    mean = facts.get("latent_avg")
    if mean is None and generator is not None:
        mean = generator.mean
    if mean is None:
        raise RefusedError("it holds no latent_avg")
    mean = mean.float().reshape(-1, mean.shape[-1])
    if len(mean) not in (1, rows):
        raise RefusedError(f"its mean W is of another shape, {tuple(mean.shape)}, than its encoder's {rows} rows")
    return mean.expand(rows, -1).clone()


@torch.no_grad()
def check_fit(encoder: E4EEncoder, view: tuple[int, int]) -> None:
    """Run the encoder once with shapes only; tensors that do not fit together raise here."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # loads a good part of torch

    with FakeTensorMode(allow_non_fake_inputs=True):
        encoder(torch.zeros(1, 3, *view))
