"""The flags and help texts of all commands. Needs nothing but Python, so that `--help` is fast and always works.

`__main__` parses the command line with it and then imports the module of the one command that was named.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import fields

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.methods import NAMES

SHIPPED = "blaze-256"  # the generator of pages and commands where nobody names another
NAMED = os.environ.get("LELSD_GENERATOR", "").strip()
GENERATOR = SHIPPED if NAMED in ("", "auto") else NAMED  # the default of most commands
QUICK = "digiface-64"  # the generator with which a comparison of methods ends within minutes on two cores
COMPARED = QUICK if GENERATOR == SHIPPED else GENERATOR
FLAGSHIP = "ffhq-1024"  # the large generator that a page with a GPU loads, and `bench flagship` measures
FORMATS = ("png", "jpg", "webp", "gif", "mp4")  # of what is written for a folder's photos
EDIT = """Edit the face of a photo, or of each photo in a folder.

The whole photo is written with the change added to it; --crop writes the aligned face as the generator renders it. A
GIF or MP4 goes from the photo to its edit and back; for it and for --strip, the photo is reduced to 1280 pixels. Each
file but a BMP says inside that a generative model made it, which one, and by which amounts. In a folder, one bad file
does not stop the others: failures are listed at the end, and the exit code is then 1.

examples:
  %(prog)s photo.jpg edited.png --set smile=4 --set hair-length=6
  %(prog)s photo.jpg edited.mp4 --set smile=4 --save-recipe recipe.json
  %(prog)s photo.jpg strip.jpg --strip hair-length --set smile=4
  %(prog)s photo.jpg edited.png --take mouth=other.jpg --take hair=seed:7@0.8
  %(prog)s photos/ edited/ --recipe recipe.json --protect 1 --workers 2
"""
DISCOVER = """Find a new direction for some parts and save it.

examples:
  %(prog)s lips.safetensors --parts mouth --steps 300
  %(prog)s lips.safetensors --parts mouth --preset paper
  %(prog)s new.safetensors --parts mouth --against lips.safetensors --checkpoint run.safetensors
  %(prog)s channel.safetensors --parts mouth --method stylespace
"""
REGION = """Make a part of your own: painted on one or several faces, or what belongs together at a place.

The file is for `discover --own`. A mask is a picture of the aligned face (see `edit --crop`), white where the region
is. Several faces with masks say more than one.

examples:
  %(prog)s chin.safetensors --on seed:3 --mask chin.png --preview chin-there.jpg
  %(prog)s lips.safetensors --on photo.jpg --at 0.5,0.8
"""
EVALUATE = """Measure directions on held-out samples: score, area, range and locality gain of each.

examples:
  %(prog)s
  %(prog)s --directions lips.safetensors
"""
COMPARE = """Compare methods: each finds a direction for each part, and all are measured and shown at equal distance.

OUT shows methods x parts x distances on one face, with the localization score under each picture (the paper's Figure
4); OUT.md and OUT.csv beside it hold all figures on held-out samples. The distance is LPIPS at 256 pixels, or the root
mean square change of the picture, as every table and figure says. Without options the quick generator digiface-64 is
compared, as blaze-256 needs longer than three minutes; --generator names another one.

examples:
  %(prog)s out.png
  %(prog)s out.pdf --methods all --parts mouth eyes brows hair --samples 32 --cache comparison/
  %(prog)s out.png --distance rms --distances 0.05 0.1
  %(prog)s --table1
"""
FIGURE = """Draw one of the paper's figures with this generator, as PNG or PDF.

1: what the sliders of each part do to one face. 3: two sliders at once, a grid of both amounts. 4: methods compared,
with the options of `compare`. 5: photos, and what edits one after the other make of them.

examples:
  %(prog)s 1 gallery.png --face 35
  %(prog)s 3 palette.pdf --sliders smile hair-length
  %(prog)s 4 comparison.png
  %(prog)s 5 edits.png --photos photo.jpg --edits smile=4 hair=9
"""
WEIGHTS = """Manage weights: list, fetch and verify published ones, convert any generator file, publish directions.

A generator is fetched with its encoder and its segmenter; --only leaves them out. Downloads go to the cache that all
tools using huggingface_hub share (HF_HOME moves it) and resume where they stopped. Files that were downloaded by hand
are found by name in the folder that the environment variable LELSD_WEIGHTS names.

