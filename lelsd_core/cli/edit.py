"""`edit`: photos in, edited photos out, one by one or a whole folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from lelsd_core.cli import progress_bar
from lelsd_core.cli.parser import FORMATS, GENERATOR
from lelsd_core.cli.workers import check_workers, spread
from lelsd_core.device import choose_device
from lelsd_core.directions import clamp_amounts, free_name
from lelsd_core.editor import InversionOptions
from lelsd_core.editor.protect import check_strength
from lelsd_core.editor.session import describe_metrics, read_recipe, read_setting
from lelsd_core.errors import UserError, check_folder, unknown_name
from lelsd_core.faces import Nudge
from lelsd_core.images import check_output, read_photo, save_picture
from lelsd_core.inversion import BALANCED, CLOSENESS, closeness_of
from lelsd_core.paste import PASTE
from lelsd_core.registry import directions_of, load_editor
from lelsd_core.weights.catalogue import segmenter_of

PHOTOS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
NUDGES = {"right": (-0.5, 0.5), "down": (-0.5, 0.5), "scale": (0.5, 2.0), "turn": (-180.0, 180.0)}


@dataclass(frozen=True)
class Job:
    """One photo: where it is, and where its edit is written."""

    photo: Path
    out: Path


@dataclass(frozen=True)
class Settings:
    """How every photo is edited.

    Args:
        generator: registry name, file or folder.
        segmenter, directions: names or files; None = the generator's own.
        amounts: by direction name, each within its slider range.
        inversion: which face of the photo, its alignment and its inversion.
        crop: write the aligned face instead of the whole photo.
        protect: strength of the outside protection, 0 to 1.
        paste: key of `paste.PASTE`.
    """

    generator: str
    segmenter: str | None
    directions: str | None
    amounts: dict[str, float]
    inversion: InversionOptions
    crop: bool
    protect: float
    paste: str


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Edit one photo, or each photo of a folder; options are checked before any slow work."""
    check_workers(options.workers)
    options.device = str(choose_device(options.device))
    settings, requested = read_settings(options)
    edit = edit_folder if Path(options.photo).is_dir() else edit_file
    result = edit(options, settings)
    for name, amount in settings.amounts.items():
        if amount != requested[name]:
            print(f"{name}: {requested[name]:g} is outside its range; {amount:g} was used.")
    return result


def edit_file(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Edit one photo."""
    if options.format:
        raise UserError(f"--format is for folders; the ending of {options.out} gives its format.")
    job = Job(Path(options.photo), Path(options.out))
    check_output(job.out)
    check_overwriting([job])
    photo = read_photo(job.photo)
    result, message = PhotoEditor(settings, options.device).edit(photo, job.out)
    print(f"{message} Wrote {options.out}.")
    return result


def edit_folder(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Edit each photo of a folder; failures are listed at the end."""
    jobs, ignored = folder_jobs(Path(options.photo), Path(options.out), options.format or FORMATS[0])
    check_overwriting(jobs)
    jobs[0].out.parent.mkdir(exist_ok=True)
    photos = []
    with progress_bar(len(jobs), "edit", "photo") as bar:
        results = spread(partial(PhotoEditor, settings), jobs, workers=options.workers, device=options.device)
        for job, result in zip(jobs, results, strict=True):
            failed = isinstance(result, UserError)
            photos.append({"photo": str(job.photo), "error": str(result)} if failed else result)
            bar.update()
    failures = [row for row in photos if "error" in row]
    for row in failures:
        print(f"{row['photo']}: {row['error']}")
    done = len(photos) - len(failures)
    print(f"{done} done, {len(failures)} failed, {ignored} other files ignored. Wrote to {options.out}.")
    options.code = int(bool(failures))
    return {"photos": photos, "done": done, "failed": len(failures), "ignored": ignored}


class PhotoEditor:
    """Edits one photo after another: the task of a worker in a batch.

    Args:
        settings: how every photo is edited.
        device: where the networks run.
    """

    def __init__(self, settings: Settings, device: str) -> None:
        self.settings = settings
        self.editor = load_editor(
            settings.generator, device, directions=settings.directions, segmenter=settings.segmenter
        )
        self.editor.check(settings.inversion)
        self.editor.warm_up()

    def __call__(self, job: Job) -> dict[str, Any]:
        """Edit and write one photo; its row of the batch's report. A bug becomes a `UserError` of this photo."""
        try:
            figures, _ = self.edit(read_photo(job.photo), job.out)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"This photo caused an error in the program: {type(error).__name__}: {error}.") from error
        return {"photo": str(job.photo), "out": str(job.out), **figures}

    def edit(self, photo: Image, out: Path) -> tuple[dict[str, Any], str]:
        """Edit a photo and write it; its figures, and a sentence about its face and its inversion."""
        editor, settings = self.editor, self.settings
        session = editor.open(photo, settings.inversion)
        edited = editor.render(session, settings.amounts, protect=settings.protect)
        if not settings.crop:
            edited = editor.paste(session, photo, edited, settings.amounts, how=settings.paste)
        save_picture(edited, out)
        figures = {
            "inversion_l1": session.inversion_l1,
            "lpips": session.metrics.lpips,
            "identity": session.metrics.identity,
            "seconds": session.seconds,
            "amounts": settings.amounts,
            "fidelity": {"guess": asdict(session.encoder_metrics), "inversion": asdict(session.metrics)},
        }
        message = f"{session.note} Inversion error {session.inversion_l1:.3f} in {session.seconds:.1f} s"
        return figures, f"{message} ({describe_metrics(session)})."


