"""Start the page: flags -> models -> page -> launch. `python app.py --help` tells what can be chosen."""

from __future__ import annotations

import os
import threading

from demo.options import Settings, read_settings
from lelsd_core.errors import UserError

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is sent anywhere


def main() -> None:
    """Start the page; whatever a person can put right is told in one sentence."""
    try:
        settings = read_settings()
        if settings.offline:
            os.environ["HF_HUB_OFFLINE"] = "1"
        start(settings)
    except UserError as problem:
        raise SystemExit(f"app.py: {problem}") from None


def start(settings: Settings) -> None:
    """Load the models, build the page, serve it."""
    from demo.gpu import LentEditor, lent
    from lelsd_core.device import choose_device
    from lelsd_core.registry import load_editor
    from lelsd_core.specs import generator_spec

    spec = generator_spec(settings.generator)
    editor = load_editor(settings.generator, choose_device(settings.device), directions=settings.directions)
    if lent():
        editor = LentEditor(editor, spec.first_seed, load_editor(settings.generator).random_face(spec.first_seed))
    from demo.page import build_page
    from demo.serve import MEGABYTE, serve

    page = build_page(
        editor,
        spec.discover,
        seed=spec.first_seed,
        live="SPACE_ID" not in os.environ,
        queue_size=settings.queue_size,
        max_bytes=settings.max_upload_mb * MEGABYTE,
    )
    if not lent():
        threading.Thread(target=editor.warm_up).start()  # while the page starts
    serve(page, settings)


if __name__ == "__main__":
    main()
