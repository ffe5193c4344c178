"""Publishes directions on the Hugging Face Hub with a model card, and downloads published ones.

    directions  --card-->  {README.md, PART.safetensors ...}  --one commit-->  OWNER/NAME  --*.safetensors-->  folder

Nothing else is sent or downloaded. The token is the one that huggingface_hub finds: `HF_TOKEN`, or its stored login.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelCardData, get_token, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.weights.cache import hub_cache
from lelsd_core.weights.catalogue import Network
from lelsd_core.weights.hub import endpoint, is_offline, reason_of

MOST_FILES, MOST_BYTES = 64, 2**20  # of a gallery; a direction of the largest generator has 60 kB
TAGS = ("lelsd", "gan", "latent-space", "image-editing")
CARD = """---
{metadata}
---

# Directions for {generator}

Each file is a direction in the latent space {spaces} of {generator} that changes one part of the picture, found by
LELSD (Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022, [arXiv:2111.12583](https://arxiv.org/abs/2111.12583)). The
generator: {about}.

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

The files fit only the weights whose fingerprint in lelsd_core is `{fingerprint}`.

## Licence

The generator's terms apply. Weights: {licence}. Training data: {data}.
"""


def files_of(repository: str, directions: Sequence[Direction], generator: Network) -> dict[str, bytes]:
    """The content of a repository by file name: the card, and each direction.

    Args:
        repository: OWNER/NAME.
        directions: of one generator.
        generator: what the card says about it.

    Raises:
        UserError: a name that the Hub does not accept, no directions, or directions of several generators.
    """
    try:
        validate_repo_id(repository)
        _owner, _name = repository.split("/")
    except (HFValidationError, ValueError):
        raise UserError(
            "A repository on the Hub is named OWNER/NAME, in letters, digits, dots, dashes and underscores."
        ) from None
    if not directions:
        raise UserError("There are no directions to publish; find some first: start the page with this generator.")
    if len(generators := {direction.fingerprint: direction.generator for direction in directions}) > 1:
        raise UserError(
            f"These directions belong to several generators ({', '.join(generators.values())}); push one's."
        )
    files = {"README.md": card(repository, directions, generator).encode()}
    with tempfile.TemporaryDirectory() as folder:
        for direction in directions:
            path = Path(folder, "-".join(direction.name.split()) + ".safetensors")
            direction.save(path)
            files[path.name] = path.read_bytes()
    return files


def card(repository: str, directions: Sequence[Direction], generator: Network) -> str:
    """The model card, front matter included."""
    rows = ["| direction | part | score | area | gain | range |", "|---|---|--:|--:|--:|--:|"]
    for direction in directions:
        numbers = ((direction.score, ".2f"), (direction.area, ".1%"), (direction.gain, ".1f"))
        cells = [direction.name, " ".join(direction.parts)]
        cells += ["" if number is None else format(number, form) for number, form in numbers]
        cells.append(f"{direction.low:g} to {direction.high:g}")
        rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    first = directions[0]
    data = ModelCardData(
        license="other",
        license_name="inherited-from-the-generator",
        tags=[*TAGS, first.generator],
        base_model=generator.sources[0].repository if generator.sources else None,
    )
    return CARD.format(
        metadata=data.to_yaml(),
        generator=first.generator,
        spaces=" and ".join(dict.fromkeys(direction.space for direction in directions)),
        about=generator.about,
        rows="\n".join(rows),
        repository=repository,
        name=first.name,
        amount=first.high / 2,
        fingerprint=first.fingerprint,
        licence=generator.licence,
        data=generator.data,
    )


def push(repository: str, files: Mapping[str, bytes]) -> str:
    """Make the repository if it does not exist, and put the files in it in one commit; the commit's address.

    Raises:
        UserError: no token, no permission, no network, or the Hub refuses.
    """
    if is_offline():
        raise UserError(
            "The network is switched off (--offline or HF_HUB_OFFLINE); --dry-run shows what would be sent."
        )
    if not (token := get_token()):
        raise UserError(
            "Publishing needs a token that may write: set HF_TOKEN, or run hf auth login once. --dry-run shows what "
            "would be sent."
        )
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    api = HfApi(endpoint=endpoint(), token=token)
    try:
        with no_progress_bars():
            api.create_repo(repository, exist_ok=True)
            return api.create_commit(repository, operations, commit_message="Directions and their card").commit_url
    except (HTTPError, OSError, ValueError) as problem:
        refusals = {
            401: "the Hub does not know your token (401); make a new one that may write",
            403: "your token has no right to write there (403); use one that may, or a repository of your own",
        }
        status = getattr(getattr(problem, "response", None), "status_code", None)
        raise UserError(f"{repository} could not be written: {refusals.get(status) or reason_of(problem)}.") from None


def is_repository(name: str) -> bool:
    """Whether a name could be a repository's: OWNER/NAME."""
    return re.fullmatch(r"\w[\w-]*/\w[\w.-]*", name) is not None


def fetch_folder(repository: str) -> Path:
    """A folder with a repository's directions, in huggingface_hub's cache; without network, the last downloaded ones.

    Raises:
        UserError: no such repository, no network and never downloaded, or no gallery.
    """
    options = {"allow_patterns": "*.safetensors", "cache_dir": hub_cache(), "endpoint": endpoint()}
    reason = "the network is switched off (--offline or HF_HUB_OFFLINE)" if is_offline() else ""
    try:
        if not reason:
            info = HfApi(endpoint=endpoint()).model_info(repository, files_metadata=True)  # fails at once without a Hub
            sizes = [file.size or 0 for file in info.siblings or () if file.rfilename.endswith(".safetensors")]
            if not sizes:
                raise UserError(f"{repository} holds no directions (*.safetensors).")
            if len(sizes) > MOST_FILES or max(sizes) > MOST_BYTES:
                raise UserError(
                    f"{repository} is no gallery of directions: it holds {len(sizes)} safetensors files, the largest "
                    f"of {max(sizes) / 1e6:.1f} MB; a direction has less than {MOST_BYTES / 1e6:.1f} MB."
                )
            with no_progress_bars():
                return Path(snapshot_download(repository, **options))
    except json.JSONDecodeError:
        reason = "its server does not answer as the Hub does"
    except (HTTPError, OSError) as problem:
        reason = reason_of(problem)
        if getattr(getattr(problem, "response", None), "status_code", 500) < 500:  # the Hub itself refuses
            raise UserError(f"The directions of {repository} could not be fetched: {reason}.") from None
    try:
        return Path(snapshot_download(repository, local_files_only=True, **options))
    except LocalEntryNotFoundError:
        raise UserError(
            f"There are no directions in {repository}: it is no folder here, it was never fetched from the Hub on this "
            f"machine, and it cannot be now: {reason}."
        ) from None


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Without huggingface_hub's progress bars, which are of no use for files of a few kB."""
    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()