examples:
  %(prog)s list
  %(prog)s fetch ffhq-1024
  %(prog)s verify
  %(prog)s convert stylegan2-ffhq-config-f.pt ffhq-1024.safetensors
  %(prog)s convert biggan-deep-256/ dogs.safetensors --class 207
  %(prog)s push-directions me/my-directions --dry-run
"""
DIRECTIONS = """Import directions that others have published, or show what directions' files say.

import FILE OUT.safetensors writes one direction, import FILE FOLDER several. FILE is encoder4editing's age.pt,
smile.pt, pose.pt or a *_pca.pt of components, InterFaceGAN's boundary .npy, a SeFa factor .pt, LELSD's model.pth,
StyleSpace's semantic_top_32, a vector of S, or a channel of S such as 6_113. Only the shapes of its numbers can be
checked, so name the generator that they belong to. With --parts a range is measured; otherwise it is a guess.

examples:
  %(prog)s import smile.pt smile.safetensors --generator ffhq-1024 --parts mouth
  %(prog)s import ffhq_pca.pt components/ --generator ffhq-1024 --pick eye_openness lipstick
  %(prog)s import ffhq_pca.pt eyes.safetensors --generator ffhq-1024 --pick 54 --rows 7 8
  %(prog)s show eyes.safetensors
"""
BENCH = """Time this machine against floors measured in the same run; the ratios are what counts.

examples:
  %(prog)s edit
  %(prog)s discover
  %(prog)s discover --official
  %(prog)s discover --memory
  %(prog)s methods
  %(prog)s start
  %(prog)s flagship --out flagship/
"""
DOCTOR = """Report what this machine can run, what is missing, and how to get it.

examples:
  %(prog)s
  %(prog)s --device cpu
"""


def add_networks(parser: argparse.ArgumentParser, default: str | None = GENERATOR, shown: str = GENERATOR) -> None:
    """Add --generator, --segmenter and --class; `shown` is the default that the help names."""
    parser.add_argument("--generator", default=default, help=f"registry name, file or folder [{shown}]")
    parser.add_argument("--segmenter", help="name, or a file of any kind [the generator's own]")
    add_class(parser)


def add_class(parser: argparse.ArgumentParser) -> None:
    """Add --class."""
    about = "of a generator with classes: a number or a name [the one that its file keeps]"
    parser.add_argument("--class", dest="class_index", metavar="CLASS", help=about)


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Add --directions and --workers."""
    parser.add_argument("--directions", help="folder, file or OWNER/NAME on the Hub [the generator's own]")
    parser.add_argument("--workers", type=int, default=1, help="processes; more than 1 need Ray [1]")


def add_edit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    several = {"action": "append", "default": [], "metavar": "NAME=AMOUNT"}
    nudge = "adjust the alignment: right, down (shares of the frame), scale (factor), turn (degrees); may be repeated"
    aligned = "use the photo's middle as it is, or do search for a face [detected]"
    protect = "0 to 1: keep what is outside the parts [0]"
    paste = (
        "detail: add the change, the photo's detail moves along; change: it stays; replace: replace the face [detail]"
    )
    add("photo", help="picture with a face (JPEG, PNG, WebP, HEIC, BMP, TIFF ...), or a folder of them")
    add("out", help="picture, .gif or .mp4 to write, in the format of its ending; for a folder, the output folder")
    add_networks(parser, default=None, shown=f"the recipe's, or {GENERATOR}")
    add("--set", help="how far along a direction; hair=9@coarse only in coarse layers; may be repeated", **several)
    recipe = 'JSON file with {"amounts": {NAME: AMOUNT}, "layers": {NAME: [LAYER]}}; --set overrides it'
    add("--recipe", help=f"name of one of the gallery's recipes, or a {recipe}")
    add("--save-recipe", metavar="FILE", help="JSON file to write with what --set and --recipe add up to")
    strip = "write a row of pictures of this direction from one end to the other, on top of the other settings"
    add("--strip", metavar="NAME", help=strip)
    take = "take a part of another photo, or of a made-up face (hair=seed:7); @0.5: half; @shape, @look or both of them"
    add("--take", action="append", default=[], metavar="PART=PHOTO", help=f"{take}; may be repeated")
    add("--face", type=int, default=1, metavar="N", help="which face, 1 is the largest [1]")
    add("--aligned", action=argparse.BooleanOptionalAction, help=aligned)
    add("--nudge", help=nudge, **several)
    add("--closeness", help="easier (to edit), balanced or closer (to the photo) [balanced]")
    add("--steps", type=int, help="refinement steps of the inversion [as the closeness has]")
    add("--tune", action="store_true", help="also tune the generator to the person (StyleGAN2)")
    add("--crop", action="store_true", help="write the aligned face instead of the whole photo")
    add("--protect", type=float, default=0.0, metavar="AMOUNT", help=protect)
    add("--paste", help=paste)
    add("--format", help=f"of what is written for a folder: {', '.join(FORMATS)} [{FORMATS[0]}]")
    add("--skip-done", action="store_true", help="in a folder, leave photos alone whose output is there already")
    add_batch(parser)


