"""Loads generators, segmenters, inverters and whole editors, by a name of the catalogue or from a file.

name or path  --find_weights-->  file, SHA-256  --read as data-->  tensors  --builder-->  network in eval mode
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import nn

from lelsd_core.device import AUTO, dtype_on
from lelsd_core.directions import Direction, load_directions, named_apart
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.galleries.local import cached_directions, gallery_folder
from lelsd_core.galleries.shelf import Gallery, read_gallery
from lelsd_core.generators import Generator
from lelsd_core.inversion import E4EInverter, EncoderInverter, Inverter, Prior, SampleInverter, build_encoder
from lelsd_core.inversion.e4e import read_e4e
from lelsd_core.inversion.refine import PRIOR_WEIGHT
from lelsd_core.segmenters import Segmenter
from lelsd_core.segmenters.files import read_segmenter
from lelsd_core.weights.cache import local, sha256_at, sha256_of
from lelsd_core.weights.catalogue import CATALOGUE, Network, find_network, names_of, segmenter_of, spec_of
from lelsd_core.weights.checkpoints import (
    Options,
    build_generator,
    fingerprint_at,
    read_checkpoint,
    use_half,
    weights_file,
)
from lelsd_core.weights.classes import Choice
from lelsd_core.weights.hub import Bar, ensure, fetch
from lelsd_core.weights.safetensors import is_safetensors, load_tensors, read_safetensors

if TYPE_CHECKING:  # these load OpenCV, which a generator does not need
    from lelsd_core.editor import Editor
    from lelsd_core.faces import FaceAligner
    from lelsd_core.faces.frame import AnyFrame

Module = TypeVar("Module", bound=nn.Module)
SEARCH = "samples"  # the inverter of generators without an encoder


class WeightsFile(NamedTuple):
    """A file to load."""

    path: Path
    sha256: str
    name: str  # of what is in it
    network: Network | None  # of the catalogue, where one was named


def find_weights(kind: str, name_or_path: str | Path, weights: str | Path | None = None) -> WeightsFile:
    """The file of a network, downloaded if it is not on this machine.

    Args:
        kind: "generator", "segmenter" or "inverter".
        name_or_path: a name of the catalogue, a file, or a folder with a config.json.
        weights: the file or folder for a named network that does not ship, or "torchvision".

    Raises:
        UserError: unknown name, no such file, a file that cannot be had or is damaged, or a network that takes no
            other weights.
    """
    name = str(name_or_path)
    network = CATALOGUE[name] if name in names_of(kind) else None
    if weights is not None:
        if network.shipped or network.architecture == SEARCH if network else Path(name).exists():
            raise UserError(f"{name} takes no other weights; leave weights out.")
        network = find_network(name, kind)
        if str(weights) == "torchvision":  # the file that torchvision publishes
            if network.torchvision is None:
                offered = ", ".join(each.name for each in CATALOGUE.values() if each.torchvision)
                raise UserError(f"torchvision offers no weights for {name}, only for {offered}.")
            weights = None
    if network and weights is None:
        path = fetch(name, report=Bar())
        return WeightsFile(path, network.shipped.sha256 if network.shipped else sha256_at(path), name, network)
    place = Path(weights or name_or_path)
    path = weights_file(place)
    if not path.is_file():
        raise UserError(unknown_name(kind, place, names_of(kind)))
    return WeightsFile(path, sha256_of(path), place.name if place.is_dir() else path.stem, network)


def load_generator(name_or_path: str | Path, device: str | torch.device = "cpu", **options: Any) -> Generator:
    """Load a generator, ready to render.

    Args:
        name_or_path: a generator of the catalogue, downloaded if it is not on this machine, or a file or folder in any
            format of `weights.checkpoints`.
        device: "cpu", "cuda", "mps".
        options: fields of `weights.checkpoints.Options`: noise, noise_seed, class_index, truncation, dtype.

    Raises:
        UserError: unknown name, no such file, a file that cannot be had, is damaged or holds something else, or an
            option that the architecture does not take.
    """
    file = find_weights("generator", name_or_path)
    build, is_shipped = (file.network.build, bool(file.network.shipped)) if file.network else ({}, False)
    given = {name: value for name, value in options.items() if value is not None}
    checkpoint, chosen = read_checkpoint(file.path), Options(**{**build, **given})
    generator = frozen(build_generator(checkpoint, chosen, known=is_shipped), device)
    if generator.device.type != "cpu":
        use_half(generator, dtype_on(generator.device, checkpoint.config, chosen.dtype))
    generator.name, generator.sha256 = file.name, file.sha256
    return generator


def classes_of(name_or_path: str | Path) -> tuple[str, ...]:
    """Names of a generator's classes, one of which is chosen when it is loaded; none if it has no classes.

    Where the file knows no names, they are its numbers. Arguments and errors as for `load_generator`.
    """
    return read_checkpoint(find_weights("generator", name_or_path).path).classes


def load_segmenter(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
    generator: Generator | None = None,
) -> Segmenter:
    """Load a segmenter, ready to use.

    Args:
        name_or_path: a segmenter of the catalogue, downloaded if it is not on this machine, or a file of any kind that
            `segmenters.files` reads.
        device: "cpu", "cuda", "mps".
        weights: the file or folder of a named network that does not ship, or "torchvision" for the file that
            torchvision publishes; None = the catalogue's.
        generator: the generator whose features it reads; checked where the file says which one that must be.

    Raises:
        UserError: as for `load_generator`; weights of another kind; a segmenter of another generator.
    """
    file = find_weights("segmenter", name_or_path, weights)
    segmenter = frozen(read_segmenter(file.path, file.network), device)
    segmenter.name = file.network.name if file.network else file.name
    segmenter.fingerprint = file.sha256
    if generator is not None and segmenter.needs:
        segmenter.check(generator)
    return segmenter


def load_inverter(
    name_or_path: str | Path,
    generator: Generator | None = None,
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
) -> Inverter:
    """Load an inverter, ready to use.

    Args:
        name_or_path: an inverter of the catalogue, downloaded if it is not on this machine, or an encoder's file;
            "e4e" is the encoder for faces, "samples" the search for generators without an encoder.
        generator: the generator that renders its codes; None = the one that it was trained with, e4e's from its file.
        device: "cpu", "cuda", "mps"; the device of `generator`, where that is given.
        weights: the file of an encoder that is named.

    Raises:
        UserError: as for `load_generator`; an encoder of another generator.
    """
    if str(name_or_path) == SEARCH and weights is None:
        if generator is None:
            raise UserError(f"{SEARCH!r} searches among a generator's own samples; give it a generator.")
        return SampleInverter(generator)
    file = find_weights("inverter", name_or_path, weights)
    architecture = file.network.architecture if file.network else "encoder" if is_safetensors(file.path) else "e4e"
    return INVERTERS[architecture](file, generator, device)


def build_encoder_inverter(
    file: WeightsFile, generator: Generator | None, device: str | torch.device
) -> EncoderInverter:
    """The inverter of one of this project's encoders, for the very generator that it was trained with."""
    tensors, facts = read_safetensors(file.path, "encoder")
    if generator is None:
        if (name := facts.get("generator")) not in names_of("generator"):
            raise UserError(f"{file.path.name} inverts for {name!r}; give that generator, too.")
        generator = load_generator(name, device)
    if not generator.shares_codes_of(facts.get("fingerprint")):
        raise UserError(f"{file.path.name} inverts for {facts.get('generator')!r}, not for {generator.name!r}.")
    encoder = frozen(build_encoder(tensors, facts), generator.device)
    weight = facts.get("prior_weight", PRIOR_WEIGHT)
    prior = Prior(encoder.centre, encoder.spread, weight) if hasattr(encoder, "spread") else None
    return EncoderInverter(encoder, generator, facts.get("space"), prior, weight)


