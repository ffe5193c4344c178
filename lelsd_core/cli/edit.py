"""`edit`: photos in, edited photos or animations out, one by one or a whole folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image
from tqdm import tqdm

from lelsd_core.animation import amounts_along, rendered, save_animation, strip
from lelsd_core.cli.parser import FORMATS, GENERATOR
from lelsd_core.cli.workers import check_workers, spread
from lelsd_core.device import choose_device
from lelsd_core.directions import clamp_amounts, free_name
from lelsd_core.editor import DetectedPhoto, InversionOptions, Session
from lelsd_core.editor.renderer import check_strength
from lelsd_core.editor.session import (
    Layers,
    Taking,
    describe_metrics,
    read_recipe,
    read_setting,
    read_slider,
    read_take,
    write_recipe,
)
from lelsd_core.errors import UserError, check_file, check_folder, unknown_name
from lelsd_core.faces import Nudge
from lelsd_core.images import OUTPUTS, read_photo, save_picture
from lelsd_core.inversion import BALANCED, CLOSENESS, closeness_of
from lelsd_core.paste import PASTE, USUAL
from lelsd_core.provenance import provenance
from lelsd_core.registry import directions_of, gallery_of, load_editor
from lelsd_core.transfer import KINDS, name_of, part_named
from lelsd_core.weights.catalogue import segmenter_of

PHOTOS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
MOVING = (".gif", ".mp4")  # endings of animations
NUDGES = {"right": (-0.5, 0.5), "down": (-0.5, 0.5), "scale": (0.5, 2.0), "turn": (-180.0, 180.0)}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Edit one photo, or each photo of a folder; options are checked before any slow work."""
    check_workers(options.workers)
    device = str(choose_device(options.device))
    inversion, (amounts, layers) = read_inversion_options(options), read_amounts(options)
    takes = [take for take in map(read_take, options.take) if isinstance(take.source, Path)]
    parts = [(take, read_photo(take.source)) for take in takes]
    build = partial(PhotoEditor, options, inversion, amounts, layers, parts)
    if options.save_recipe:
        check_file(Path(options.save_recipe), ".json")
    edit = edit_folder if Path(options.photo).is_dir() else edit_photo
    result = edit(options, build, device)
    if options.save_recipe:
        write_recipe(options.save_recipe, amounts, layers, Path(options.generator).name)
        if parts:
            print(f"The parts that were taken from photos are not kept in {options.save_recipe}.")
    return result


def edit_photo(options: argparse.Namespace, build: Callable[[str], PhotoEditor], device: str) -> dict[str, Any]:
    """Edit one photo; the fields of the JSON."""
    photo, out = Path(options.photo), Path(options.out)
    if options.format:
        raise UserError(f"--format is for folders; the ending of {out} gives its format.")
    if options.skip_done:
        raise UserError(f"--skip-done is for folders; {photo} is one photo.")
    check_file(out, *OUTPUTS, *MOVING)
    check_overwriting([(photo, out)], options)
    picture = read_photo(photo)  # before the models are loaded
    row, message = build(device).edit(picture, out)
    print(f"{message} Wrote {out}.")
    return row


def edit_folder(options: argparse.Namespace, build: Callable[[str], PhotoEditor], device: str) -> dict[str, Any]:
    """Edit each photo of a folder; the fields of the JSON."""
    out = Path(options.out)
    jobs, ignored = folder_jobs(Path(options.photo), out, options.format or FORMATS[0])
    check_overwriting(jobs, options)
    out.mkdir(exist_ok=True)
    before = [job for job in jobs if options.skip_done and job[1].exists()]
    jobs, rows = [job for job in jobs if job not in before], []
    with tqdm(total=len(jobs), desc="edit", unit="photo", disable=None) as bar:  # silent where stderr is no terminal
        results = spread(build, jobs, workers=options.workers, device=device)
        for (photo, _), result in zip(jobs, results, strict=True):
            rows.append({"photo": str(photo)} | ({"error": str(result)} if isinstance(result, UserError) else result))
            bar.update()
    failures = [row for row in rows if "error" in row]
    for row in failures:
        print(f"{row['photo']}: {row['error']}")
    done = len(rows) - len(failures)
    skipped = f"{len(before)} done before, " if options.skip_done else ""
    print(f"{done} done, {skipped}{len(failures)} failed, {ignored} other files ignored. Wrote to {out}.")
    options.code = int(bool(failures))
    counts = {"done": done, "skipped": len(before), "failed": len(failures), "ignored": ignored}
    return {"photos": rows} | counts


