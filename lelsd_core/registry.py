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

from lelsd_core.directions import load_directions
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.faces import FaceAligner, Frame, Landmarks, build_landmarks
from lelsd_core.formats import Options, build_generator, read_checkpoint, use_half, weights_file
from lelsd_core.generators import Generator
from lelsd_core.inversion import EncoderInverter, Prior, build_encoder
from lelsd_core.segmenters import Segmenter
from lelsd_core.segmenters.files import NETWORKS, read_segmenter
from lelsd_core.weights import read_safetensors, sha256_of

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
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


GENERATORS: Mapping[str, GeneratorSpec] = {
    "digiface-64": GeneratorSpec(
        weights=Weights(
            "digiface-64/generator.safetensors", "2848cd892bbbe4bc159f8ebb8906098fa4fe56b77c482798a640071eff26a1bf"
        ),
        segmenter="digiface-parts",
        inverter="digiface-encoder",
        directions="digiface-64/directions",
        frame=Frame(64, ((22.3, 29.7), (41.8, 29.6), (32.1, 42.0), (24.2, 52.3), (40.1, 52.1))),
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
LANDMARKS: Mapping[str, Weights] = {
    "digiface-landmarks": Weights(
        "digiface-64/landmarks.safetensors", "4e6163e6938b4db066d1dbbbccee0aa1a5e6ae2881af65bfc1a1bc5989b1e290"
    )
}


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
    generator = frozen(build_generator(read_checkpoint(path), chosen, known=known), device)
    if generator.device.type != "cpu":
        use_half(generator, chosen.dtype)
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
        weights: the file of a network that is named without one.
        generator: whose features it will read; checked here where the file says which it must be.

    Raises:
        UserError: as for `load_generator`; weights missing or of another kind; a segmenter of another generator.
    """
    spec = NETWORKS.get(str(name_or_path))
    if spec and weights is None:
        raise UserError(
            f"{name_or_path} needs its weights: get {spec.file} from {spec.source} and give its path, as weights or "
            "instead of the name."
        )
    if weights is not None and spec is None:
        known = (*NETWORKS, *SEGMENTERS)
        fixed = str(name_or_path) in known or Path(name_or_path).is_file()
        reason = f"{name_or_path} has its own weights; leave weights out."
        raise UserError(reason if fixed else unknown_name("segmenter", name_or_path, known))
    path, fingerprint, name = find("segmenter", weights or name_or_path, SEGMENTERS, also=NETWORKS)
    segmenter = frozen(read_segmenter(path, spec), device)
    segmenter.name, segmenter.fingerprint = str(name_or_path) if spec else name, fingerprint
    if generator is not None and segmenter.needs:
        segmenter.check(generator)
    return segmenter


def load_inverter(name_or_path: str | Path, generator: Generator) -> EncoderInverter:
    """An inverter by name (a key of `INVERTERS`) or file, for the very generator it was trained with."""
    path, _, _ = find("inverter", name_or_path, INVERTERS)
    tensors, facts = read_safetensors(path, "encoder")
    if facts.get("fingerprint") != generator.fingerprint:
        raise UserError(f"{path.name} inverts for {facts.get('generator')!r}, not for {generator.name!r}.")
    encoder = frozen(build_encoder(tensors, facts), generator.device)
    return EncoderInverter(encoder, generator, Prior(encoder.centre, encoder.spread, facts["prior_weight"]))


def load_landmarks(name_or_path: str | Path, device: str | torch.device = "cpu") -> Landmarks:
    """A reader of five points by name (a key of `LANDMARKS`) or file."""
    path, _, _ = find("landmark network", name_or_path, LANDMARKS)
    return Landmarks(frozen(build_landmarks(*read_safetensors(path, "landmarks")), device))


def load_editor(name: str, device: str | torch.device = "cpu") -> Editor:
    """Everything that belongs to a named generator, ready to edit. UserError for an unknown name or damaged file."""
    spec = generator_spec(name)
    generator, segmenter = load_generator(name, device), load_segmenter(spec.segmenter, device)
    aligner = FaceAligner(spec.frame, load_landmarks("digiface-landmarks", device))
    directions = load_directions(CHECKPOINTS / spec.directions)
    return Editor(generator, load_inverter(spec.inverter, generator), segmenter, aligner, directions)


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
