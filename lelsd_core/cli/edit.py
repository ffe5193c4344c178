"""Edit the face of a photo, or of each photo in a folder.

    python -m lelsd_core edit photo.jpg edited.png --set mouth=3 --set hair=-4
    python -m lelsd_core edit photos/ edited/ --recipe recipe.json --protect 1 --workers 2

The whole photo is written with the change added to it; --crop writes the aligned face as the model paints it. In a
folder one bad file does not stop the others: what failed is told at the end, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lelsd_core.cli.common import GENERATOR, add_device, add_networks

if TYPE_CHECKING:
    from PIL.Image import Image

    from lelsd_core.editor import Editor, InversionOptions


PHOTOS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
FORMATS = ("png", "jpg", "webp")
PASTE = "change"


@dataclass(frozen=True)
class Job:
    """One photo: where it is, and where its edit goes."""

    photo: Path
    out: Path


@dataclass(frozen=True)
class Settings:
    """How every photo is edited.

    Args:
        generator: registry name, file or folder.
        segmenter, directions: names or files; None = the generator's own.
        amounts: by direction name, each within its range.
        fit: which face of the photo, and how it is brought to codes.
        crop: the aligned face alone instead of the whole photo.
        protect: strength of the outside protection.
        paste: key of `paste.PASTE`.
    """

    generator: str
    segmenter: str | None
    directions: str | None
    amounts: dict[str, float]
    fit: InversionOptions
    crop: bool
    protect: float
    paste: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("photo", help="picture with a face (JPEG, PNG, WebP, HEIC, BMP, TIFF ...), or a folder of them")
    parser.add_argument(
        "out", help="picture to write, its ending says the format; for a folder, the folder to write to"
    )
    add_networks(parser, default=None, usual=f"the recipe's, or {GENERATOR}")
    parser.add_argument("--directions", help="folder, file or OWNER/NAME on the Hub [the generator's own]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=AMOUNT", help="how far along a direction; may be repeated"
    )
    parser.add_argument("--recipe", help='JSON file with {"amounts": {NAME: AMOUNT}}; --set goes on top')
    add_fit(parser)
    parser.add_argument("--crop", action="store_true", help="write the aligned face instead of the whole photo")
    parser.add_argument(
        "--protect", type=float, default=0.0, metavar="AMOUNT", help="0 to 1: keep what is outside the parts [0]"
    )
    parser.add_argument("--paste", help=f"add the change to the photo, or replace the face [{PASTE}]")
    parser.add_argument("--format", help=f"of a folder's pictures: {', '.join(FORMATS)} [{FORMATS[0]}]")
    parser.add_argument("--workers", type=int, default=1, help="processes for a folder; more than 1 need Ray [1]")
    add_device(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Open each photo, move its codes, write the picture; all that a person can fix is told before."""
    from lelsd_core.cli.workers import check_workers
    from lelsd_core.device import choose_device

    check_workers(options.workers)
    options.device = str(choose_device(options.device))
    settings, wanted = read_settings(options)
    if Path(options.photo).is_dir():
        return edit_folder(options, settings, wanted)
    return edit_file(options, settings, wanted)


def edit_file(options: argparse.Namespace, settings: Settings, wanted: dict[str, float]) -> dict[str, Any]:
    """One photo."""
    from lelsd_core.errors import UserError
    from lelsd_core.images import check_output, read_photo

    if options.format:
        raise UserError(f"--format is for folders; {options.out} says its format by its ending.")
    job = Job(Path(options.photo), Path(options.out))
    check_output(job.out)
    check_apart([job])
    photo = read_photo(job.photo)
    result, words = PhotoEditor(settings, options.device).edit(photo, job.out)
    tell_clamped(settings, wanted)
    print(f"{words} Wrote {options.out}.")
    return result


