"""`compare`: methods against each other at equal distance, as the paper's Figure 4 and as tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lelsd_core.comparison.checks import Stage, check_all, table1
from lelsd_core.comparison.compare import Comparer, Comparison, Plan
from lelsd_core.comparison.figures import ENDINGS, comparison_sheet, save_figure
from lelsd_core.comparison.measures import check_steps, choose_distance
from lelsd_core.comparison.tables import csv_text, markdown, rows, score_table
from lelsd_core.device import choose_device
from lelsd_core.errors import UserError, check_file, unknown_name
from lelsd_core.methods.base import METHODS
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.segmenters import Segmenter
from lelsd_core.weights.catalogue import segmenter_of, spec_of
from lelsd_core.weights.safetensors import write_text

USUAL_METHODS = ("lelsd", "stylespace", "ganspace")
USUAL_PARTS = ("mouth", "hair")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compare, draw, write the tables beside the figure, and print the scores."""
    if options.table1:
        return claims(options)
    if not options.out:
        options.usage_error("the following arguments are required: out")
    out = Path(options.out)
    tables = {out.with_suffix(".md"): markdown, out.with_suffix(".csv"): csv_text}
    check_file(out, *ENDINGS)
    for path in tables:
        check_file(path)
    comparison = compare(options)
    draw(comparison, out)
    for path, write in tables.items():
        write_text(path, write(comparison))
    print("\n".join(score_table(comparison.results, comparison.plan.steps)))
    print(f"Wrote {out}, {' and '.join(path.name for path in tables)}: scores by {comparison.plan.distance.name}.")
    return as_json(comparison)


def compare(options: argparse.Namespace) -> Comparison:
    """The comparison that the flags of `parser.add_comparison` ask for, with a progress bar.

    UserError for an unknown name, or a number out of range, before any slow work.
    """
    methods = named_methods(options, USUAL_METHODS)
    distance = choose_distance(options.distance)
    steps = check_steps(distance.steps if options.distances is None else options.distances)
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps is {options.steps}; it must be at least 1.")
    cache = made(Path(options.cache)) if options.cache else None
    spec, device = spec_of(options.generator), choose_device(options.device)
    segmenter = load_segmenter(segmenter_of(options.generator, options.segmenter), device)
    parts = tuple(options.parts or usual_parts(segmenter))
    for part in parts:
        segmenter.parts.channels(part)  # checks the name before a larger file is fetched
    generator = load_generator(options.generator, device, class_index=options.class_index)
    plan = Plan(
        methods,
        parts,
        distance,
        steps,
        samples=options.samples,
        seed=options.seed,
        face=spec.first_seed if options.face is None else options.face,
        train_steps=options.steps,
        layers=tuple(options.layers),
        class_index=options.class_index,
    )
    aligner = load_aligner(build_frame(spec, generator.resolution)) if spec.shows_faces else None
    comparer = Comparer(generator, segmenter, plan, aligner, cache)
    with progress_bar() as report:
        return comparer.run(report)


def claims(options: argparse.Namespace) -> dict[str, Any]:
    """Print Table 1. UserError for an unknown name before any slow work."""
    methods, device = named_methods(options, tuple(METHODS)), choose_device(options.device)
    segmenter = load_segmenter(segmenter_of(options.generator, options.segmenter), device)
    part = (options.parts or usual_parts(segmenter))[0]
    segmenter.parts.channels(part)  # checks the name
    generator = load_generator(options.generator, device, class_index=options.class_index)
    with progress_bar() as report:
        answers = check_all(methods, Stage(generator, segmenter, part), report)
    print("\n".join(table1(answers)))
    return {"generator": generator.name, "part": part, "table1": answers}


def named_methods(options: argparse.Namespace, usual: Sequence[str]) -> tuple[str, ...]:
    """The methods of --methods, each once. UserError for an unknown one."""
    methods = tuple(METHODS) if options.methods == ["all"] else options.methods or usual
    for name in methods:
        if name not in METHODS:
            raise UserError(unknown_name("method", name, METHODS))
    return tuple(dict.fromkeys(methods))


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A progress bar, as a function of what is being done and the share of everything that is done."""
    with tqdm(total=100, disable=None, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:

        def report(doing: str, share: float) -> None:
            bar.update(100 * share - bar.n)
            bar.set_postfix_str(doing)

        yield report


def made(folder: Path) -> Path:
    """The folder, made if there is none. UserError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"The folder {folder} cannot be made: {problem.strerror or problem}.") from None
    return folder


def usual_parts(segmenter: Segmenter) -> Sequence[str]:
    """The parts that are compared unless others are named."""
    known = set(USUAL_PARTS) <= set(segmenter.parts)
    return USUAL_PARTS if known else segmenter.parts[:2]


def draw(comparison: Comparison, out: Path) -> None:
    """Write the figure of a comparison."""
    about = f"Faces made up by the generative model {comparison.generator}, edited by directions of several methods."
    save_figure(comparison_sheet(comparison), out, about)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """What `--json` prints of a comparison."""
    plan = comparison.plan
    facts = {"generator": comparison.generator, "segmenter": comparison.segmenter, "distance": plan.distance.name}
    return facts | {"steps": plan.steps, "samples": plan.samples, "seed": plan.seed, "rows": rows(comparison)}
