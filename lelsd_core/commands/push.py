"""Publish a gallery: directions of one generator, with a card, to a model repository on the Hugging Face Hub.

HF_TOKEN=... python -m lelsd_core weights push-directions me/ffhq-directions --generator ffhq-1024
"""

from __future__ import annotations

import argparse
from typing import Any


def push_directions(options: argparse.Namespace) -> dict[str, Any]:
    """REPO: publish a generator's directions; --dry-run shows what would be sent."""
    from lelsd_core.errors import UserError
    from lelsd_core.gallery.hub import Origin, files_of, push
    from lelsd_core.registry import directions_of
    from lelsd_core.specs import generator_spec

    if len(options.names) != 1:
        options.usage_error("push-directions takes one name: OWNER/NAME of a repository on the Hub")
    (repository,) = options.names
    spec = generator_spec(options.generator)
    origin = Origin(spec.about, spec.licence, spec.data, spec.repository)
    directions = directions_of(options.generator, options.directions)
    for direction in directions:
        if direction.generator != options.generator:
            raise UserError(
                f"The direction {direction.name!r} belongs to {direction.generator!r}, not to {options.generator!r}; "
                "say whose they are with --generator."
            )
    files = files_of(repository, directions, origin)
    sizes = {name: len(content) for name, content in files.items()}
    listed = ", ".join(f"{name} ({size / 1e3:.0f} kB)" for name, size in sizes.items())
    if options.dry_run:
        print(files["README.md"].decode())
        print(f"{repository} would get: {listed}. Nothing was sent.")
        return {"repository": repository, "files": sizes, "commit": None}
    commit = push(repository, files)
    print(f"{repository} got: {listed}. See {commit}.")
    return {"repository": repository, "files": sizes, "commit": commit}