class PhotoEditor:
    """Edits one photo after another on a device: the task of a worker in a batch.

    Args:
        options: of the command line, with the generator's name filled in.
        inversion: which face, its alignment and its inversion.
        amounts: by direction name, each within its slider range.
        layers: that directions are limited to, by direction name.
        parts: to take, with the photos that they are taken from.
        device: a torch device's name.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        inversion: InversionOptions,
        amounts: dict[str, float],
        layers: Layers,
        parts: Sequence[tuple[Taking, Image]],
        device: str,
    ) -> None:
        self.options, self.inversion, self.amounts, self.layers = options, inversion, amounts, layers
        names = ("directions", "segmenter", "class_index")
        networks = {name: getattr(options, name) for name in names}
        self.editor = load_editor(options.generator, device, **networks)
        self.editor.check(inversion)
        self.editor.check_edit(amounts | ({options.strip: 1.0} if options.strip else {}), layers)
        for take, _ in parts:
            self.editor.segmenter.parts.channels(take.part)
        self.editor.warm_up()
        plain = InversionOptions(closeness=inversion.closeness, steps=inversion.steps)
        self.parts = [(take, self.editor.open(photo, plain)) for take, photo in parts]

    def __call__(self, job: tuple[Path, Path]) -> dict[str, Any]:
        """Edit a photo of a batch; its row of the report. A bug becomes a `UserError` and costs this photo only.

        The output appears whole or not at all, so that `--skip-done` can rely on it.
        """
        photo, out = job
        part = out.with_name(f".{out.name}")
        try:
            row, _ = self.edit(read_photo(photo), part)
            part.replace(out)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"This photo caused an error in the program: {type(error).__name__}: {error}.") from error
        finally:
            part.unlink(missing_ok=True)
        return {"out": str(out), **row}

    def edit(self, photo: Image, out: Path) -> tuple[dict[str, Any], str]:
        """Edit a photo and write it; the fields of the JSON, and a sentence about its face and its inversion."""
        session = self.editor.open(photo, self.inversion).with_layers(self.layers)
        session, amounts = self.with_parts(session)
        self.save(session, amounts, photo, out)
        row = {
            "inversion_l1": session.inversion_l1,
            "lpips": session.metrics.lpips,
            "identity": session.metrics.identity,
            "identity_network": session.metrics.identity_network,
            "seconds": session.seconds,
            "amounts": amounts,
            "layers": self.layers,
            "fidelity": {"guess": asdict(session.encoder_metrics), "inversion": asdict(session.metrics)},
        }
        message = f"{session.note} Inversion error {session.inversion_l1:.3f} in {session.seconds:.1f} s"
        return row, f"{message} ({describe_metrics(session)})."

    def with_parts(self, session: Session) -> tuple[Session, dict[str, float]]:
        """The face with the parts that are taken from others, and all amounts by direction name."""
        session, amounts = self.editor.with_takes(session, self.amounts), dict(self.amounts)
        for take, other in self.parts:
            known, session = len(session.directions), self.editor.take(session, take.part, other)
            new = zip(KINDS, session.directions[known:], strict=False)
            amounts |= {direction.name: take.strength for kind, direction in new if kind in take.kinds}
        return session, amounts

    def save(self, session: Session, amounts: Mapping[str, float], photo: Image, out: Path) -> None:
        """Write the edited photo, a strip of it or an animation, and what it says about itself."""
        about, detected = provenance(session, amounts), DetectedPhoto(photo, ())  # which has a reduced copy
        small = replace(session, matrix=session.matrix @ detected.reduced)
        render = partial(self.picture, small, detected.shown)
        if out.suffix.lower() in MOVING:
            save_animation(rendered(render, amounts_along([{}, amounts], back=True)), out, about=about)
        elif self.options.strip:
            direction = next(each for each in session.directions if each.name == self.options.strip)
            save_picture(strip(render, direction, amounts), out, about)
        else:
            save_picture(self.picture(session, photo, amounts), out, about)

    def picture(self, session: Session, photo: Image, amounts: Mapping[str, float]) -> Image:
        """The photo with an edited face, or with --crop the face alone."""
        edited = self.editor.render(session, amounts, protect=self.options.protect)
        if self.options.crop:
            return edited
        return self.editor.paste(session, photo, edited, amounts, how=self.options.paste or USUAL)


def read_amounts(options: argparse.Namespace) -> tuple[dict[str, float], Layers]:
    """Amounts within their ranges, and layers, by direction name; fills in the generator.

    UserError for options without sense.
    """
    requested, layers, recipe_generator = find_recipe(options) if options.recipe else ({}, {}, None)
    generator = options.generator = options.generator or recipe_generator or GENERATOR
    segmenter_of(generator, options.segmenter)
    if recipe_generator not in (None, generator, Path(generator).stem, Path(generator).name):
        raise UserError(f"{options.recipe} was made for {recipe_generator}; leave out --generator {generator}.")
    check_strength(options.protect)
    for kind, name, choices in (("way to paste", options.paste, PASTE), ("format", options.format, FORMATS)):
        if name is not None and name not in choices:
            raise UserError(unknown_name(kind, name, choices))
    if options.crop and options.paste:
        raise UserError("--crop writes the face alone, nothing is pasted; leave out --paste or --crop.")
    for name, amount, only in map(read_slider, options.set):
        requested[name] = amount
        layers = {n: given for n, given in layers.items() if n != name} | ({name: only} if only else {})
    for take in map(read_take, options.take):
        if isinstance(take.source, int):
            requested |= {name_of(take.part, kind, take.source): take.strength for kind in take.kinds}
    taken = {name: min(max(amount, 0.0), 1.0) for name, amount in requested.items() if part_named(name)}
    named = {name: amount for name, amount in requested.items() if name not in taken}
    some = named or options.strip or options.directions
    directions = directions_of(generator, options.directions) if some else ()
    clamp_amounts(directions, {options.strip: 0.0} if options.strip else {})  # checks the name
    amounts = clamp_amounts(directions, named) | taken
    check_moving(options, amounts)
    for name, amount in amounts.items():
        if amount != requested[name]:
            print(f"{name}: {requested[name]:g} is outside its range; {amount:g} is used.")
    return amounts, layers


def check_moving(options: argparse.Namespace, amounts: Mapping[str, float]) -> None:
    """UserError for an animation of a strip, or of nothing that moves."""
    ending = f".{options.format}" if options.format else Path(options.out).suffix.lower()
    if ending in MOVING and options.strip:
        raise UserError(f"--strip writes a picture and {ending} is an animation; leave out --strip or choose .png.")
    if ending in MOVING and not any(amounts.values()) and not options.take:
        raise UserError(f"An animation ({ending}) goes from the photo to its edit; give one with --set or --recipe.")


def find_recipe(options: argparse.Namespace) -> tuple[dict[str, float], Layers, str | None]:
    """`read_recipe`, or the recipe of that name in the generator's gallery. UserError if there is neither."""
    name = options.recipe
    if Path(name).exists() or Path(name).suffix or len(Path(name).parts) > 1:
        return read_recipe(name)
    recipes = gallery_of(options.generator or GENERATOR, options.directions).recipes
    if name not in recipes:
        raise UserError(unknown_name("recipe", name, recipes) if recipes else f"There is no recipe {name}.")
    return dict(recipes[name].amounts), {}, None


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


