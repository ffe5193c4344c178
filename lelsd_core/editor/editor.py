"""The editor: from a photo to an edited photo, and the discovery of new directions on the way.

    photo  --detect-->  faces  --invert-->  Session (latent codes)  --edit-->  edited face  --paste-->  edited photo

An `Editor` holds the models and is shared by all users. A `Session` holds one user's face and is never changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lelsd_core.directions import (
    Direction,
    check_reach,
    clamp_amounts,
    edited_codes,
    limited,
    moved_parts,
    regions_in,
)
from lelsd_core.discovery.config import PRESETS, DiscoverConfig, usual_preset
from lelsd_core.discovery.samples import LatestSamples
from lelsd_core.discovery.search import Progress, discover
from lelsd_core.discovery.starts import Measured, in_words, starts_of
from lelsd_core.editor.renderer import Renderer, check_strength, face_mask
from lelsd_core.editor.session import DetectedPhoto, Edit, InversionOptions, Locality, Session, describe_alignment
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.evaluation.metrics import MetricNetworks
from lelsd_core.faces import FaceAligner
from lelsd_core.faces.measures import SEEN, Faces, measure
from lelsd_core.generators.base import Generator
from lelsd_core.images import PhotoSource, check_size, to_photo, to_pil, to_tensor
from lelsd_core.inversion import Inversion, Inverter, closeness_of, likeness_weights
from lelsd_core.inversion.pivotal import STEPS as TUNING_STEPS
from lelsd_core.inversion.pivotal import Tuning, check_tunable, tune
from lelsd_core.inversion.refine import STEPS, SURROUNDINGS_WEIGHT
from lelsd_core.local import EditedCodes
from lelsd_core.localization import COMBINE, localization_score
from lelsd_core.paste import PASTE, USUAL
from lelsd_core.seeds import FACES
from lelsd_core.segmenters import FeatureSegmenter, Segmenter, adapt, part_mask, split_by
from lelsd_core.transfer import BEHIND, part_named, taken

if TYPE_CHECKING:
    from lpips import LPIPS

    from lelsd_core.galleries.shelf import Recipe

PREVIEW_SIZE = 256  # pixels
DARK = -0.4  # mean of a picture in [-1, 1] below which a face is too dark
MOST_TURN = 0.2  # by which two faces may be turned apart for a part of one to fit the other, see `measures`
REPORT_EVERY = 60  # inversion steps between two sessions, at most
LOW_RESOLUTION_STEPS = 40  # of a balanced refinement at the preview's size
PERCEPTUAL_FROM = 128  # pixels: LPIPS says little about smaller pictures, and costs more there than the generator


class Editor:
    """All models of one generator, and everything that can be done with them. Safe to share between threads.

    Args:
        generator, inverter, segmenter, aligner: loaded, and made for each other.
        directions: the directions that sessions start with; each must have been made for this generator.
        recipes: edits that combine these directions, by name.
        search_config: defaults of a discovery with this generator, of global moves.
        shape_config: the same for local moves; None = `DiscoverConfig.shapes`.
        shaped: parts for which a discovery looks for local moves, unless it is told otherwise.
        measured: file of what samples show, for named starts, see `discovery.starts`; None = measure some then.
        metric_networks: networks that measure the quality of an inversion; LPIPS also guides it.
        refinement_steps: of a balanced refinement on a CPU; None = `inversion.refine.STEPS`, as on other devices.
        preview: width in pixels of a preview, for generators that make a smaller picture on the way.
    """

    def __init__(
        self,
        generator: Generator,
        inverter: Inverter,
        segmenter: Segmenter,
        aligner: FaceAligner,
        directions: Sequence[Direction],
        *,
        recipes: Mapping[str, Recipe] | None = None,
        search_config: DiscoverConfig | None = None,
        shape_config: DiscoverConfig | None = None,
        shaped: Collection[str] = (),
        measured: Path | None = None,
        metric_networks: MetricNetworks | None = None,
        refinement_steps: int | None = None,
        preview: int = PREVIEW_SIZE,
    ) -> None:
        for direction in directions:
            direction.check(generator)
        self.generator, self.inverter, self.segmenter, self.aligner = generator, inverter, adapt(segmenter), aligner
        self.directions, self.recipes = tuple(directions), dict(recipes or {})
        self.search_config = search_config or DiscoverConfig()
        self.shape_config, self.shaped = shape_config or DiscoverConfig.shapes(generator), frozenset(shaped)
        self.metric_networks = metric_networks or MetricNetworks()
        self.measured = measured
        self.refinement_steps, self.preview_size = refinement_steps, preview
        self.whole_parts = self.segmenter  # without regions, for photos
        self._find(regions_in(directions))

    def _find(self, regions: Sequence[FeatureSegmenter]) -> None:
        """Know some regions, with a renderer and samples that do so, too."""
        self.segmenter = split_by(self.segmenter, regions).to(self.generator.device)
        self.renderer = Renderer(self.generator, self.segmenter, self.preview_size)
        self.samples = LatestSamples()

    def __repr__(self) -> str:
        size, names = self.generator.resolution, ", ".join(direction.name for direction in self.directions)
        return f"Editor({self.generator.name}, {size} × {size} pixels, on {self.generator.device}, directions: {names})"

    def with_directions(self, directions: Sequence[Direction]) -> Editor:
        """A new editor with the same models and more directions."""
        for direction in directions:
            direction.check(self.generator)
        editor = copy(self)
        editor.directions = (*self.directions, *directions)
        return editor.knowing(regions_in(directions))

    def knowing(self, regions: Sequence[FeatureSegmenter]) -> Editor:
        """An editor that knows some regions: this one if it does, else another one with the same models.

        UserError for two different regions of one name, or the name of a part.
        """
        if split_by(self.segmenter, regions) is self.segmenter:
            return self
        editor = copy(self)
        editor._find(regions)
        return editor

    def update_session(self, session: Session) -> Session:
        """The session with those of the editor's directions that it does not have yet, perhaps limited to layers."""
        present = session.directions
        new = [d for d in self.directions if not any(d.moves_like(replace(p, layers=d.layers)) for p in present)]
        return session.with_directions(new) if new else session

    # ------------------------------------------------------------------------------------------ photo -> session

    def open(
        self, photo: PhotoSource | DetectedPhoto, options: InversionOptions | None = None, *, steps: int | None = None
    ) -> Session:
        """Align and invert a face of a photo.

        Args:
            photo: path, open file, PIL image of any mode, uint8 array (H, W, 3) or (H, W), or a result of `detect`.
            options: which face, how it is aligned and inverted; None = the largest face with default settings.
            steps: refinement steps, instead of the options' number.

        Raises:
            UserError: not a photo, no face in it, or fewer faces than the options ask for.
        """
        options = options or InversionOptions()
        *_, session = self.invert(photo, options if steps is None else replace(options, steps=steps))
        return session

    def invert(
        self,
        photo: PhotoSource | DetectedPhoto,
        options: InversionOptions | None = None,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Session]:
        """Invert step by step: first the encoder's guess, then refined codes, then the generator tuned to the person.

        The photo is aligned and encoded once, before the first session. On a CPU, large StyleGAN2 generators are
        refined at the preview's size and with fewer steps. Arguments and errors as for `open`; `stop` is asked after
        each step of the optimiser, and ends the iteration by returning True.
        """
        start = time.perf_counter()
        options = options or InversionOptions()
        self.check(options)
        detected = photo if isinstance(photo, DetectedPhoto) else self.detect(photo, options.aligned)
        face = self.aligner.cut(detected.photo, detected.candidate(options.face), options.nudge)
        has_face = self.aligner.frame.faces
        note = describe_alignment(face, options.face) if has_face else "The middle of this picture is used."
        target = face.picture.to(self.generator.device)
        encoder_metrics, seconds = None, 0.0
        for inversion, tuning, is_last in self._inversions(target, options, stop):
            session, picture = self._session(inversion.codes, inversion.space, note, tuning)
            untuned = picture if tuning is None else self.synthesize(inversion.codes, inversion.space)
            metrics = self.metric_networks.measure(target, picture) if is_last or encoder_metrics is None else None
            encoder_metrics = encoder_metrics or metrics
            l1 = float((untuned - target).abs().mean())
            session = replace(session, photo=face.photo, matrix=face.matrix, inversion_l1=l1)
            seconds += time.perf_counter() - start
            yield replace(session, encoder_metrics=encoder_metrics, metrics=metrics, seconds=seconds)
            start = time.perf_counter()  # the time until the next session is asked for does not count

    def detect(self, photo: PhotoSource, aligned: bool | None = None) -> DetectedPhoto:
        """Find all faces of a photo; `aligned` as in `InversionOptions`. UserError if there is no face."""
        image = to_photo(photo)
        check_size(*image.size)
        return DetectedPhoto(image, tuple(self.aligner.find(image, aligned=aligned)))

    def check(self, options: InversionOptions) -> None:
        """UserError for an unknown closeness, or tuning of a generator that cannot be tuned."""
        closeness_of(options.closeness)
        if options.tune:
            check_tunable(self.generator)

    def check_edit(self, amounts: Mapping[str, float], layers: Mapping[str, Sequence[str]] | None = None) -> None:
        """UserError for directions that do not exist, have no such layers, or cannot act on an inverted photo.

        And for parts of made-up faces that the segmenter does not know.
        """
        for asked in filter(None, map(part_named, amounts)):
            self.segmenter.parts.channels(asked.part)
        for direction in limited(self.directions, layers or {}):
            direction.check(self.generator)
            if amounts.get(direction.name):
                what = f"The direction {direction.name!r}"
                check_reach(self.generator, direction.space, self.inverter.space, what=what)

    @property
    def can_tune(self) -> bool:
        """Whether the generator's weights can be tuned to a person."""
        return bool(self.generator.tunable_parts())

    @property
    def refinement_size(self) -> int | None:
        """Width in pixels at which inversions are refined; None = at full resolution."""
        small = self.generator.device.type == "cpu" and self.generator.running_layer(self.preview_size)
        return self.preview_size if small else None

    @property
    def perceptual(self) -> LPIPS | None:
        """The network of LPIPS that guides inversions; None for small pictures."""
        small = self.generator.resolution < PERCEPTUAL_FROM
        return None if small else self.metric_networks.perceptual(self.generator.device)

    def steps_of(self, options: InversionOptions) -> int:
        """Number of refinement steps."""
        if options.steps is not None:
            return options.steps
        on_cpu = self.refinement_steps if self.generator.device.type == "cpu" else None
        usual = LOW_RESOLUTION_STEPS if self.refinement_size else on_cpu or STEPS
        return round(usual * closeness_of(options.closeness).steps)

    def _inversions(
        self, target: Tensor, options: InversionOptions, stop: Callable[[], bool]
    ) -> Iterator[tuple[Inversion, Tuning | None, bool]]:
        """Better and better codes for a face (1, 3, R, R), their tuning, and whether they are the last ones."""
        guess = self.inverter.encode(target)
        surroundings = 1.0 if self.perceptual is None else SURROUNDINGS_WEIGHT
        weights, size = likeness_weights(self.whole_parts, target, surroundings), self.refinement_size
        steps = self.steps_of(options)
        every = min(REPORT_EVERY, max(1, steps // 4))
        yield guess, None, not steps and not options.tune
        likeness = {"weights": weights, "perceptual": self.perceptual}
        refinement = {"steps": steps, "closeness": options.closeness, "side": size}
        for inversion in self.inverter.refine(target, guess, **refinement, **likeness):
            if stop():
                return
            if inversion.step and (inversion.step == steps or inversion.step % every == 0):
                yield inversion, None, inversion.step == steps and not options.tune
        if options.tune:
            for tuning in tune(self.generator, target, inversion.codes, inversion.space, **likeness):
                if stop():
                    return
                if tuning.step and (tuning.step == TUNING_STEPS or tuning.step % REPORT_EVERY == 0):
                    yield inversion, tuning, tuning.step == TUNING_STEPS

    def _session(self, codes: Tensor, space: str, note: str, tuning: Tuning | None = None) -> tuple[Session, Tensor]:
        """A session of codes (1, D), and the picture (1, 3, R, R) that they render to, which is kept for its edits."""
        codes = codes.cpu()
        unedited = (codes, space), edited_codes(self.generator, codes.to(self.generator.device), space, (), ())
        picture = self.renderer.edited(*unedited, tuning)
        session = Session(codes, space, self.directions, to_pil(picture), note=note, tuning=tuning)
        preview = self.renderer.preview(*unedited, tuning)
        return replace(session, preview=preview, generator=self.generator.name), picture

    def warm_up(self) -> None:
        """Run one refinement step, so that the first inversion need not wait for torch to load its optimisers."""
        session = self.random_face(0)
        face = self.synthesize(session.codes, session.space).clone()
        guess = Inversion(session.codes.to(self.generator.device), session.space, 0.0)
        options = {"steps": 1, "side": self.refinement_size, "perceptual": self.perceptual}
        for _ in self.inverter.refine(face, guess, **options):
            pass

    # ---------------------------------------------------------------------------------------- session -> picture

    def moved_codes(self, session: Session, amounts: Mapping[str, float]) -> EditedCodes:
        """Codes (1, D) of the finest space moved by amounts by direction name.

        UserError for an unknown direction, or one that cannot act on this face (see `directions.check_reach`).
        """
        amounts = clamp_amounts(session.directions, amounts)
        moving = [direction for direction in session.directions if amounts.get(direction.name)]
        codes, steps = session.codes.to(self.generator.device), [amounts[direction.name] for direction in moving]
        origin = {"sampled": session.sampled, "truncation": session.truncation}
        return edited_codes(self.generator, codes, session.space, moving, steps, **origin)

    def synthesize(self, codes: Tensor, space: str, tuning: Tuning | None = None) -> Tensor:
        """Codes (B, D) -> pictures (B, 3, R, R), about [-1, 1]."""
        return self.renderer.pictures(codes, space, tuning)

    def render(self, session: Session, amounts: Mapping[str, float], *, protect: float = 0.0) -> Image.Image:
        """The edited face at the generator's resolution, without its locality; arguments as for `edit`."""
        if protect:
            return self.edit(session, amounts, protect=protect).picture
        return to_pil(self.edited_picture(session, amounts))

    def edited_picture(self, session: Session, amounts: Mapping[str, float]) -> Tensor:
        """The edited face (1, 3, R, R), about [-1, 1]; arguments and errors as for `edit`."""
        unedited, edited = (session.codes, session.space), self.moved_codes(session, amounts)
        return self.renderer.edited(unedited, edited, session.tuning)

    def preview(self, session: Session, amounts: Mapping[str, float]) -> Image.Image:
        """The edited face at the preview's size, for a slider in motion; full size if the generator has no preview.

        The unedited picture to compare it with is `session.preview`, or `session.original` if that is None.
        """
        edit = (session.codes, session.space), self.moved_codes(session, amounts), session.tuning
        return self.renderer.preview(*edit) or to_pil(self.renderer.edited(*edit))

    @torch.inference_mode()
    def edit(self, session: Session, amounts: Mapping[str, float], *, protect: float = 0.0) -> Edit:
        """Edit a face and measure where it changed.

        Args:
            session: the face.
            amounts: by direction name, each clamped to its slider range; directions left out stay at 0.
            protect: share of the change outside the edited parts that is removed, 0 (off) to 1.

        Raises:
            UserError: an unknown direction, or a protection out of range.
        """
        check_strength(protect)
        amounts = clamp_amounts(session.directions, amounts)
        if not any(amounts.values()):
            return Edit(session.original, None)
        parts = moved_parts(session.directions, amounts)
        unedited, edited = (session.codes, session.space), self.moved_codes(session, amounts)
        pictures, masks = self.renderer.edited_with_masks(unedited, edited, parts, session.tuning, protect)
        before, after = pictures.split(1)
        mask = COMBINE["average"](*masks.split(1))
        score, outside = float(localization_score(before, after, mask)), 1 - F.interpolate(mask, before.shape[-2:])
        change = float(((after - before).abs() * outside).sum() / (3 * outside.sum()).clamp_min(1))
        return Edit(to_pil(after), Locality(parts, score, float(mask.mean()), change / 2))

    @torch.inference_mode()
    def part_labels(self, session: Session) -> np.ndarray:
        """The part of each place of an unedited face: (h, w) numbers of the segmenter's parts."""
        face = self.renderer.unedited((session.codes, session.space), session.tuning)
        return face.probabilities[0].argmax(0).cpu().numpy()

    def likeness(self, session: Session, edited: Image.Image) -> float | None:
        """How alike the face before and after an edit are: 1 = equal, see `evaluation.identity`; None if not faces."""
        return self.metric_networks.likeness(to_tensor(session.original), to_tensor(edited))

    @torch.inference_mode()
    def paste(
        self,
        session: Session,
        photo: PhotoSource | DetectedPhoto,
        edited: Edit | Image.Image,
        amounts: Mapping[str, float] | None = None,
        *,
        how: str = USUAL,
    ) -> Image.Image:
        """Paste an edited face into its photo.

        Args:
            session: the face, opened from this photo.
            photo: the whole photo, as for `open`.
            edited: what `edit` or `render` returned.
            amounts: what `render` was given, by direction name; an `Edit` knows its parts itself.
            how: key of `paste.PASTE`: "detail" and "change" add the change to the photo, whose detail moves with the
                shapes or stays; "replace" replaces the face.

        Returns:
            RGB, the photo's size.

        Raises:
            UserError: another `how`, or a random face, which has no photo.
        """
        if how not in PASTE:
            raise UserError(unknown_name("way to paste", how, PASTE))
        if session.matrix is None:
            raise UserError("A random face has no photo to be pasted into; open a photo first.")
        parts = moved_parts(session.directions, amounts or {})
        if isinstance(edited, Edit):
            edited, parts = edited.picture, edited.locality.parts if edited.locality else parts
        mask = None
        if how == "replace" and not self.whole_parts.needs:
            probabilities = self.whole_parts.segment(to_tensor(edited).to(self.generator.device))
            parts = [part for part in parts if part in self.whole_parts.parts]
            mask = face_mask(probabilities, self.whole_parts.parts, parts)
        image = photo.photo if isinstance(photo, DetectedPhoto) else to_photo(photo)
        return PASTE[how](image, session.original, edited, session.matrix, mask)

    # ------------------------------------------------------------------------------- parts of another face

    @torch.inference_mode()
    def take(self, session: Session, part: str, other: Session) -> Session:
        """A face with a part of another one, as two more directions of amounts from 0 to 1; see `transfer`.

        They are named "mouth-shape-from-seed-7" and "mouth-look-from-seed-7", or "from-photo", with a number at the end
        if a name is taken.

        Args:
            session: the face.
            part: of the segmenter, or a group of them.
            other: another face, opened or made up by the same model.

        Raises:
            UserError: an unknown part, a face of another model, one that does not show the part, or that looks another
                way.
        """
        self.segmenter.parts.channels(part)
        for face in (session, other):
            if face.generator != self.generator.name:
                raise UserError(
                    f"A part can be taken from faces of the same model; this one is of {face.generator!r}, not of "
                    f"{self.generator.name!r}. Open both with one model."
                )
        face = self.renderer.unedited((other.codes, other.space), other.tuning)
        mask = part_mask(face.probabilities, self.segmenter.parts, part)
        if mask.mean() < SEEN:
            raise UserError(f"The other picture shows no {part} to take; choose another picture, or another part.")
        if part != BEHIND:
            self._check_turn(session, other)
        source = ("face" if other.photo is None else "photo") if other.seed is None else other.seed
        return session.with_directions(taken(self.generator, self.shape_config, part, face.codes, mask, source))

    def with_takes(self, session: Session, names: Collection[str]) -> Session:
        """A face with those parts of made-up faces that names ask for, as "hair-look-from-seed-7"; errors as `take`."""
        for name in names:
            present = {direction.name for direction in session.directions}
            if (asked := part_named(name)) and name not in present:
                session = self.take(session, asked.part, self.random_face(asked.seed))
        return session

    def _check_turn(self, *faces: Session) -> None:
        """UserError if two faces look different ways."""
        if self.aligner is None or not self.aligner.frame.faces:
            return
        pictures = torch.cat([to_tensor(face.original) for face in faces])
        points = self.aligner.mesh(pictures) / pictures.shape[-1]
        turns = measure(Faces(points), ["turn"])[:, 0]
        if (apart := float(turns.diff().abs())) > MOST_TURN:  # NaN where no face is seen
            raise UserError(
                f"The other face looks another way (its nose is {apart:.0%} of the eye distance further to one side); "
                "choose one that is turned as this one is."
            )

    # ---------------------------------------------------------------------------- random faces and discovery

    def random_face(self, seed: int, truncation: float | None = None) -> Session:
        """A session of a random face; the same for the same seed.

        Args:
            seed: of its code.
            truncation: 1 = all the generator's variety, 0 = its mean face; None = the generator's usual one.
        """
        note = f"A face that the generator made up, seed {seed}."
        session, _ = self._session(*self._random_codes(seed, truncation), note)
        used = self.generator.usual_truncation if truncation is None else truncation
        known = seed if used == self.generator.usual_truncation else None
        return replace(session, sampled=self.generator.sample([seed]).cpu(), truncation=used, seed=known)

    @torch.no_grad()
    def _random_codes(self, seed: int, truncation: float | None = None) -> tuple[Tensor, str]:
        """Codes (1, D) of a seed in the finest space, and that space; truncation as for `random_face`."""
        generator, finest = self.generator, self.generator.space_names[-1]
        used = generator.usual_truncation if truncation is None else truncation
        return generator.sample_in(finest, [seed], truncation=used), finest

    def find_clear_seed(self, random: np.random.Generator, tries: int = 20) -> int:
        """Seed of a random frontal, well-lit face; the last seed tried if none of them is."""
        for _ in range(tries):
            seed = int(random.integers(len(FACES)))
            picture = self.synthesize(*self._random_codes(seed))
            if not self.aligner.frame.faces or (picture.mean() > DARK and self.aligner.in_place(picture, 0.1)):
                break
        return seed

    def config_for(self, parts: Collection[str], preset: str | None = None) -> DiscoverConfig:
        """The settings of a discovery for some parts, by one of `PRESETS`; None = by `usual_preset`.

        UserError for an unknown preset.
        """
        preset = preset or usual_preset(parts, self.shaped)
        if preset not in PRESETS:
            raise UserError(unknown_name("preset", preset, PRESETS))
        if preset == "paper":
            return DiscoverConfig.paper(self.generator, parts=tuple(parts), micro=self.search_config.micro)
        return replace(self.shape_config if preset == "shape" else self.search_config, parts=tuple(parts))

    def discover(self, session: Session, config: DiscoverConfig) -> Iterator[tuple[Progress, Session]]:
        """Search for new directions; each step comes with the session that has them as its last directions.

        Unedited samples rendered for the previous search are used again where the configuration allows it.
        """
        config = config.check(self.generator, self.segmenter)
        check_reach(self.generator, config.space, session.space, session.sampled is not None)
        samples = self.samples.fitting(self.generator, self.segmenter, config)
        measured = Measured.load(self.measured, self.generator) if config.start and self.measured else None
        starts = starts_of(config, self.generator, self.segmenter, self.aligner, measured)
        vectors = [start.vector for start in starts]
        for progress in discover(self.generator, self.segmenter, config, samples=samples, starts=vectors):
            yield progress, session.with_directions(in_words(progress.directions, starts))

    def calibrate(self, direction: Direction, seeds: Sequence[int]) -> Direction:
        """The direction with its slider range and held-out scores, measured on the samples of `seeds`."""
        return calibrate(self.generator, self.segmenter, direction, seeds, aligner=self.aligner)