def edit_folder(options: argparse.Namespace, settings: Settings, wanted: dict[str, float]) -> dict[str, Any]:
    """Each photo of a folder; what failed is told at the end."""
    from lelsd_core.cli.common import progress_bar
    from lelsd_core.cli.workers import spread
    from lelsd_core.errors import UserError

    jobs, ignored = folder_jobs(Path(options.photo), Path(options.out), options.format or FORMATS[0])
    check_apart(jobs)
    jobs[0].out.parent.mkdir(exist_ok=True)
    photos = []
    with progress_bar(len(jobs), "edit", "photo") as bar:
        results = spread(partial(PhotoEditor, settings), jobs, workers=options.workers, device=options.device)
        for job, result in zip(jobs, results, strict=True):
            failed = isinstance(result, UserError)
            photos.append({"photo": str(job.photo), "error": str(result)} if failed else result)
            bar.update()
    tell_clamped(settings, wanted)
    failures = [row for row in photos if "error" in row]
    for row in failures:
        print(f"{row['photo']}: {row['error']}")
    done = len(photos) - len(failures)
    print(f"{done} done, {len(failures)} failed, {ignored} other files ignored. Wrote to {options.out}.")
    options.code = int(bool(failures))
    return {"photos": photos, "done": done, "failed": len(failures), "ignored": ignored}


class PhotoEditor:
    """Edits one photo after another; what a worker of a batch is.

    Args:
        settings: how.
        device: where the networks run.
    """

    def __init__(self, settings: Settings, device: str) -> None:
        from lelsd_core.registry import load_editor

        self.settings = settings
        self.editor: Editor = load_editor(
            settings.generator, device, directions=settings.directions, segmenter=settings.segmenter
        )
        self.editor.check(settings.fit)
        self.editor.warm_up()

    def __call__(self, job: Job) -> dict[str, Any]:
        """Edit and write one photo; its line of the batch's report."""
        from lelsd_core.errors import UserError
        from lelsd_core.images import read_photo

        try:
            figures, _ = self.edit(read_photo(job.photo), job.out)
        except UserError:
            raise
        except Exception as problem:  # a bug that one photo shows must not cost the others
            raise UserError(
                f"This photo met an error in the program: {type(problem).__name__}: {problem}."
            ) from problem
        return {"photo": str(job.photo), "out": str(job.out), **figures}

    def edit(self, photo: Image, out: Path) -> tuple[dict[str, Any], str]:
        """Edit a photo and write it; figures, and how its face was found and how true its inversion is, in words."""
        from lelsd_core.editor.session import describe_metrics
        from lelsd_core.images import write_picture

        editor, settings = self.editor, self.settings
        session = editor.open(photo, settings.fit)
        edited = editor.render(session, settings.amounts, protect=settings.protect)
        if not settings.crop:
            edited = editor.paste(session, photo, edited, settings.amounts, how=settings.paste)
        write_picture(edited, out)
        figures = {"inversion_l1": session.inversion_l1, "seconds": session.seconds, "amounts": settings.amounts}
        figures["fidelity"] = {"guess": asdict(session.encoder_metrics), "inversion": asdict(session.metrics)}
        words = f"{session.note} Inversion error {session.inversion_l1:.3f} in {session.seconds:.1f} s"
        return figures, f"{words} ({describe_metrics(session)})."


def read_settings(options: argparse.Namespace) -> tuple[Settings, dict[str, float]]:
    """Options -> settings, and the amounts as they were asked for."""
    from lelsd_core.directions import clamp_amounts
    from lelsd_core.editor.protect import check_strength
    from lelsd_core.editor.session import read_recipe, read_setting
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.paste import PASTE as WAYS
    from lelsd_core.registry import directions_of
    from lelsd_core.specs import segmenter_of

    recipe = read_recipe(options.recipe) if options.recipe else None
    generator = options.generator or (recipe and recipe.generator) or GENERATOR
    segmenter_of(generator, options.segmenter)
    if recipe and recipe.generator not in (None, generator, Path(generator).stem, Path(generator).name):
        raise UserError(f"{options.recipe} was made for {recipe.generator}; leave out --generator {generator}.")
    wanted = (recipe.amounts if recipe else {}) | dict(read_setting(text) for text in options.set)
    directions = directions_of(generator, options.directions) if wanted or options.directions else ()
    amounts = clamp_amounts(directions, wanted)
    check_strength(options.protect)
    for kind, given, known in (("way to paste", options.paste, WAYS), ("format", options.format, FORMATS)):
        if given is not None and given not in known:
            raise UserError(unknown_name(kind, given, known))
    if options.crop and options.paste:
        raise UserError("--crop writes the face alone, nothing is pasted; leave out --paste or --crop.")
    how = amounts, read_fit(options), options.crop, options.protect, options.paste or PASTE
    return Settings(generator, options.segmenter, options.directions, *how), wanted


