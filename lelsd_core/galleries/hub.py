"""Galleries on the Hugging Face Hub, both ways: directions as they are, and a card that says what they do.

    directions  --card-->  {README.md, PART.safetensors ...}  --one commit-->  OWNER/NAME  --*.safetensors-->  folder

Nothing else is sent or fetched. The token is the one that huggingface_hub finds: `HF_TOKEN`, or the login it keeps.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.weights.cache import hub_cache
from lelsd_core.weights.hub import is_offline, why

MOST_FILES, MOST_BYTES = 64, 2**20  # of a gallery that is fetched; a direction of the largest generator has 60 kB
TAGS = ("lelsd", "gan", "latent-space", "image-editing")
CARD = """---
{metadata}
---

# Directions for {generator}

Each file is a direction in the latent space {spaces} of {generator} that changes one part of the picture, found by
LELSD (Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022, [arXiv:2111.12583](https://arxiv.org/abs/2111.12583)). The
generator: {about}

{rows}

Score: share of the squared change of held-out samples that lies inside the part. Area: share of the picture that the
part covers. Gain: odds of the score over odds of the area. Range: amounts along the direction.

## Use

```bash
python app.py --generator {generator} --directions {repository}
```

```python
from lelsd_core.registry import load_editor

editor = load_editor("{generator}", directions="{repository}")
edited = editor.render(editor.random_face(1), {{"{name}": {amount:g}}})
```

The files belong to the very weights whose SHA-256 is `{fingerprint}`; others refuse them.

## Licence

The generator's terms apply. Weights: {licence}. Training data: {data}.
"""


@dataclass(frozen=True)
class Origin:
    """What a card says about the generator.

    Args:
        about: one sentence.
        licence, data: of its weights; of what it was trained on.
        repository: where it lies on the Hub, "" if nowhere.
    """

    about: str
    licence: str
    data: str
    repository: str = ""


def files_of(repository: str, directions: Sequence[Direction], origin: Origin) -> dict[str, bytes]:
    """What a repository gets, by file name: the card, and each direction.

    Raises:
        UserError: a name that the Hub would refuse, no directions, or directions of several generators.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if repository.count("/") != 1:
        raise UserError(
            "A repository on the Hub is named OWNER/NAME, in letters, digits, dots, dashes and underscores."
        )
    if not directions:
        raise UserError("There are no directions to publish; search some first: start the page with this generator.")
    if len(generators := {direction.fingerprint: direction.generator for direction in directions}) > 1:
        raise UserError(
            f"These directions belong to several generators ({', '.join(generators.values())}); push one's."
        )
    found = {"README.md": card(repository, directions, origin).encode()}
    with tempfile.TemporaryDirectory() as folder:
        for direction in directions:
            path = Path(folder, "-".join(direction.name.split()) + ".safetensors")
            direction.save(path)
            found[path.name] = path.read_bytes()
    return found


def card(repository: str, directions: Sequence[Direction], origin: Origin) -> str:
    """The model card, front matter included."""
    from huggingface_hub import ModelCardData

    first = directions[0]
    data = ModelCardData(
        license="other",
        license_name="inherited-from-the-generator",
        tags=[*TAGS, first.generator],
        base_model=origin.repository or None,
    )
    rows = ["| direction | part | score | area | gain | range |", "|---|---|--:|--:|--:|--:|"]
    rows += [row(direction) for direction in directions]
    spaces = " and ".join(dict.fromkeys(direction.space for direction in directions))
    return CARD.format(
        metadata=data.to_yaml(),
        generator=first.generator,
        spaces=spaces,
        about=origin.about,
        rows="\n".join(rows),
        repository=repository,
        name=first.name,
        amount=first.high / 2,
        fingerprint=first.fingerprint,
        licence=origin.licence,
        data=origin.data,
    )


def row(direction: Direction) -> str:
    """One direction's line of the table."""
    numbers = [
        "" if value is None else form.format(value)
        for value, form in ((direction.score, "{:.2f}"), (direction.area, "{:.1%}"), (direction.gain, "{:.1f}"))
    ]
    cells = (direction.name, " ".join(direction.parts), *numbers, f"{direction.low:g} to {direction.high:g}")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def push(repository: str, files: Mapping[str, bytes]) -> str:
    """Make the repository if it is not there, and put the files in it in one commit; the commit's address.

    Raises:
        UserError: no token, no right, no network, or the Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HTTPError

    if is_offline():
        raise UserError(
            "The network is switched off (--offline or HF_HUB_OFFLINE); --dry-run shows what would be sent."
        )
    if not (token := get_token()):
        raise UserError(
            "Publishing wants a token of yours that may write: set HF_TOKEN, or run hf auth login once. "
            "--dry-run shows what would be sent."
        )
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    api = HfApi(**access(), token=token)
    try:
        with quiet():
            api.create_repo(repository, exist_ok=True)
            return api.create_commit(repository, operations, commit_message="Directions and their card").commit_url
    except (HTTPError, OSError, ValueError) as problem:
        raise UserError(f"{repository} could not be written: {refusal(problem)}.") from None


def refusal(problem: Exception) -> str:
    """Why the Hub did not take it."""
    status = getattr(getattr(problem, "response", None), "status_code", None)
    known = {
        401: "the Hub does not know your token (401); make a new one that may write",
        403: "your token has no right to write there (403); use one that may, or a repository of your own",
    }
    return known.get(status) or why(problem)


def is_repository(name: str) -> bool:
    """Whether a name could be a repository's: OWNER/NAME."""
    return re.fullmatch(r"\w[\w-]*/\w[\w.-]*", name) is not None


def fetch_folder(repository: str) -> Path:
    """A folder with a repository's directions, in huggingface_hub's cache; without network, as they were last fetched.

    Raises:
        UserError: no such repository, no network and never fetched, or no gallery at all.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    options = {"allow_patterns": "*.safetensors", "cache_dir": hub_cache(), **access()}
    reason = "the network is switched off (--offline or HF_HUB_OFFLINE)" if is_offline() else ""
    try:
        if not reason:
            check_sizes(repository, sizes_of(repository))
            with quiet():
                return Path(snapshot_download(repository, **options))
    except json.JSONDecodeError:
        reason = "its server does not answer as the Hub does"
    except (HTTPError, OSError) as problem:
        reason = why(problem)
        if getattr(getattr(problem, "response", None), "status_code", 500) < 500:  # the Hub itself says no
            raise UserError(f"The directions of {repository} could not be fetched: {reason}.") from None
    try:
        return Path(snapshot_download(repository, local_files_only=True, **options))
    except LocalEntryNotFoundError:
        raise UserError(
            f"There are no directions in {repository}: it is no folder here, it was never fetched from the Hub on this "
            f"machine, and it cannot be now: {reason}."
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without huggingface_hub's progress bars, which it draws into pipes, too, and for files of a few kB."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def access() -> dict[str, str | None]:
    """Where the Hub is; None = where huggingface_hub knows."""
    return {"endpoint": os.environ.get("HF_ENDPOINT") or None}


def sizes_of(repository: str) -> dict[str, int]:
    """Bytes of a repository's files by name, asked once: who waits for a page is told soon that there is no Hub."""
    from huggingface_hub import HfApi

    files = HfApi(**access()).model_info(repository, files_metadata=True).siblings or ()
    return {file.rfilename: file.size or 0 for file in files}


def check_sizes(repository: str, sizes: Mapping[str, int]) -> None:
    """UserError for a repository that is no gallery, before anything of it is fetched."""
    directions = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    if not directions:
        raise UserError(f"{repository} holds no directions (*.safetensors).")
    if len(directions) > MOST_FILES or max(directions.values()) > MOST_BYTES:
        raise UserError(
            f"{repository} is no gallery of directions: it holds {len(directions)} safetensors files, the largest of "
            f"{max(directions.values()) / 1e6:.1f} MB; a direction has less than {MOST_BYTES / 1e6:.1f} MB."
        )