def add_region(parser: argparse.ArgumentParser) -> None:
    add, several = parser.add_argument, {"action": "append", "default": []}
    add("out", help="file to write; its name is the region's")
    add_networks(parser)
    add("--on", metavar="FACE", help="seed:7 or a photo; may be repeated, each with its mask [seed:0]", **several)
    add("--mask", metavar="PICTURE", help="the region on that aligned face, white on black", **several)
    add("--at", metavar="X,Y", help="instead: what belongs together there, in shares of the face's frame", **several)
    add("--name", help="of the region [the file's]")
    add("--preview", metavar="PICTURE", help="also write where the region is on these faces")


def add_discover(parser: argparse.ArgumentParser) -> None:
    """Flags of `discover`: one for each field of `DiscoverConfig`; the defaults depend on the generator."""
    parser.add_argument("out", help="file to write; further directions get -2, -3 ... before the ending")
    presets = "look: global moves; shape: local moves; paper: the paper's recipe; flags override it [by the parts]"
    add_networks(parser)
    parser.add_argument("--own", metavar="FILE", help="a part of your own that `region` made, to be searched for")
    parser.add_argument("--segmenter-weights", metavar="FILE", help="weights of a segmenter named without a file")
    parser.add_argument("--method", default="lelsd", metavar="NAME", help=f"{', '.join(NAMES)} [%(default)s]")
    parser.add_argument("--preset", help=presets)
    for field in fields(DiscoverConfig):
        if not field.metadata["help"]:  # given by a program, not in a shell
            continue
        nargs = "+" if isinstance(field.default, tuple) else None
        parser.add_argument(f"--{field.name}", type=field.metadata["kind"], nargs=nargs, help=field.metadata["help"])
    parser.add_argument("--against", nargs="+", default=[], metavar="FILE", help="directions to be orthogonal to")
    parser.add_argument("--checkpoint", help="file that keeps the state of the search, and from which it resumes")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    add_networks(parser)
    full = "also LPIPS and likeness at both ends, and which slider moves what: the tables of a gallery's card"
    parser.add_argument("--full", action="store_true", help=full)
    parser.add_argument("--photos", metavar="FOLDER", help="and how the edits hold on these photos")
    add_batch(parser)


