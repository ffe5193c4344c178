"""What can be loaded by name, and how: plain tables of frozen specs, and one loader for each kind of network.

name or path  --find-->  file  --check SHA-256, read as data-->  tensors  --build-->  network, eval, no gradients
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lelsd_core.cache import sha256_of
from lelsd_core.device import AUTO, dtype_on, on_device
from lelsd_core.directions import load_directions
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.faces import FaceAligner, Frame
from lelsd_core.formats import Options, build_generator, read_checkpoint, use_half, weights_file
from lelsd_core.generators import Generator
from lelsd_core.inversion import E4EInverter, EncoderInverter, GuessingInverter, Prior, SampleInverter, build_encoder
from lelsd_core.inversion.files import read_e4e
from lelsd_core.segmenters import Segmenter
<<<<<<< HEAD
from lelsd_core.segmenters.files import NETWORKS, read_segmenter, torchvision_file
from lelsd_core.weights import read_safetensors
=======
from lelsd_core.segmenters.files import NETWORKS, read_segmenter
from lelsd_core.segmenters.torchvision_weights import OFFERED, TORCHVISION, torchvision_file
from lelsd_core.weights import read_safetensors, sha256_of
>>>>>>> four

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
DOWNLOADS = f", or give {TORCHVISION} as weights to download it"
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """A weights file that ships: its path below checkpoints/ and its SHA-256."""

    file: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return CHECKPOINTS / self.file


@dataclass(frozen=True)
class GeneratorSpec:
    """A named generator and what belongs to it.

    Args:
        weights: its file.
        segmenter, inverter: keys of `SEGMENTERS` and `INVERTERS`.
        directions: folder of its shipped directions, below checkpoints/.
        frame: where its faces are.
        discover: what a discovery uses unless told otherwise.
        first_seed: a made-up face worth opening with.
        about: one sentence for people, weights' and training data's licences included.
    """

    weights: Weights
    segmenter: str
    inverter: str
    directions: str
    frame: Frame
    discover: DiscoverConfig
    first_seed: int
    about: str


@dataclass(frozen=True)
class EncoderSpec:
    """A published encoder whose weights everybody gets for themselves: what to get, where, and what it is."""

    file: str
    source: str
    about: str


GENERATORS: Mapping[str, GeneratorSpec] = {
    "digiface-64": GeneratorSpec(
        weights=Weights(
            "digiface-64/generator.safetensors", "2848cd892bbbe4bc159f8ebb8906098fa4fe56b77c482798a640071eff26a1bf"
        ),
        segmenter="digiface-parts",
        inverter="digiface-encoder",
        directions="digiface-64/directions",
        frame=Frame(64, ((22.4, 30.0), (41.9, 30.0), (32.4, 39.5), (32.4, 53.3))),
        discover=DiscoverConfig(slots=("*.gain",)),
        first_seed=47,
        about="DCGAN for 64-pixel faces; weights MIT, trained on DigiFace-1M, which is for non-commercial research.",
    ),
}
SEGMENTERS: Mapping[str, Weights] = {
    "digiface-parts": Weights(
        "digiface-64/segmenter.safetensors", "6442ffc955b9a82276586eba031e342c0d71ca06d8cc86018b066a61649fa2a6"
    )
}
INVERTERS: Mapping[str, Weights] = {
    "digiface-encoder": Weights(
        "digiface-64/encoder.safetensors", "6968d88fa21c46505f39deee7ade4f473b1e7b39dd2a1be277da1122d52ff491"
    )
}
ENCODERS: Mapping[str, EncoderSpec] = {
    "e4e": EncoderSpec(
        file="e4e_ffhq_encode.pt",
        source="https://huggingface.co/public-data/e4e",
        about="e4e for faces, cars, churches or horses, as the file is; code MIT, its StyleGAN2 non-commercial.",
    )
}
SEARCH = "samples"


def generator_spec(name: str) -> GeneratorSpec:
    """What belongs to a named generator. UserError for an unknown name."""
    if name not in GENERATORS:
        raise UserError(unknown_name("generator", name, GENERATORS))
    return GENERATORS[name]


def load_generator(name_or_path: str | Path, device: str | torch.device = "cpu", **options: Any) -> Generator:
    """A generator, ready to render.

    Args:
        name_or_path: a key of `GENERATORS`, or a file or folder in any format of `formats`.
        device: "cpu", "cuda", "mps".
        options: fields of `formats.Options`: noise, noise_seed, class_index, truncation, dtype.

    Raises:
        UserError: no such name or file, a damaged or foreign file, or an option that the model does not take.
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
        weights: the file or folder of a network that is named without one; "torchvision" downloads it as torchvision
            does, where torchvision has it.
        generator: whose features it will read; checked here where the file says which it must be.

    Raises:
        UserError: as for `load_generator`; weights missing or of another kind; a segmenter of another generator.
    """
    spec = NETWORKS.get(str(name_or_path))
    if spec and weights is None:
        raise UserError(
            f"{name_or_path} needs its weights: get {spec.file} from {spec.source} and give its path as weights"
            f"{DOWNLOADS if str(name_or_path) in OFFERED else ''}."
        )
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


def load_inverter(
    name_or_path: str | Path,
    generator: Generator | None = None,
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
) -> GuessingInverter:
    """An inverter, ready to use.

    Args:
        name_or_path: a key of `INVERTERS` or of `ENCODERS`, a file of either kind, or "samples" for a generator that
            has no encoder.
        generator: what renders its codes; None takes the generator that belongs to it, e4e's from the same file.
        device: "cpu", "cuda", "mps"; where a generator is given, its own counts.
        weights: the file of an encoder that is named without one.

    Raises:
        UserError: as for `load_segmenter`; an encoder of another generator.
    """
    name = str(name_or_path)
    spec = ENCODERS.get(name)
    if spec and weights is None:
        raise UserError(f"{name} needs its weights: get {spec.file} from {spec.source} and give its path as weights.")
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
    name: str, device: str | torch.device = "cpu", *, directions: str | Path | None = None, dtype: str = AUTO
) -> Editor:
    """Everything that belongs to a named generator, ready to edit.

    Args:
        name: a key of `GENERATORS`.
        device: "cpu", "cuda", "mps".
        directions: a folder with directions of one's own; None = those that ship.
        dtype: see `formats.Options`.

    Raises:
        UserError: an unknown name, a damaged file, or directions of another generator.
    """
    spec = generator_spec(name)
    found = load_directions(directions or CHECKPOINTS / spec.directions)
    generator, segmenter = load_generator(name, device, dtype=dtype), load_segmenter(spec.segmenter, device)
    aligner = FaceAligner(spec.frame, segmenter.parts, on_device(segmenter.segment_image, device))
    return Editor(generator, load_inverter(spec.inverter, generator), segmenter, aligner, found)


def find(
    kind: str, name_or_path: str | Path, table: Mapping[str, Weights], also: Iterable[str] = ()
) -> tuple[Path, str, str]:
    """Path, SHA-256 and name of a network's file; a shipped file must have the SHA-256 it was registered with.

    `also`: more names that a person may have meant.
    """
    if str(name_or_path) in table:
        weights = table[str(name_or_path)]
        path, name = weights.path, str(name_or_path)
    else:
        path, weights = Path(name_or_path), None
        name = path.stem
        if not path.is_file():
            raise UserError(unknown_name(kind, name_or_path, (*table, *also)))
    if not path.is_file():
        raise UserError(f"{path.name} of {name} is missing from {path.parent}; get the repository again.")
    fingerprint = sha256_of(path)
    if weights and fingerprint != weights.sha256:
        raise UserError(f"{path.name} of {name} is damaged: its SHA-256 is {fingerprint}, expected {weights.sha256}.")
    return path, fingerprint, name


def frozen(network: Network, device: str | torch.device) -> Network:
    """The network in eval mode, without gradients for its weights, on the device."""
    return network.to(device).eval().requires_grad_(False)
