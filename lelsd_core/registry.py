"""What can be loaded by name, and how: plain tables of frozen specs, and one loader for each kind of network.

name or path  --find-->  file  --check SHA-256, read as data-->  tensors  --build-->  network, eval, no gradients
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lelsd_core.device import AUTO, dtype_on
from lelsd_core.directions import Direction, load_directions, named_apart
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.metrics import MetricNetworks
from lelsd_core.faces import BlazeDetector, BlazeFace, FaceAligner, FaceMesh, Landmarks, YuNet
from lelsd_core.faces.frame import AnyFrame, FfhqFrame
from lelsd_core.galleries.local import cached_directions, check_directions, gallery_folder, read_gallery
from lelsd_core.generators import Generator
from lelsd_core.inversion import E4EInverter, EncoderInverter, Inverter, Prior, SampleInverter, build_encoder
from lelsd_core.inversion.e4e import read_e4e
from lelsd_core.segmenters import Segmenter
from lelsd_core.segmenters.files import NETWORKS, NetworkSpec, read_segmenter
from lelsd_core.segmenters.torchvision_weights import OFFERED, TORCHVISION, torchvision_file
from lelsd_core.specs import FACES, GENERATORS, INVERTERS, SEGMENTERS, GeneratorSpec, Weights, segmenter_of, spec_of
from lelsd_core.weights.cache import local, sha256_at, sha256_of
from lelsd_core.weights.catalogue import CATALOG, names_of
from lelsd_core.weights.checkpoints import Options, build_generator, read_checkpoint, use_half, weights_file
from lelsd_core.weights.hub import Bar, fetch
from lelsd_core.weights.safetensors import load_tensors, read_safetensors

Network = TypeVar("Network", bound=nn.Module)
ENCODERS: Mapping[str, str] = {"e4e": "e4e-ffhq"}  # a kind of encoder, and the published one of that kind to take
SEARCH = "samples"  # the inverter of generators without an encoder


def load_generator(name_or_path: str | Path, device: str | torch.device = "cpu", **options: Any) -> Generator:
    """A generator, ready to render.

    Args:
        name_or_path: a key of `GENERATORS`, a generator of `hub.CATALOG`, fetched from the Hub if it is not here,
            or a file or folder in any format of `formats`.
        device: "cpu", "cuda", "mps".
        options: fields of `formats.generators.Options`: noise, noise_seed, class_index, truncation, dtype.

    Raises:
        UserError: no such name or file, one that cannot be fetched, is damaged or foreign, or an option that the model
            does not take.
    """
    given, known = Path(name_or_path), str(name_or_path) in GENERATORS
    file = name_or_path if known else weights_file(given)
    path, fingerprint, name = find("generator", file, {k: s.weights for k, s in GENERATORS.items()})
    chosen = Options(**options)
    checkpoint = read_checkpoint(path)
    generator = frozen(build_generator(checkpoint, chosen, known=known), device)
    if generator.device.type != "cpu":
        use_half(generator, dtype_on(generator.device, checkpoint.config, chosen.dtype))
    generator.name, generator.fingerprint = given.name if given.is_dir() else name, fingerprint
    return generator


def load_segmenter(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
    generator: Generator | None = None,
) -> Segmenter:
    """A segmenter, ready to use.

    Args:
        name_or_path: a key of `SEGMENTERS`, a key of `segmenters.files.NETWORKS`, or a file of any kind named there.
        device: "cpu", "cuda", "mps".
        weights: the file or folder of a network of `NETWORKS`; "torchvision" downloads it as torchvision does, where
            torchvision has it; None takes the published one, from here or from the Hub.
        generator: whose features it will read; checked here where the file says which it must be.

    Raises:
        UserError: as for `load_generator`; weights of another kind; a segmenter of another generator.
    """
    spec = NETWORKS.get(str(name_or_path))
    if spec and weights is None:
        weights = published_weights(str(name_or_path), spec)
    if weights is not None and spec is None:
        known = (*NETWORKS, *SEGMENTERS)
        fixed = str(name_or_path) in known or Path(name_or_path).is_file()
        reason = f"{name_or_path} has its own weights; leave weights out."
        raise UserError(reason if fixed else unknown_name("segmenter", name_or_path, known))
    if spec and str(weights) == TORCHVISION:
        weights = torchvision_file(str(name_or_path))
    given = Path(weights or name_or_path)
    file = weights_file(given) if given.is_dir() else weights or name_or_path
    path, fingerprint, name = find("segmenter", file, SEGMENTERS, also=NETWORKS)
    segmenter = frozen(read_segmenter(path, spec), device)
    segmenter.name = str(name_or_path) if spec else given.name if given.is_dir() else name
    segmenter.fingerprint = fingerprint
    if generator is not None and segmenter.needs:
        segmenter.check(generator)
    return segmenter


def published_weights(name: str, spec: NetworkSpec) -> Path:
    """The published file of a network of `NETWORKS`. UserError if it cannot be had, with every other way to get it."""
    try:
        return fetch(spec.weights, report=Bar())
    except UserError as problem:
        if name not in OFFERED:
            raise
        raise UserError(f"{problem} Or give {TORCHVISION} as weights to download it.") from None


def load_inverter(
    name_or_path: str | Path,
    generator: Generator | None = None,
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
) -> Inverter:
    """An inverter, ready to use.

    Args:
        name_or_path: a key of `INVERTERS` or of `ENCODERS`, a file of either kind, or "samples" for a generator that
            has no encoder; a published encoder, or "e4e" for the one for faces, is fetched if it is not here.
        generator: what renders its codes; None takes the generator that belongs to it, e4e's from the same file.
        device: "cpu", "cuda", "mps"; where a generator is given, its own counts.
        weights: the file of an encoder that is named without one.

    Raises:
        UserError: as for `load_segmenter`; an encoder of another generator.
    """
    name = str(name_or_path)
    spec = ENCODERS.get(name)
    if spec and weights is None:
        weights = spec
    if weights is not None and spec is None:
        known = (*ENCODERS, *INVERTERS, SEARCH)
        fixed = name in known or Path(name).is_file()
        raise UserError(f"{name} takes no weights; leave them out." if fixed else unknown_name("inverter", name, known))
    if name == SEARCH:
        if generator is None:
            raise UserError(f"{SEARCH!r} looks among a generator's own samples; give it a generator.")
        return SampleInverter(generator)
    path, fingerprint, _ = find("inverter", weights or name, INVERTERS, also=(*ENCODERS, SEARCH))
    with open(path, "rb") as file:
        ours = file.read(9)[8:] == b"{"
    if spec is None and ours:
        return shipped_inverter(path, generator, device)
    return e4e_inverter(path, fingerprint, generator, device)


def shipped_inverter(path: Path, generator: Generator | None, device: str | torch.device) -> EncoderInverter:
    """The inverter of one of this project's encoders, for the very generator that it was trained with."""
    tensors, facts = read_safetensors(path, "encoder")
    if generator is None:
        owners = [name for name, spec in GENERATORS.items() if spec.weights.sha256 == facts.get("fingerprint")]
        if not owners:
            raise UserError(f"{path.name} inverts for {facts.get('generator')!r}; give that generator, too.")
        generator = load_generator(owners[0], device)
    if facts.get("fingerprint") != generator.fingerprint:
        raise UserError(f"{path.name} inverts for {facts.get('generator')!r}, not for {generator.name!r}.")
    encoder = frozen(build_encoder(tensors, facts), generator.device)
    return EncoderInverter(encoder, generator, Prior(encoder.centre, encoder.spread, facts["prior_weight"]))