def build_e4e_inverter(file: WeightsFile, generator: Generator | None, device: str | torch.device) -> E4EInverter:
    """The inverter of an e4e file, for the generator in the file or another one of the same shape."""
    content = read_e4e(file.path, generator=generator is None)
    if generator is None:
        generator = frozen(content.generator, device)
        generator.name, generator.sha256 = file.path.stem, file.sha256
    encoder = frozen(content.encoder, generator.device)
    return E4EInverter(encoder, content.mean.to(generator.device), content.view, generator)


INVERTERS = {"encoder": build_encoder_inverter, "e4e": build_e4e_inverter}  # architecture -> builder


def load_editor(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    *,
    directions: str | Path | None = None,
    segmenter: str | None = None,
    dtype: str = AUTO,
    class_index: Choice | None = None,
) -> Editor:
    """Load a generator with everything that belongs to it, ready to edit.

    What is not on this machine is downloaded, once it is certain that all of it can be had.

    Args:
        name_or_path: one of `generator_names()`, or a file or folder, whose faces are assumed to be framed as FFHQ's.
        device: "cpu", "cuda", "mps".
        directions: a folder, a file, or OWNER/NAME on the Hub; None = those that ship, are published, or were found
            on this machine.
        segmenter: name or file; None = the catalogue's for the generator.
        dtype, class_index: see `weights.checkpoints.Options`.

    Raises:
        UserError: unknown name, a file that is damaged or cannot be had, directions of another generator, or no
            segmenter for a file.
    """
    from lelsd_core.editor import Editor
    from lelsd_core.evaluation.metrics import MetricNetworks

    name, network, segmenter = str(name_or_path), spec_of(name_or_path), segmenter_of(name_or_path, segmenter)
    source = directions or network.directions
    gallery = read_gallery(source) if source else None
    if named := next((each for each in (name, segmenter) if each in CATALOGUE), None):
        ensure(named, segmenter, report=Bar())
    if network.inverter in network.within:  # one file holds both, and is read once
        inverter = load_inverter(network.inverter, device=device)
        generator = inverter.generator
        generator.name = name
    else:
        generator = load_generator(name, device, dtype=dtype, class_index=class_index)
        inverter = load_inverter(network.inverter or SEARCH, generator)
    segmenter = load_segmenter(segmenter, device, generator=generator)
    for direction in gallery.directions if gallery else ():  # before equal names get numbers
        direction.check(generator)
    frame = build_frame(network, generator.resolution)
    return Editor(
        generator,
        inverter,
        segmenter,
        load_aligner(frame),
        cached_directions(generator, segmenter) if gallery is None else named_apart(gallery.directions),
        recipes=gallery.recipes if gallery else None,
        search_config=network.discover,
        shape_config=network.shapes(generator),
        shaped=network.shaped,
        measured=network.measured,
        refinement_steps=network.refinement,
        metric_networks=MetricNetworks(sface=local("sface"), points=getattr(frame, "points", None)),
    )