def folder_jobs(folder: Path, out: Path, ending: str) -> tuple[list[tuple[Path, Path]], int]:
    """The pictures of a folder, sorted by name.

    Args:
        folder: the folder with the photos.
        out: the folder to write to.
        ending: of the written pictures, one of `FORMATS`.

    Returns:
        Pairs of a photo and the path to which its edit is written, and the number of other files.

    Raises:
        UserError: no pictures in the folder, or no folder to write to.
    """
    check_folder(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; for a folder of photos OUT is a folder.")
    photos, ignored = photos_of(folder)
    jobs: dict[str, tuple[Path, Path]] = {}
    for photo in photos:
        name = free_name(photo.stem, jobs)
        jobs[name] = photo, out / f"{name}.{ending}"
    return list(jobs.values()), ignored


def photos_of(folder: Path) -> tuple[list[Path], int]:
    """The pictures of a folder, sorted by name, and the number of other files. UserError if there are no pictures."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    photos = [path for path in files if path.suffix.lower() in PHOTOS and not path.name.startswith(".")]
    if not photos:
        raise UserError(f"There are no pictures in {folder}, and {len(files)} other files; use {', '.join(PHOTOS)}.")
    return photos, len(files) - len(photos)


def check_overwriting(jobs: list[tuple[Path, Path]], options: argparse.Namespace) -> None:
    """UserError if an output is one of the photos, those that parts are taken from too, under whatever name or link."""

    def file_id(path: Path) -> tuple[int, int]:
        return path.stat().st_dev, path.stat().st_ino  # the same under all names and links of a file

    others = [take.source for take in map(read_take, options.take) if isinstance(take.source, Path)]
    photos = {file_id(photo) for photo in (*(photo for photo, _ in jobs), *others) if photo.exists()}
    for _, out in jobs:
        if out.exists() and file_id(out) in photos:
            raise UserError(f"{out} would be written over a photo; choose another place to write to.")