def e4e_inverter(path: Path, fingerprint: str, generator: Generator | None, device: str | torch.device) -> E4EInverter:
    """The inverter of an e4e file, for the generator inside it or another one of the same shape."""
    found = read_e4e(path, generator=generator is None)
    if generator is None:
        generator = frozen(found.generator, device)
        generator.name, generator.fingerprint = path.stem, fingerprint
    encoder = frozen(found.encoder, generator.device)
    return E4EInverter(encoder, found.mean.to(generator.device), found.view, generator)


def load_editor(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    *,
    directions: str | Path | None = None,
    segmenter: str | None = None,
    dtype: str = AUTO,
) -> Editor:
    """Everything that belongs to a generator, ready to edit; fetched from the Hub if it is not here.

    Args:
        name_or_path: one of `generator_names()`, or a file or folder, whose faces are taken to be framed as FFHQ's.
        device: "cpu", "cuda", "mps".
        directions: a folder, a file, or OWNER/NAME on the Hub; None = those that ship, are published, or were found
            here.
        segmenter: name or file; None = the generator's own.
        dtype: see `formats.generators.Options`.

    Raises:
        UserError: an unknown name, a file that is damaged or cannot be had, directions of another generator, or no
            segmenter for a file.
    """
    spec, wanted = spec_of(name_or_path), segmenter_of(name_or_path, segmenter)
    source = directions or spec.directions
    given = read_gallery(source) if source else None
    generator, inverter = load_pair(str(name_or_path), spec, device, dtype)
    segmenter = load_segmenter(wanted, device, generator=generator)
    found = cached_directions(generator, segmenter) if given is None else check_directions(given, generator)
    frame = spec.frame or FfhqFrame(generator.resolution)
    metric_networks = MetricNetworks(
        local("lpips-vgg") or local("lpips-alex"), local("sface"), getattr(frame, "points", None)
    )
    return Editor(
        generator,
        inverter,
        segmenter,
        load_aligner(frame),
        found,
        search_config=spec.discover,
        metric_networks=metric_networks,
    )