def read_settings(options: argparse.Namespace) -> tuple[Settings, dict[str, float]]:
    """The settings, and the amounts as requested, before they are clamped. UserError for options that make no sense."""
    recipe = read_recipe(options.recipe) if options.recipe else None
    generator = options.generator or (recipe and recipe.generator) or GENERATOR
    segmenter_of(generator, options.segmenter)
    if recipe and recipe.generator not in (None, generator, Path(generator).stem, Path(generator).name):
        raise UserError(f"{options.recipe} was made for {recipe.generator}; leave out --generator {generator}.")
    requested = (recipe.amounts if recipe else {}) | dict(read_setting(text) for text in options.set)
    directions = directions_of(generator, options.directions) if requested or options.directions else ()
    amounts = clamp_amounts(directions, requested)
    check_strength(options.protect)
    for kind, name, choices in (("way to paste", options.paste, PASTE), ("format", options.format, FORMATS)):
        if name is not None and name not in choices:
            raise UserError(unknown_name(kind, name, choices))
    if options.crop and options.paste:
        raise UserError("--crop writes the face alone, nothing is pasted; leave out --paste or --crop.")
    return Settings(
        generator,
        options.segmenter,
        options.directions,
        amounts,
        read_inversion_options(options),
        options.crop,
        options.protect,
        options.paste or "change",
    ), requested


def read_inversion_options(options: argparse.Namespace) -> InversionOptions:
    """The flags about the face, its alignment and its inversion. UserError for a value out of range."""
    name = options.closeness or BALANCED
    closeness = next((full for full in CLOSENESS if full.split()[0] == name), name)  # "closer" is enough
    closeness_of(closeness)
    if options.face < 1:
        raise UserError(f"--face is {options.face}; faces are counted from 1, the largest first.")
    if options.steps is not None and options.steps < 0:
        raise UserError(f"--steps is {options.steps}; it must be at least 0.")
    nudges = dict(read_setting(text, "--nudge", "turn=5") for text in options.nudge)
    for name, amount in nudges.items():
        if name not in NUDGES:
            raise UserError(unknown_name("nudge", name, NUDGES))
        low, high = NUDGES[name]
        if not low <= amount <= high:
            raise UserError(f"--nudge {name}={amount:g} is out of range; {name} can be {low:g} to {high:g}.")
    return InversionOptions(options.face - 1, options.aligned, Nudge(**nudges), closeness, options.steps, options.tune)


def folder_jobs(folder: Path, out: Path, kind: str) -> tuple[list[Job], int]:
    """A job for each picture of a folder, sorted by name, and the number of other files.

    Args:
        folder: the folder with the photos.
        out: the folder to write to.
        kind: one of `FORMATS`, the ending of the written pictures.

    Raises:
        UserError: no pictures in the folder, or no folder to write to.
    """
    check_folder(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; for a folder of photos OUT is a folder.")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    photos = [path for path in files if path.suffix.lower() in PHOTOS and not path.name.startswith(".")]
    if not photos:
        raise UserError(f"There are no pictures in {folder}, and {len(files)} other files; use {', '.join(PHOTOS)}.")
    jobs, names = [], set()
    for photo in photos:
        name = free_name(photo.stem, names)
        names.add(name)
        jobs.append(Job(photo, out / f"{name}.{kind}"))
    return jobs, len(files) - len(photos)


def check_overwriting(jobs: list[Job]) -> None:
    """UserError if an output is one of the photos, under whatever name or link."""

    def file_ids(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
        return [(path.stat().st_dev, path.stat().st_ino) if path.exists() else None for path in paths]

    photos = {*file_ids(job.photo for job in jobs)} - {None}
    for job, file_id in zip(jobs, file_ids(job.out for job in jobs), strict=True):
        if file_id in photos:
            raise UserError(f"{job.out} would be written over a photo; choose another place to write to.")
