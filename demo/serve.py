"""Serves the page: first on this machine, then, if asked for, with a public link."""

from __future__ import annotations

import html
import os
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import gradio as gr
from gradio import networking
from gradio.route_utils import get_root_url
from gradio.tunneling import CURRENT_TUNNELS
from starlette.datastructures import MutableHeaders, QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.keeping import read_link
from demo.options import Settings
from demo.theme import CSS, THEME, TITLE
from lelsd_core.errors import UserError

LINK_TIMEOUT = 60  # seconds to wait for a public link
MEGABYTE = 1_000_000
SESSIONS = 200  # visitors whose values Gradio keeps; the least recent ones are forgotten
PREVIEW = Path(__file__).parent / "screenshots" / "edit.png"  # what a link to the page shows in a chat
SUMMARY = "Click a part of a face, move a slider, and see how much of the change stays in that part. Runs on a CPU."


class PageText:
    """Changes the text of the page: our words for link previews where Gradio's template has its, and a first picture.

    Args:
        app: Gradio's.
        splash: HTML of that picture, for addresses that ask for no other one.
    """

    def __init__(self, app: ASGIApp, splash: str = "") -> None:
        self.app, self.splash = app, splash

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/preview.png"):
            return await FileResponse(PREVIEW)(scope, receive, send)
        if scope["type"] != "http" or scope["path"].strip("/") not in ("", scope.get("root_path", "").strip("/")):
            return await self.app(scope, receive, send)
        start: Message = {}
        body = b""

        async def change(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            root = get_root_url(Request(scope), scope["path"], scope["app"].root_path)
            page = with_preview(body.decode(), f"{root}/")
            if read_link(QueryParams(scope["query_string"])) is None:
                page = re.sub(r"<body[^>]*>", lambda tag: tag[0] + self.splash, page, count=1)
            content = page.encode()
            MutableHeaders(scope=start)["content-length"] = str(len(content))
            await send(start)
            await send({"type": "http.response.body", "body": content})

        return await self.app(scope, receive, change)


def with_preview(page: str, address: str) -> str:
    """A page of Gradio's with our own words for link previews in place of its; the address is the page's own."""
    without = re.sub(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>', "", page)
    facts = {"title": TITLE, "description": SUMMARY, "url": address, "image": f"{address.rstrip('/')}/preview.png"}
    tags = [f'<meta property="og:{name}" content="{html.escape(text)}" />' for name, text in facts.items()]
    tags += [
        '<meta property="og:type" content="website" />',
        '<meta name="twitter:card" content="summary_large_image" />',
    ]
    return without.replace("<head>", "<head>" + "".join(tags), 1)


def look(page: gr.Blocks) -> dict[str, Any]:
    """How a page is launched; a dict for each, as Gradio adds to it."""
    live = getattr(page, "live", None)  # a page of endpoints alone has none
    return {
        "theme": THEME,
        "css": CSS,
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "prevent_thread_lock": True,
        "quiet": True,
        "state_session_capacity": SESSIONS,
        "app_kwargs": {
            "middleware": [Middleware(PageText, splash=live.splash if live else "")],
            "routes": [live.route] if live else [],
        },
    }


def serve(page: gr.Blocks, settings: Settings) -> None:
    """Serve the page until it is stopped. UserError if the address cannot be used."""
    try:
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=False,  # made below, once the page is up
            auth=list(settings.auth) or None,
            max_file_size=settings.max_upload_mb * MEGABYTE,
            mcp_server=settings.mcp,
            root_path=settings.root_path or None,
            **look(page),
        )
    except OSError as error:
        raise UserError(f"The page cannot be served at {settings.host}; try another --port ({error}).") from None
    print(f"* Running on local URL:  {page.local_url}", flush=True)
    if settings.mcp and page.mcp_error:
        print(f"No tools for assistants: {page.mcp_error}", flush=True)
    if settings.share and "SPACE_ID" not in os.environ:  # a Space is public already
        threading.Thread(target=announce_link, args=[page], daemon=True).start()
    page.block_thread()


def announce_link(page: gr.Blocks, seconds: float = LINK_TIMEOUT) -> None:
    """Print the public link, or why there is none."""
    try:
        print(f"* Running on public URL: {public_link(page, seconds)} (for up to a week)", flush=True)
    except UserError as error:
        print(f"{error} The page stays up at {page.local_url}", flush=True)


def public_link(page: gr.Blocks, seconds: float) -> str:
    """Make a public address for a running page. UserError with the reason if there is none after so many seconds."""
    results: list[str | Exception] = []
    timed_out = threading.Event()

    def connect() -> None:
        try:
            results.append(
                networking.setup_tunnel(
                    local_host=page.server_name,
                    local_port=page.server_port,
                    share_token=page.share_token,
                    share_server_address=None,
                    share_server_tls_certificate=None,
                )
            )
        except Exception as error:  # of any kind: the page goes on without a link
            results.append(error)
        if timed_out.is_set():  # the link was reported as missing
            for tunnel in CURRENT_TUNNELS:
                tunnel.kill()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        timed_out.set()
        raise UserError(f"No public link: Gradio's share service did not answer within {seconds:g} s.")
    if isinstance(results[0], Exception):
        raise UserError(f"No public link: Gradio's share service cannot be used ({first_cause(results[0])}).")
    page.share, page.share_url = True, urlparse(results[0])._replace(scheme=page.share_server_protocol).geturl()
    return page.share_url


def first_cause(error: BaseException) -> str:
    """First line of the error's innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), "") or type(error).__name__