def folder_jobs(folder: Path, out: Path, kind: str) -> tuple[list[Job], int]:
    """A job for each picture of a folder, by name, and how many other files there are.

    Raises:
        UserError: no pictures, or no place for the results.
    """
    from lelsd_core.directions import free_name
    from lelsd_core.errors import UserError, check_folder

    check_folder(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; for a folder of photos OUT is a folder.")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    photos = [path for path in files if path.suffix.lower() in PHOTOS and not path.name.startswith(".")]
    if not photos:
        raise UserError(f"There are no pictures in {folder}, and {len(files)} other files; use {', '.join(PHOTOS)}.")
    jobs, taken = [], set()
    for photo in photos:
        name = free_name(photo.stem, taken)
        taken.add(name)
        jobs.append(Job(photo, out / f"{name}.{kind}"))
    return jobs, len(files) - len(photos)


def check_apart(jobs: list[Job]) -> None:
    """UserError if a picture would be written over one of the photos."""
    from lelsd_core.errors import UserError

    photos = {identity(job.photo) for job in jobs} - {None}
    for job in jobs:
        if identity(job.out) in photos:
            raise UserError(f"{job.out} would be written over a photo; choose another place to write to.")


def identity(path: Path) -> tuple[int, int] | None:
    """The same for every name and link of a file; None if there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def tell_clamped(settings: Settings, wanted: dict[str, float]) -> None:
    """Say which amounts were outside their ranges."""
    for name, amount in settings.amounts.items():
        if amount != wanted[name]:
            print(f"{name}: {wanted[name]:g} is outside its range; {amount:g} was used.")


NUDGES = {"right": (-0.5, 0.5), "down": (-0.5, 0.5), "scale": (0.5, 2.0), "turn": (-180.0, 180.0)}


def add_fit(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument("--face", type=int, default=1, metavar="N", help="which face, 1 is the largest [1]")
    parser.add_argument(
        "--aligned",
        action=argparse.BooleanOptionalAction,
        help="take the photo's middle as it is, or do look for a face [sees for itself]",
    )
    parser.add_argument(
        "--nudge",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="move the alignment: right, down (shares of the frame), scale (factor), turn (degrees); may be repeated",
    )
    parser.add_argument("--closeness", help="easier (to edit), balanced or closer (to the photo) [balanced]")
    parser.add_argument("--steps", type=int, help="refinement steps of the inversion [as the closeness has]")
    parser.add_argument("--tune", action="store_true", help="also tune the generator to the person (StyleGAN2)")


def read_fit(options: argparse.Namespace) -> InversionOptions:
    """Options -> fit. UserError for what makes no sense."""
    from lelsd_core.editor import InversionOptions
    from lelsd_core.editor.session import read_setting
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.faces import Nudge
    from lelsd_core.inversion import BALANCED, CLOSENESS, closeness_of

    given = options.closeness or BALANCED
    closeness = next((name for name in CLOSENESS if name.split()[0] == given), given)  # "closer" will do
    closeness_of(closeness)
    if options.face < 1:
        raise UserError(f"--face is {options.face}; faces are counted from 1, the largest first.")
    if options.steps is not None and options.steps < 0:
        raise UserError(f"--steps is {options.steps}; it must be at least 0.")
    nudges = dict(read_setting(text, "--nudge", "turn=5") for text in options.nudge)
    for name, amount in nudges.items():
        if name not in NUDGES:
            raise UserError(unknown_name("nudge", name, NUDGES))
        least, most = NUDGES[name]
        if not least <= amount <= most:
            raise UserError(f"--nudge {name}={amount:g} is out of range; {name} can be {least:g} to {most:g}.")
    return InversionOptions(options.face - 1, options.aligned, Nudge(**nudges), closeness, options.steps, options.tune)
