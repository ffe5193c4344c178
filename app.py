"""Start the page: flags -> models -> page -> launch. `python app.py --help` tells what can be chosen."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from demo.options import AUTO, Settings, check_address, read_settings
from lelsd_core.errors import UserError

if TYPE_CHECKING:
    from demo.models import ModelManager

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is sent anywhere


def main() -> None:
    """Start the page; whatever a person can put right is told in one sentence."""
    try:
        settings = read_settings()
        check_address(settings)
        if settings.offline:
            os.environ["HF_HUB_OFFLINE"] = "1"
        start(settings)
    except UserError as problem:
        raise SystemExit(f"app.py: {problem}") from None


def start(settings: Settings) -> None:
    """Load the models, build the page, serve it."""
    from demo.gpu import LentEditor, lent
    from demo.models import SHIPPED, ModelManager
    from lelsd_core.device import choose_device
    from lelsd_core.registry import load_editor
    from lelsd_core.weights.catalogue import generator_spec

    device, name = choose_device(settings.device), SHIPPED if settings.generator == AUTO else settings.generator
    spec, editor = generator_spec(name), load_editor(name, device, directions=settings.directions)
    if lent():
        editor = LentEditor(editor, spec.first_seed, load_editor(name).random_face(spec.first_seed))
    from demo.page import build_page
    from demo.serve import MEGABYTE, serve

    shelf = ModelManager(editor, device)
    page = build_page(
        shelf,
        seed=spec.first_seed,
        live="SPACE_ID" not in os.environ,
        queue_size=settings.queue_size,
        max_bytes=settings.max_upload_mb * MEGABYTE,
    )
    if not lent():
        threading.Thread(target=behind, args=[shelf, settings]).start()  # while the page starts
    serve(page, settings)


def behind(shelf: ModelManager, settings: Settings) -> None:
    """What goes on behind the page: first uses made quick, sliders searched, the large model fetched for a GPU."""
    from demo.models import FLAGSHIP, choose
    from lelsd_core.cli.doctor import check_hub
    from lelsd_core.weights.hub import is_offline, missing

    editor = shelf.editor(shelf.first)
    editor.warm_up()
    if settings.directions is None:
        shelf.fill_first()
    cuda = editor.generator.device.type == "cuda"
    if settings.generator == AUTO and cuda:
        reachable, cached = not check_hub().remedy, not missing(FLAGSHIP)
        if wanted := choose(cuda=cuda, reachable=reachable, offline=is_offline(), cached=cached).wanted:
            shelf.start(wanted)


if __name__ == "__main__":
    main()
