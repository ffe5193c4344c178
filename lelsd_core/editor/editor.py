"""The whole path as a few methods: photo -> face -> codes -> moved codes -> picture, and a live discovery.

An `Editor` holds the models and is shared by everybody; all that changes in it is a shelf of untouched samples, from
which the next discovery takes what the one before has made. A `Session` holds one person's face, codes
and directions; it is small, and every change makes a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import LatestSamples
from lelsd_core.discovery.search import Progress, discover
from lelsd_core.editor.painter import PREVIEW, Painter
from lelsd_core.editor.protect import likeness_weights
from lelsd_core.editor.session import DetectedPhoto, Edit, InversionOptions, Locality, Session, describe
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.evaluation.metrics import MetricNetworks
from lelsd_core.faces import AlignedFace, FaceAligner
from lelsd_core.generators.base import Generator
from lelsd_core.generators.stylegan2 import StyleGAN2
from lelsd_core.images import to_pil
from lelsd_core.inversion import Inversion, Inverter, closeness_of
from lelsd_core.inversion.pivotal import STEPS as TUNING_STEPS
from lelsd_core.inversion.pivotal import Tuning, tunable, tune
from lelsd_core.segmenters import Segmenter

__all__ = ["DetectedPhoto", "Edit", "Editor", "InversionOptions", "Locality", "Session"]

MOST_SEED = 100_000  # of random faces; below the seeds that directions are learned from and measured on
MIDDLE = "The middle of this picture is used."  # the note where no face is looked for
DARK = -0.4  # mean of a picture in [-1, 1]
EVERY = 60  # steps of an inversion between two sessions, at most
SKETCHED_STEPS = 40  # of a refinement at the preview's size, on a CPU


class Editor(Painter):
    """The models and what can be done with them.

    Args:
        generator, inverter, segmenter, aligner: loaded and matching.
        directions: shipped directions, each made for this very generator.
        search_config: what a discovery with this generator uses unless told otherwise.
        metric_networks: tells how true an inversion is.
        preview: pixels of a preview, for generators that can stop there.
    """

    def __init__(
        self,
        generator: Generator,
        inverter: Inverter,
        segmenter: Segmenter,
        aligner: FaceAligner,
        directions: Sequence[Direction],
        *,
        search_config: DiscoverConfig | None = None,
        metric_networks: MetricNetworks | None = None,
        preview: int = PREVIEW,
    ) -> None:
        super().__init__(generator, segmenter, preview)
        for direction in directions:
            direction.check(generator)
        self.inverter, self.aligner, self.directions = inverter, aligner, tuple(directions)
        self.search_config, self.metric_networks, self.samples = (
            search_config or DiscoverConfig(),
            metric_networks or MetricNetworks(),
            LatestSamples(),
        )

    def with_directions(self, found: Sequence[Direction]) -> Editor:
        """The same models with more directions; this editor stays as it is."""
        for direction in found:
            direction.check(self.generator)
        longer = copy(self)
        longer.directions = (*self.directions, *found)
        return longer

    def update_session(self, session: Session) -> Session:
        """The session with the editor's directions that came after it was opened, behind those that it has."""
        there = [direction.vector for direction in session.directions]
        new = [d for d in self.directions if not any(torch.equal(d.vector, vector) for vector in there)]
        return session.with_directions(new) if new else session

    def warm_up(self) -> None:
        """Do once what a first inversion would wait for: torch's optimisers import a second's worth of modules."""
        session = self.random_face(0)
        start = Inversion(session.codes.to(self.generator.device), session.space, 0.0)
        face = self.synthesize(session.codes, session.space).clone()
        for _ in self.inverter.refine(face, start, steps=1, side=self.refined_at):
            pass

    def open(
        self, photo: Image.Image | DetectedPhoto, fit: InversionOptions | None = None, *, steps: int | None = None
    ) -> Session:
        """Align a face of a photo (RGB) and invert it.

        Args:
            photo: RGB, or what `look` made of it.
            fit: which face, and how; None takes the largest one as found.
            steps: of the refinement, over the fit's.

        Raises:
            UserError: no face, or fewer than asked for.
        """
        fit = fit or InversionOptions()
        *_, session = self.invert(photo, fit if steps is None else replace(fit, steps=steps))
        return session

    def invert(self, photo: Image.Image | DetectedPhoto, fit: InversionOptions | None = None) -> Iterator[Session]:
        """The same, a first session at once from the inverter's guess and better ones every few steps."""
        fit = fit or InversionOptions()
        began = time.perf_counter()
        source = photo if isinstance(photo, DetectedPhoto) else self.detect(photo, fit.aligned)
        yield from self.invert_face(self.cut(source, fit), fit, began)

    def detect(self, photo: Image.Image, aligned: bool | None = None) -> DetectedPhoto:
        """Find what can be taken from a photo (RGB); `aligned` as in `InversionOptions`. UserError if there is no face."""
        return DetectedPhoto(photo, tuple(self.aligner.find(photo, aligned=aligned)))

    def cut(self, source: DetectedPhoto, fit: InversionOptions) -> AlignedFace:
        """One face of a photo in the generator's frame; nothing is looked for again. UserError: no such face."""
        return self.aligner.cut(source.photo, source.candidate(fit.face), fit.nudge)

    @property
    def tunable(self) -> bool:
        """Whether the generator can be tuned to a person."""
        return isinstance(self.generator, StyleGAN2)

    def check(self, fit: InversionOptions) -> None:
        """UserError for a fit that this generator cannot have."""
        closeness_of(fit.closeness)
        if fit.tune:
            tunable(self.generator)

    def invert_face(self, face: AlignedFace, fit: InversionOptions, began: float | None = None) -> Iterator[Session]:
        """Codes for an aligned face: the guess at once, then refined, then the generator tuned where that is wanted.

        Args:
            face: from `cut`.
            fit: how close, in how many steps, tuned or not.
            began: when the clock of `Session.seconds` started; None = now.

        On a CPU a large StyleGAN2 is refined at the preview's size, in fewer steps (see `inversion.sketch`).
        """
        self.check(fit)
        began = time.perf_counter() if began is None else began
        picture = face.picture.to(self.generator.device)
        empty = Session(torch.empty(0), "", (), face.photo, face.photo, face.matrix)
        empty = replace(empty, note=describe(face, fit.face) if self.aligner.frame.faces else MIDDLE)
        for found, tuning, last in self.codes_of(picture, fit):
            made = self.synthesize(found.codes, found.space, tuning)
            untuned = made if tuning is None else self.synthesize(found.codes, found.space)
            judged = self.metric_networks(picture, made) if last or empty.encoder_metrics is None else None
            empty = replace(empty, encoder_metrics=empty.encoder_metrics or judged)
            session = self.session_of(found, empty, made, tuning)
            l1, seconds = float((untuned - picture).abs().mean()), time.perf_counter() - began
            yield replace(session, inversion_l1=l1, metrics=judged, seconds=seconds)

    def codes_of(self, picture: Tensor, fit: InversionOptions) -> Iterator[tuple[Inversion, Tuning | None, bool]]:
        """Better and better codes, some steps apart, the tuning that goes with them, and whether these are the last."""
        found = self.inverter.encode(picture)
        weights, steps = likeness_weights(self.segmenter, picture), self.steps(fit)
        yield found, None, not steps and not fit.tune
        refining = self.inverter.refine(
            picture, found, steps=steps, weights=weights, closeness=fit.closeness, side=self.refined_at
        )
        for found in refining:
            if found.step and (found.step == steps or found.step % min(EVERY, max(1, steps // 4)) == 0):
                yield found, None, found.step == steps and not fit.tune
        if fit.tune:
            for tuning in tune(self.generator, picture, found.codes, found.space, weights=weights):
                if tuning.step and (tuning.step == TUNING_STEPS or tuning.step % EVERY == 0):
                    yield found, tuning, tuning.step == TUNING_STEPS

    def steps(self, fit: InversionOptions) -> int:
        """Steps of a refinement."""
        usual = SKETCHED_STEPS if self.refined_at else closeness_of(fit.closeness).steps
        return usual if fit.steps is None else fit.steps

    @property
    def refined_at(self) -> int | None:
        """Pixels at which an inversion is refined; None for whole pictures."""
        small = self.generator.device.type == "cpu" and self.generator.running_layer(self.preview_size)
        return self.preview_size if small else None

    def session_of(self, found: Inversion, like: Session, made: Tensor, tuning: Tuning | None = None) -> Session:
        """A session around codes and their picture, in all else like another one."""
        return replace(
            like,
            codes=found.codes.cpu(),
            space=found.space,
            directions=self.directions,
            original=to_pil(made),
            preview=self.sketch(found.codes, found.space, tuning),
            generator=self.generator.name,
            tuning=tuning,
        )

    def random_face(self, seed: int) -> Session:
        """A face that the generator made up; the same for the same seed."""
        codes, space = self.random_codes(seed)
        made = self.synthesize(codes, space)
        like = Session(codes, space, (), to_pil(made), note=f"A face that the generator made up, seed {seed}.")
        return self.session_of(Inversion(codes, space, 0.0), like, made)

    @torch.no_grad()
    def random_codes(self, seed: int) -> tuple[Tensor, str]:
        """Codes (1, D) of a seed in the finest space, and that space."""
        generator = self.generator
        first, finest = generator.space_names[0], generator.space_names[-1]
        return generator.lift(generator.sample([seed]), first, finest, truncation=generator.usual_truncation), finest

    def find_clear_seed(self, random: np.random.Generator, tries: int = 20) -> int:
        """A random seed whose face looks ahead and is not in the dark; just the last one tried if none is."""
        for _ in range(tries):
            seed = int(random.integers(MOST_SEED))
            picture = self.synthesize(*self.random_codes(seed))
            if not self.aligner.frame.faces or (picture.mean() > DARK and self.aligner.in_place(picture, 0.1)):
                break
        return seed

    def discover(self, session: Session, config: DiscoverConfig) -> Iterator[tuple[Progress, Session]]:
        """Look for new directions; each step comes with a session that has them as its last directions.

        Untouched samples of the discovery before are used again where they fit.
        """
        config = config.check(self.generator, self.segmenter)
        samples = self.samples.fitting(self.generator, self.segmenter, config)
        for progress in discover(self.generator, self.segmenter, config, samples=samples):
            yield progress, session.with_directions(progress.directions)

    def calibrate(self, direction: Direction, seeds: Sequence[int]) -> Direction:
        """A direction with its slider range and held-out figures, from the samples of `seeds`."""
        return calibrate(self.generator, self.segmenter, direction, seeds)
