"""Pictures of a slider in motion, and the page's first picture, without Gradio's events, which take longer than both.

a slider moves  --page.js: POST live/KEY, values of the shown sliders-->  JPEG of the edit
a page is asked for  -->  its text, with the picture that it opens with in it

The key of a page is made for it alone and never told to another one, so that nobody else moves its sliders.
"""

from __future__ import annotations

import html
import io
import json
import secrets
from collections.abc import Mapping

import gradio as gr
from PIL import Image, ImageDraw
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo.callbacks import Callbacks
from demo.components import JPEG, Components, Updates, picture_url
from demo.face import Display, Now
from demo.theme import TITLE
from lelsd_core.errors import UserError

NOTHING = Response(status_code=204)  # to show; the slider's rest shows what is right, or says what is wrong
MOVING = {"quality": 85}  # of JPEGs that are replaced at once
SESSIONS = 1000  # keys that are kept
LARGEST = 10_000  # bytes of a request: numbers of some sliders
STATES = ("face", "group", "history")  # of `Now`, which the server keeps for a visitor
SPLASH = """<style>
#splash {{ position: fixed; inset: 0; z-index: 9999; overflow: hidden; background: #fafafa; color: #27272a;
  padding: 34px 32px; font-family: ui-sans-serif, system-ui, sans-serif;
  pointer-events: none; animation: leave 0s 30s forwards; }}
@keyframes leave {{ to {{ visibility: hidden; }} }}
#splash > * {{ max-width: var(--wide, 100%); margin: 0 auto; box-sizing: border-box; }}
#splash h1 {{ height: 139px; padding: 0 14px; font-size: 1.5rem; line-height: 31px; letter-spacing: -.02em; }}
#splash div {{ display: grid; justify-items: center; }}
#splash img {{ width: min(100%, 42vh); aspect-ratio: 1; border-radius: 12px 12px 0 0; }}
@media (min-width: 1024px) {{
  #splash {{ --wide: 960px; }}
  #splash div {{ grid-template-columns: minmax(240px, 3fr) 6fr 4fr; gap: 16px; }}
  #splash img {{ grid-column: 2; width: min(100%, max(300px, 100vh - 378px)); }}
}}
@media (min-width: 1280px) {{ #splash {{ --wide: 1216px; }} }}
@media (min-width: 1536px) {{ #splash {{ --wide: 1336px; }} }}
@media (max-width: 799px) {{ #splash h1 {{ height: 176px; font-size: 1.3rem; line-height: 27px; }} }}
@media (prefers-color-scheme: dark) {{ #splash {{ background: #09090b; color: #f4f4f5; }} }}
</style><div id="splash"><h1>{title}</h1><div><img src="{picture}" alt="A face before and after an edit"></div></div>"""


class Live:
    """Answers pages whose sliders are moving.

    Args:
        page: whose visitors' values Gradio keeps.
        callbacks: of the Edit tab.
        components: of the page, by name.
        first: updates of the face that the page opens with, by component name.
    """

    def __init__(self, page: gr.Blocks, callbacks: Callbacks, components: Components, first: Updates) -> None:
        self.page, self.callbacks, self.components = page, callbacks, components
        self.visitors: dict[str, str] = {}  # key -> Gradio's session hash
        self.splash = splash(first)

    def opened(self, request: gr.Request) -> Updates:
        """A key for a new page."""
        key = secrets.token_urlsafe(16)
        self.visitors[key] = request.session_hash
        while len(self.visitors) > SESSIONS:  # some pages end without a word
            self.visitors.pop(next(iter(self.visitors)), None)
        return {"live_key": key}

    def closed(self, request: gr.Request) -> None:
        """Forget the key of a page."""
        for key in [key for key, visitor in self.visitors.items() if visitor == request.session_hash]:
            del self.visitors[key]

    @property
    def route(self) -> Route:
        """Of the server, for `answer`."""
        return Route("/live/{key}", self.answer, methods=["POST"])

    async def answer(self, request: Request) -> Response:
        """A JPEG of the edit that a page asks for; nothing if there is a newer one, or it cannot be shown."""
        visitor = self.visitors.get(request.path_params["key"])
        if visitor is None:
            return Response(status_code=404)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return Response(status_code=413)
        try:
            asked = json.loads(body)
            display = Display(str(asked["view"]), bool(asked["detail"]), protect=False)
            percents = {int(number): float(value) for number, value in asked["sliders"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return Response(status_code=400)
        picture = await run_in_threadpool(self.picture, visitor, display, percents)
        return Response(picture, media_type="image/jpeg") if picture else NOTHING

    def picture(self, visitor: str, display: Display, percents: Mapping[int, float]) -> bytes | None:
        """What a view shows of the edit at rest with some sliders, by number, at other values from -100 to 100."""
        kept = self.page.state_holder[visitor]
        face, group, history = (kept[self.components[name]._id] for name in STATES)
        if face is None:  # after an hour without any event
            return None
        values = self.callbacks.padded(self.callbacks.percents(face, history.current))
        sliders = [percents.get(number, value) for number, value in enumerate(values)]
        try:
            shown = self.callbacks.preview(Now(visitor, face, display, group, sliders, history))
        except UserError:
            return None
        picture = shown.get("picture") or shown.get("swipe", (None, None))[1]
        return picture and encoded(picture)


def encoded(picture: Image.Image) -> bytes:
    """The bytes of a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **MOVING)
    return buffer.getvalue()


def splash(first: Updates) -> str:
    """HTML of what is seen while the page's scripts load: title and first picture, where they are going to be.

    page.js takes it away.
    """
    before, after = first["swipe"] if "swipe" in first else (first["picture"],) * 2
    picture, middle = after.copy(), after.width // 2
    if before is not after:
        picture.paste(before.crop((0, 0, middle, before.height)), (0, 0))
        ImageDraw.Draw(picture).line([(middle, 0), (middle, picture.height)], "white", 2)
    return SPLASH.format(title=html.escape(TITLE), picture=picture_url(picture, "JPEG", **JPEG))
