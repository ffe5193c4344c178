"""Start the page: flags -> models -> page -> launch.

python app.py                       on this machine, at http://127.0.0.1:7860
python app.py --share               with a public link for up to a week
python app.py --host 0.0.0.0 --port 8080
"""

from __future__ import annotations

import argparse
import os
import threading

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is sent anywhere


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), help="address to bind to")
    parser.add_argument(
        "--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT") or os.environ.get("PORT"), help="port"
    )
    parser.add_argument("--share", action="store_true", help="make a public link (off unless asked for)")
    parser.add_argument("--offline", action="store_true", help="never look anything up on the network")
    parser.add_argument("--generator", default="digiface-64", help="registry name of the generator")
    return parser.parse_args()


def main() -> None:
    """Load the models, build the page, serve it."""
    options = arguments()
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from lelsd_core.errors import UserError
    from lelsd_core.registry import GENERATORS, load_editor

    try:
        editor = load_editor(options.generator)
    except UserError as problem:
        raise SystemExit(f"app.py: {problem}") from None
    from demo.page import build_page
    from demo.theme import CSS, THEME

    spec = GENERATORS[options.generator]
    page = build_page(editor, spec.discover, seed=spec.first_seed, live="SPACE_ID" not in os.environ)
    threading.Thread(target=editor.warm_up).start()  # while the page starts
    try:
        page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share and not options.offline,
            theme=THEME,
            css=CSS,
            max_file_size="30mb",
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
        )
    except OSError as problem:
        where = f"{options.host}:{options.port}" if options.port else options.host
        raise SystemExit(f"app.py: the page cannot be served at {where}; try another --port ({problem}).") from None


if __name__ == "__main__":
    main()
