"""Starts the page: options -> models -> page -> server. `python app.py --help` lists the options."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from demo.options import AUTO, Settings, check_address, check_mcp, read_settings
from lelsd_core.errors import UserError, print_anything

if TYPE_CHECKING:
    from demo.models import ModelManager

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported: no telemetry


def main() -> None:
    """Start the page, or end with the message of a `UserError`."""
    print_anything()
    try:
        settings = read_settings()
        check_mcp(settings)
        check_address(settings)
        if settings.offline:
            os.environ["HF_HUB_OFFLINE"] = "1"
        with private_folder():
            start(settings)
    except UserError as error:
        raise SystemExit(f"app.py: {error}") from None


@contextmanager
def private_folder() -> Iterator[None]:
    """A folder for uploads that no other user can own or read, removed at the end; GRADIO_TEMP_DIR names another one.

    UserError if there is no place for it.
    """
    if "GRADIO_TEMP_DIR" in os.environ:
        yield
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="lelsd-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(f"There is no folder for uploads ({error}); name one in the variable TMPDIR.") from None
    with folder as name:
        os.environ["GRADIO_TEMP_DIR"] = name  # read when gradio is imported
        yield


def start(settings: Settings) -> None:
    """Load the first model, build the page and serve it."""
    from demo.gpu import LentEditor, is_lent  # first, because of `spaces`
    from demo.models import ModelManager, opening_seed
    from lelsd_core.cli.parser import SHIPPED
    from lelsd_core.device import choose_device, share_heaps
    from lelsd_core.registry import load_editor

    share_heaps()
    device, name = choose_device(settings.device), SHIPPED if settings.generator == AUTO else settings.generator
    seed, editor = opening_seed(name), load_editor(name, device, directions=settings.directions)
    if is_lent():
        editor = LentEditor(editor, seed, load_editor(name).random_face(seed))
    from demo.page import build_page
    from demo.serve import MEGABYTE, serve

    manager = ModelManager(editor, device, lend=LentEditor if is_lent() else None)
    if is_lent():
        load_all(manager, settings)  # before the page is launched
    page = build_page(
        manager,
        seed=seed,
        live=not is_lent(),
        queue_size=settings.queue_size,
        max_bytes=settings.max_upload_mb * MEGABYTE,
    )
    if not is_lent():
        threading.Thread(target=prepare, args=[manager, settings]).start()  # while the server starts
    serve(page, settings)


def load_all(manager: ModelManager, settings: Settings) -> None:
    """Load every model whose files are here and, unless a generator was named, the large one, in this thread."""
    from demo.models import FLAGSHIP
    from lelsd_core.weights.catalogue import generator_names
    from lelsd_core.weights.hub import missing

    here = [name for name in generator_names() if name != manager.first and not missing(name)]
    for name in [*here, *([FLAGSHIP] if settings.generator == AUTO and FLAGSHIP not in here else [])]:
        print(manager.load(name).message, flush=True)


def prepare(manager: ModelManager, settings: Settings) -> None:
    """Warm up, search for missing directions, and fetch the large model if there is a GPU for it."""
    from demo.models import FLAGSHIP, background_model
    from lelsd_core.cli.doctor import check_hub
    from lelsd_core.weights.hub import is_offline, missing

    editor = manager.editor(manager.first)
    editor.warm_up()
    if settings.directions is None:
        manager.fill_first()
    cuda = editor.generator.device.type == "cuda"
    if settings.generator == AUTO and cuda:
        online = not is_offline() and not check_hub().remedy
        model = background_model(cuda=cuda, online=online, cached=not missing(FLAGSHIP))
        if model:
            manager.announced = model
            manager.start(model)


if __name__ == "__main__":
    main()
