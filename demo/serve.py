"""A page that is built, served: first on this machine, then, if asked for, with a public link."""

from __future__ import annotations

import os
import threading
from urllib.parse import urlparse

import gradio as gr
from gradio import networking
from gradio.tunneling import CURRENT_TUNNELS

from demo.options import Settings
from demo.theme import CSS, THEME
from lelsd_core.errors import UserError

PATIENCE = 60  # seconds that a public link may take
MEGABYTE = 1_000_000


def serve(page: gr.Blocks, settings: Settings) -> None:
    """Serve the page until it is stopped. UserError if it cannot be served there."""
    try:
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=False,  # made below, once the page is up
            auth=list(settings.auth) or None,
            theme=THEME,
            css=CSS,
            max_file_size=settings.max_upload_mb * MEGABYTE,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as problem:
        raise UserError(f"The page cannot be served at {settings.host}; try another --port ({problem}).") from None
    print(f"* Running on local URL:  {page.local_url}", flush=True)
    if settings.share and "SPACE_ID" not in os.environ:  # a Space is public already
        threading.Thread(target=announce_link, args=[page], daemon=True).start()
    page.block_thread()


def announce_link(page: gr.Blocks, seconds: float = PATIENCE) -> None:
    """Print the public link, or why there is none."""
    try:
        print(f"* Running on public URL: {public_link(page, seconds)} (for up to a week)", flush=True)
    except UserError as problem:
        print(f"{problem} The page stays up at {page.local_url}", flush=True)


def public_link(page: gr.Blocks, seconds: float) -> str:
    """A public address of a page that is up. UserError with the reason if none is made in that many seconds."""
    answer: list[str | Exception] = []
    late = threading.Event()

    def ask() -> None:
        try:
            answer.append(
                networking.setup_tunnel(
                    local_host=page.server_name,
                    local_port=page.server_port,
                    share_token=page.share_token,
                    share_server_address=None,
                    share_server_tls_certificate=None,
                )
            )
        except Exception as problem:  # whatever it is, the page goes on without a link
            answer.append(problem)
        if late.is_set():  # it was said that there is none
            for tunnel in CURRENT_TUNNELS:
                tunnel.kill()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if not answer:
        late.set()
        raise UserError(f"No public link: Gradio's share service did not answer within {seconds:g} s.")
    if isinstance(answer[0], Exception):
        raise UserError(f"No public link: Gradio's share service cannot be used ({reason_of(answer[0])}).")
    page.share, page.share_url = True, urlparse(answer[0])._replace(scheme=page.share_server_protocol).geturl()
    return page.share_url


def reason_of(problem: BaseException) -> str:
    """What an error says first, in its innermost cause."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return next(iter(str(problem).splitlines()), "") or type(problem).__name__
