"""`edit`: photos in, edited photos out, one by one or a whole folder."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL.Image import Image

from lelsd_core.cli import progress_bar
from lelsd_core.cli.parser import FORMATS, GENERATOR
from lelsd_core.cli.workers import check_workers, spread
from lelsd_core.device import choose_device
from lelsd_core.directions import clamp_amounts, free_name
from lelsd_core.editor import InversionOptions
from lelsd_core.editor.protect import check_strength
from lelsd_core.editor.session import Recipe, describe_metrics, read_recipe, read_setting
from lelsd_core.errors import UserError, check_folder, unknown_name
from lelsd_core.faces import Nudge
from lelsd_core.images import check_output, read_photo, save_picture
from lelsd_core.inversion import BALANCED, CLOSENESS, closeness_of
from lelsd_core.paste import PASTE
from lelsd_core.registry import directions_of, load_editor
from lelsd_core.weights.catalogue import segmenter_of

PHOTOS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
NUDGES = {"right": (-0.5, 0.5), "down": (-0.5, 0.5), "scale": (0.5, 2.0), "turn": (-180.0, 180.0)}


class Job(NamedTuple):
    """A photo, and where its edit is written."""

    photo: Path
    out: Path


@dataclass(frozen=True)
class Settings:
    """How every photo is edited."""

    generator: str  # registry name, file or folder
    segmenter: str | None  # name or file; None = the generator's own
    directions: str | None  # folder, file or repository on the Hub; None = the generator's own
    amounts: dict[str, float]  # by direction name, each within its slider range
    inversion: InversionOptions  # which face, its alignment and its inversion
    crop: bool  # write the aligned face instead of the whole photo
    protect: float  # strength of the outside protection, 0 to 1
    paste: str  # key of `paste.PASTE`


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Edit one photo, or each photo of a folder; options are checked before any slow work."""
    check_workers(options.workers)
    device = str(choose_device(options.device))
    settings = read_settings(options)
    photo, out = Path(options.photo), Path(options.out)
    if not photo.is_dir():
        if options.format:
            raise UserError(f"--format is for folders; the ending of {out} gives its format.")
        check_output(out)
        check_overwriting([Job(photo, out)])
        picture = read_photo(photo)  # before the models are loaded
        row, message = PhotoEditor(settings, device).edit(picture, out)
        print(f"{message} Wrote {out}.")
        return row
    jobs, ignored = folder_jobs(photo, out, options.format or FORMATS[0])
    check_overwriting(jobs)
    out.mkdir(exist_ok=True)
    rows = []
    with progress_bar(len(jobs), "edit", "photo") as bar:
        results = spread(partial(PhotoEditor, settings), jobs, workers=options.workers, device=device)
        for job, result in zip(jobs, results, strict=True):
            rows.append(
                {"photo": str(job.photo)} | ({"error": str(result)} if isinstance(result, UserError) else result)
            )
            bar.update()
    failures = [row for row in rows if "error" in row]
    for row in failures:
        print(f"{row['photo']}: {row['error']}")
    done = len(rows) - len(failures)
    print(f"{done} done, {len(failures)} failed, {ignored} other files ignored. Wrote to {out}.")
    options.code = int(bool(failures))
    return {"photos": rows, "done": done, "failed": len(failures), "ignored": ignored}


class PhotoEditor:
    """Edits one photo after another on a device: the task of a worker in a batch."""

    def __init__(self, settings: Settings, device: str) -> None:
        self.settings = settings
        self.editor = load_editor(
            settings.generator, device, directions=settings.directions, segmenter=settings.segmenter
        )
        self.editor.check(settings.inversion)
        self.editor.warm_up()

    def __call__(self, job: Job) -> dict[str, Any]:
        """Edit a photo of a batch; its row of the report. A bug becomes a `UserError` and costs this photo only."""
        try:
            row, _ = self.edit(read_photo(job.photo), job.out)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"This photo caused an error in the program: {type(error).__name__}: {error}.") from error
        return {"out": str(job.out), **row}

    def edit(self, photo: Image, out: Path) -> tuple[dict[str, Any], str]:
        """Edit a photo and write it; the fields of the JSON, and a sentence about its face and its inversion."""
        editor, settings = self.editor, self.settings
        session = editor.open(photo, settings.inversion)
        edited = editor.render(session, settings.amounts, protect=settings.protect)
        if not settings.crop:
            edited = editor.paste(session, photo, edited, settings.amounts, how=settings.paste)
        save_picture(edited, out)
        row = {
            "inversion_l1": session.inversion_l1,
            "lpips": session.metrics.lpips,
            "identity": session.metrics.identity,
            "seconds": session.seconds,
            "amounts": settings.amounts,
            "fidelity": {"guess": asdict(session.encoder_metrics), "inversion": asdict(session.metrics)},
        }
        message = f"{session.note} Inversion error {session.inversion_l1:.3f} in {session.seconds:.1f} s"
        return row, f"{message} ({describe_metrics(session)})."


def read_settings(options: argparse.Namespace) -> Settings:
    """The settings; amounts are clamped to their ranges. UserError for options that make no sense."""
    recipe = read_recipe(options.recipe) if options.recipe else Recipe({})
    generator = options.generator or recipe.generator or GENERATOR
    segmenter_of(generator, options.segmenter)
    if recipe.generator not in (None, generator, Path(generator).stem, Path(generator).name):
        raise UserError(f"{options.recipe} was made for {recipe.generator}; leave out --generator {generator}.")
    check_strength(options.protect)
    for kind, name, choices in (("way to paste", options.paste, PASTE), ("format", options.format, FORMATS)):
        if name is not None and name not in choices:
            raise UserError(unknown_name(kind, name, choices))
    if options.crop and options.paste:
        raise UserError("--crop writes the face alone, nothing is pasted; leave out --paste or --crop.")
    inversion = read_inversion_options(options)
    requested = recipe.amounts | dict(read_setting(text) for text in options.set)
    directions = directions_of(generator, options.directions) if requested or options.directions else ()
    amounts = clamp_amounts(directions, requested)
    for name, amount in amounts.items():
        if amount != requested[name]:
            print(f"{name}: {requested[name]:g} is outside its range; {amount:g} is used.")
    how = amounts, inversion, options.crop, options.protect, options.paste or "change"
    return Settings(generator, options.segmenter, options.directions, *how)


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


def folder_jobs(folder: Path, out: Path, ending: str) -> tuple[list[Job], int]:
    """A job for each picture of a folder, sorted by name, and the number of other files.

    Args:
        folder: the folder with the photos.
        out: the folder to write to.
        ending: of the written pictures, one of `FORMATS`.

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
    names: list[str] = []
    for photo in photos:
        names.append(free_name(photo.stem, names))
    jobs = [Job(photo, out / f"{name}.{ending}") for photo, name in zip(photos, names, strict=True)]
    return jobs, len(files) - len(photos)


def check_overwriting(jobs: list[Job]) -> None:
    """UserError if an output is one of the photos, under whatever name or link."""
    photos = {file_id(job.photo) for job in jobs} - {None}
    for job in jobs:
        if file_id(job.out) in photos:
            raise UserError(f"{job.out} would be written over a photo; choose another place to write to.")


def file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, the same under all of its names and links; None if there is no file."""
    return (path.stat().st_dev, path.stat().st_ino) if path.exists() else None