def build_frame(network: Network, resolution: int) -> AnyFrame:
    """How a generator's pictures are framed; those of a file are assumed to be aligned as FFHQ's."""
    from lelsd_core.faces.frame import FfhqFrame, Frame, SquareFrame

    if network.frame == "points":
        return Frame(resolution, network.points)
    if network.frame in ("square", "wide"):
        return SquareFrame(resolution, rows=resolution * 3 // 4 if network.frame == "wide" else 0)
    return FfhqFrame(resolution)


def load_aligner(frame: AnyFrame) -> FaceAligner:
    """Load an aligner; faces are detected by YuNet where its file is on this machine, otherwise by what ships."""
    from lelsd_core.faces import BlazeDetector, BlazeFace, FaceAligner, FaceMesh, Landmarks, YuNet

    if not frame.faces:
        return FaceAligner(frame, None, None)
    mesh, face = (
        frozen(load_tensors(network, read_safetensors(local(name), name)[0], f"a {name}"), "cpu")
        for name, network in (("face-mesh", FaceMesh()), ("face-detector", BlazeFace()))
    )
    landmarks, yunet = Landmarks(mesh), local("yunet")
    detector = BlazeDetector(face, landmarks)
    return FaceAligner(frame, landmarks, YuNet(yunet, detector) if yunet else detector)


def directions_of(name_or_path: str | Path, source: str | Path | None = None) -> tuple[Direction, ...]:
    """The directions of `gallery_of`, with its arguments and errors."""
    return gallery_of(name_or_path, source).directions


def gallery_of(name_or_path: str | Path, source: str | Path | None = None) -> Gallery:
    """The gallery of a generator without loading it: from a source, shipped, or found on this machine.

    Args:
        name_or_path: the generator.
        source: as for `read_gallery`; None = the generator's own.

    Raises:
        UserError: unknown name, no directions, or a damaged file.
    """
    network, name = spec_of(name_or_path), str(name_or_path)
    if source or network.directions:
        gallery = read_gallery(source or network.directions)
        return replace(gallery, directions=named_apart(gallery.directions))
    path = local(name) if name in CATALOGUE else weights_file(Path(name))
    folder = gallery_folder(fingerprint_at(path), sha256_at(path)) if path else None
    if folder is None or not any(folder.glob("*.safetensors")):
        raise UserError(f"No directions of {name} were found on this machine; give a folder of them, or discover one.")
    return Gallery(named_apart(load_directions(folder)))


def frozen(module: Module, device: str | torch.device) -> Module:
    """The network in eval mode, without gradients for its weights, on the device."""
    return module.to(device).eval().requires_grad_(False)