def add_directions(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", help="import or show")
    add("files", nargs="+", metavar="FILE", help="import: FILE and OUT; show: files or folders of directions")
    add_networks(parser)
    add("--name", default="", help="import: id of the direction [the output's, or FILE's]")
    add("--pick", nargs="+", default=[], metavar="NAME", help="import: which of a file with several [the first 10]")
    add("--parts", nargs="+", default=[], metavar="PART", help="import: what it changes; measure its range there")
    add("--space", default="", help="import: Z or W, where the numbers fit both")
    add("--rows", nargs=2, type=int, metavar=("FIRST", "END"), help="import: rows of W+ that a vector of W moves [all]")
    add("--shorten", action="store_true", help="import: take a larger generator's first rows of W+")


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Flags of a comparison of methods."""
    add = parser.add_argument
    steps = "distances, rising [0.1 0.2 0.3 0.4 of LPIPS, 0.05 0.1 0.15 0.2 of RMS change]"
    add("--parts", nargs="+", metavar="PART", help="parts to change [mouth and hair, or the segmenter's first two]")
    add("--methods", nargs="+", metavar="NAME", help=f"all, or some of {', '.join(NAMES)} [lelsd stylespace ganspace]")
    add("--distance", help="lpips or rms (change of the picture) [lpips, where its network is on this machine]")
    add("--distances", nargs="+", type=float, metavar="D", help=steps)
    add("--layers", nargs="+", default=["all"], metavar="LAYER", help="feature maps the score is read at, too [all]")
    add("--samples", type=int, default=8, metavar="N", help="held-out samples [%(default)s]")
    add("--seed", type=int, default=0, help="of whatever a method draws at random [%(default)s]")
    add("--steps", type=int, metavar="N", help="optimiser steps of methods that train [each method's own]")
    add("--face", type=int, metavar="SEED", help="face that is shown [the generator's first]")
    add("--cache", metavar="FOLDER", help="folder for directions and figures, from which a stopped run goes on")


def add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", nargs="?", help=".png or .pdf to write; its tables are written beside it")
    table = "print Table 1 for all methods, or those named: what each can do, by checks that run (some minutes)"
    add_networks(parser, COMPARED, COMPARED)
    add_comparison(parser)
    parser.add_argument("--table1", action="store_true", help=table)
    parser.set_defaults(usage_error=parser.error)


def add_figure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("which", help="1, 3, 4 or 5")
    add("out", help=".png or .pdf to write")
    add_networks(parser, None, f"{GENERATOR}; for 4 {COMPARED}")
    add("--directions", help="1, 3, 5: folder, file or OWNER/NAME on the Hub [the generator's own]")
    add("--photos", nargs="+", metavar="PHOTO", help="1, 3: a photo instead of a made-up face; 5: photos [the example]")
    add("--sliders", nargs=2, metavar="NAME", help="3: the sliders to the right and upwards [two of different parts]")
    add("--edits", nargs="+", metavar="NAME=AMOUNT", help="5: edits, one on top of the other [a slider of each part]")
    add_comparison(parser)


def add_weights(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    names = "fetch, verify: names of networks; convert: IN OUT.safetensors; push-directions: OWNER/NAME on the Hub"
    add("action", help="list, fetch, verify, convert or push-directions")
    add("names", nargs="*", metavar="NAME", help=names)
    add_class(parser)
    add("--only", action="store_true", help="fetch: the named files, without what belongs to them")
    add("--generator", default=GENERATOR, help="push-directions: whose directions [%(default)s]")
    add("--directions", help="push-directions: folder with them [the generator's own]")
    add("--dry-run", action="store_true", help="push-directions: show what would be sent, send nothing")
    parser.set_defaults(usage_error=parser.error)


def add_bench(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", help="what to time: edit, discover, start, methods, or all of a large model: flagship")
    add("--generator", help=f"registry name [{GENERATOR}; flagship: {FLAGSHIP}]")
    add("--repeats", type=int, default=0, help="number of timings [by their duration]")
    add("--four-times", action="store_true", help="discover: also search with four times as many steps")
    add("--memory", action="store_true", help="discover: only the memory, of a StyleGAN2 at 1024")
    add("--official", action="store_true", help="discover: also compare with the official recipe")
    add("--part", default="mouth", help="methods: that directions are found for [%(default)s]")
    add("--methods", nargs="+", default=[], metavar="NAME", help="methods: of `discover --method` [all]")
    add("--out", metavar="FOLDER", help="flagship: new folder for report, contact sheet and directions [flagship]")
    add("--photos", metavar="FOLDER", help="flagship: photos to invert [the example photo]")


COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "edit": (EDIT, add_edit),
    "region": (REGION, add_region),
    "discover": (DISCOVER, add_discover),
    "evaluate": (EVALUATE, add_evaluate),
    "directions": (DIRECTIONS, add_directions),
    "compare": (COMPARE, add_compare),
    "figure": (FIGURE, add_figure),
    "weights": (WEIGHTS, add_weights),
    "bench": (BENCH, add_bench),
    "doctor": (DOCTOR, lambda parser: None),
}


def build_parser(program: str = "python -m lelsd_core") -> argparse.ArgumentParser:
    """The parser of all commands; `program` is the name that the usage lines show."""
    purpose = "Find and use directions that change one part of a GAN's picture."
    parser = argparse.ArgumentParser(prog=program, description=purpose)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, add_arguments) in COMMANDS.items():
        description, heading, examples = text.partition("\nexamples:\n")
        command = commands.add_parser(
            name,
            help=description.partition("\n")[0],
            description=description,
            epilog=heading + examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        if name != "weights":
            device = "auto, cpu, cuda, cuda:1 or mps [LELSD_DEVICE, or auto]"
            command.add_argument("--device", metavar="NAME", help=device)
        command.add_argument("--json", action="store_true", help="print one JSON object on the last line")
        command.set_defaults(code=0)
    return parser