def load_aligner(frame: AnyFrame) -> FaceAligner:
    """An aligner for a frame; faces are found by YuNet where its file is here, otherwise by what ships."""
    if not frame.faces:
        return FaceAligner(frame, None, None)
    landmarks = Landmarks(load_face_network("face-mesh", FaceMesh()))
    shipped = BlazeDetector(load_face_network("face-detector", BlazeFace()), landmarks)
    yunet = local("yunet")
    return FaceAligner(frame, landmarks, YuNet(yunet, shipped) if yunet else shipped)


def load_face_network(name: str, network: Network) -> Network:
    """A network that is a key of `FACES`, with its weights."""
    path, _, _ = find("face network", name, FACES)
    return frozen(load_tensors(network, read_safetensors(path, name)[0], f"a {name}"), "cpu")


def load_pair(name: str, spec: GeneratorSpec, device: str | torch.device, dtype: str) -> tuple[Generator, Inverter]:
    """A generator and its inverter; a file that holds both is read once."""
    if name not in CATALOG or spec.inverter not in CATALOG[name].within:
        generator = load_generator(name, device, dtype=dtype)
        return generator, load_inverter(spec.inverter or SEARCH, generator)
    inverter = load_inverter(spec.inverter, device=device)
    inverter.generator.name = name
    return inverter.generator, inverter


def directions_of(name_or_path: str | Path, source: str | Path | None = None) -> tuple[Direction, ...]:
    """A generator's directions without loading it: from a source, shipped, or found on this machine.

    Args:
        name_or_path: the generator.
        source: as for `read_gallery`; None = its own.

    Raises:
        UserError: an unknown name, no directions there, or a damaged one.
    """
    spec, name = spec_of(name_or_path), str(name_or_path)
    if source or spec.directions:
        return named_apart(read_gallery(source or spec.directions))
    path = local(name) if name in CATALOG else weights_file(Path(name))
    folder = gallery_folder(sha256_at(path)) if path else None
    if folder is None or not any(folder.glob("*.safetensors")):
        raise UserError(f"No directions of {name} were found on this machine; give a folder of them, or discover one.")
    return named_apart(load_directions(folder))


def find(
    kind: str, name_or_path: str | Path, table: Mapping[str, Weights], also: Iterable[str] = ()
) -> tuple[Path, str, str]:
    """Path, SHA-256 and name of a network's file: one that ships, one of `hub.CATALOG` (or fetched), or any other.

    A shipped or published file must have the SHA-256 it was registered with.

    `also`: more names that a person may have meant.
    """
    if str(name_or_path) in table:
        weights = table[str(name_or_path)]
        path, name = weights.path, str(name_or_path)
    elif str(name_or_path) in (published := names_of(kind)):
        path = fetch(str(name_or_path), report=Bar())
        return path, sha256_at(path), str(name_or_path)
    else:
        path, weights = Path(name_or_path), None
        name = path.stem
        if not path.is_file():
            raise UserError(unknown_name(kind, name_or_path, dict.fromkeys((*table, *also, *published))))
    if not path.is_file():
        raise UserError(f"{path.name} of {name} is missing from {path.parent}; get the repository again.")
    fingerprint = sha256_of(path)
    if weights and fingerprint != weights.sha256:
        raise UserError(f"{path.name} of {name} is damaged: its SHA-256 is {fingerprint}, expected {weights.sha256}.")
    return path, fingerprint, name


def frozen(network: Network, device: str | torch.device) -> Network:
    """The network in eval mode, without gradients for its weights, on the device."""
    return network.to(device).eval().requires_grad_(False)
