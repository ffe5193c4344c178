"""Methods that find directions, all with one interface, so that their directions can be used and compared alike.

    generator, segmenter, `Wanted`  --`find_directions`-->  `Direction`s of length 1, which say how they were found

Each method is a file of its own, written from its paper. Some know of parts; the others find candidates, of which those
for the wanted parts are chosen by their scores (see `candidates`), as a person does who compares them by hand.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import lelsd_core
from lelsd_core.directions import Direction, named_apart
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.methods import ganalyze, ganspace, interfacegan, lelsd, lowrank, random, sefa, stylespace
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.segmenters import Segmenter, adapt, region_among

Search = Callable[[Generator, Segmenter, Wanted, Report], list[Direction]]


@dataclass(frozen=True)
class Method:
    """A method; `find_directions` checks its arguments and runs it."""

    name: str  # key of `METHODS`
    title: str  # as a row of a figure says it
    source: str  # authors, venue and year
    search: Search  # finds `Wanted.count` directions of length 1; its facts are the settings that it used
    spaces: Callable[[Generator], tuple[str, ...]]  # it can search in these, its usual one first; () if in none
    needs: str = ""  # what generators without such a space lack
    takes: tuple[str, ...] = ("samples",)  # fields of `Wanted` that it reads, of those not every method does
    room: Callable[[Generator, Wanted], int] | None = None  # most directions it can find; None = the space's dimensions

    def refuses(self, generator: Generator) -> str:
        """One sentence on why the method is not defined for a generator; empty if it is."""
        if self.spaces(generator):
            return ""
        return f"{self.title} needs {self.needs}; {generator.name} has {' and '.join(generator.space_names)}."

    def find(
        self, generator: Generator, segmenter: Segmenter, wanted: Wanted, *, progress: Report | None = None
    ) -> list[Direction]:
        """Directions for checked arguments, with `space` filled in; see `find_directions`."""
        found = self.search(generator, segmenter, wanted, progress or (lambda share: None))
        facts = {"method": self.name, "source": self.source, "seed": wanted.seed, "segmenter": segmenter.name}
        facts |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "version": lelsd_core.__version__}
        common = {"name": "-".join(wanted.parts), "region": region_among(segmenter, wanted.parts)}
        return list(named_apart(replace(each, **common, facts=facts | dict(each.facts)) for each in found))


def every_space(generator: Generator) -> tuple[str, ...]:
    """All spaces, the finest first."""
    return generator.space_names[::-1]


def sampled_spaces(generator: Generator) -> tuple[str, ...]:
    """The spaces in which samples spread over all dimensions: W, where there is one, and Z."""
    return tuple(name for name in ("W", "Z") if name in generator.space_names)


LELSD = "Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022"
METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("lelsd", "LELSD", LELSD, lelsd.search_looks, every_space, takes=("samples", "steps")),
        Method(
            "lelsd-local",
            "LELSD, local moves",
            LELSD,
            lelsd.search_shapes,
            lelsd.local_spaces,
            takes=("samples", "steps"),
        ),
        Method("lelsd-paper", "LELSD, as published", LELSD, lelsd.search_paper, lelsd.paper_spaces, takes=("steps",)),
        Method(
            "stylespace",
            "StyleSpace",
            "Wu, Lischinski, Shechtman, CVPR 2021",
            stylespace.search,
            lambda generator: tuple(name for name in generator.space_names if name == "S"),
            needs="the channels of a style space S",
        ),
        Method(
            "ganspace",
            "GANSpace",
            "Härkönen et al., NeurIPS 2020",
            ganspace.search,
            lambda generator: sampled_spaces(generator)[:1],
        ),
        Method(
            "sefa",
            "SeFa",
            "Shen, Zhou, CVPR 2021",
            sefa.search,
            lambda generator: sampled_spaces(generator)[:1] if generator.entry_weights() else (),
            needs="the weights that a code enters the network through",
            takes=(),
        ),
        Method(
            "interfacegan",
            "InterFaceGAN",
            "Shen et al., CVPR 2020",
            interfacegan.search,
            sampled_spaces,
            takes=("samples", "aligner", "scorer"),
        ),
        Method("lowrank", "Low-rank Jacobian", "Zhu et al., NeurIPS 2021, ICML 2022", lowrank.search, sampled_spaces),
        Method(
            "ganalyze",
            "GANalyze",
            "Goetschalckx et al., ICCV 2019",
            ganalyze.search,
            sampled_spaces,
            takes=("samples", "steps", "scorer"),
            room=ganalyze.room,
        ),
        Method("random", "Random", "unit vectors from a seed", random.search, every_space),
    )
}


def find_directions(
    method_name: str,
    generator: Generator,
    segmenter: Segmenter,
    wanted: Wanted,
    *,
    progress: Report | None = None,
) -> list[Direction]:
    """Find directions by a method; all arguments are checked before any slow work.

    Args:
        method_name: key of `METHODS`.
        generator: renders samples; the directions are in one of its spaces.
        segmenter: finds the parts.
        wanted: what is wanted.
        progress: called with the share that is done, from 0 to 1.

    Returns:
        `wanted.count` directions for `wanted.parts`, with vectors of length 1. Their `facts` hold "method", "source",
        the settings, and "amounts": the least and the most that they are used with, as `calibrate` needs them.

    Raises:
        UserError: an unknown method, part or space, a method that is not defined for the generator, a number below 1,
            more directions than there is room for, a segmenter for another generator, or a part that no sample shows.
    """
    if method_name not in METHODS:
        raise UserError(unknown_name("method", method_name, METHODS))
    method, segmenter = METHODS[method_name], adapt(segmenter)
    segmenter.parts.channels(wanted.parts)  # checks the names
    segmenter.check(generator)
    if reason := method.refuses(generator):
        raise UserError(reason)
    spaces = method.spaces(generator)
    if wanted.space and wanted.space not in spaces:
        raise UserError(unknown_name(f"space for {method.title}", wanted.space, spaces))
    wanted = replace(wanted, space=wanted.space or spaces[0])
    for name in ("count", "samples", "steps"):
        value = getattr(wanted, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; it must be at least 1.")
    room = method.room or (lambda generator, wanted: int(generator.space(wanted.space).column_mask().sum()))
    if wanted.count > (most := room(generator, wanted)):
        raise UserError(f"count is {wanted.count}; {method.title} finds at most {most} here, in {wanted.space}.")
    return method.find(generator, segmenter, wanted, progress=progress)
