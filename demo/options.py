"""Options of `python app.py`: flags, and environment variables of the same names. Loads neither torch nor Gradio.

command line, environment  --read_settings-->  `Settings`, checked; flags take precedence
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from lelsd_core.cli.parser import SHIPPED
from lelsd_core.errors import UserError

EXAMPLES = """
python app.py                                     on this machine, at http://127.0.0.1:7860
python app.py --host 0.0.0.0 --port 8080          for everybody who can reach this machine
python app.py --share --auth me:secret            a public link for up to a week, behind a password
python app.py --generator ffhq-1024               faces of 1024 pixels, fetched from the Hub
python app.py --directions my-directions/         sliders of your own, as `discover` writes them
python app.py --mcp                               tools for assistants, at http://127.0.0.1:7860/gradio_api/mcp/
LELSD_QUEUE_SIZE=8 LELSD_AUTH=me:secret python app.py   the same from the environment
"""
BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
TYPE_NAMES = {int: "a whole number", bool: "1 or 0"}
AUTO = "auto"


def setting(default: Any, kind: type, text: str, *variables: str, metavar: str | None = None) -> Any:
    """A field of `Settings`: default, type, help text, and further environment variables that set it."""
    return field(default=default, metadata={"kind": kind, "help": text, "variables": variables, "metavar": metavar})


@dataclass(frozen=True)
class Settings:
    """How the page is served. Each field is a flag and a variable: queue_size is --queue-size and LELSD_QUEUE_SIZE."""

    host: str = setting("127.0.0.1", str, "address to bind to [127.0.0.1; 0.0.0.0 on a Space]", "GRADIO_SERVER_NAME")
    port: int | None = setting(None, int, "port [7860, or the next free one]", "GRADIO_SERVER_PORT", "PORT")
    share: bool = setting(False, bool, "also make a public link", "GRADIO_SHARE")
    root_path: str = setting(
        "", str, "path under which a proxy serves the page [/]", "GRADIO_ROOT_PATH", metavar="PATH"
    )
    auth: tuple[tuple[str, str], ...] = setting(
        (), str, "a login; may be repeated, in the environment one per line", metavar="USER:PASSWORD"
    )
    generator: str = setting(
        *(AUTO, str, f"name of the generator [auto: {SHIPPED} at once, ffhq-1024 in the background with a GPU]"),
        metavar="NAME",
    )
    directions: str | None = setting(
        None, str, "its directions: a folder, or OWNER/NAME on the Hub [its own]", metavar="DIR"
    )
    queue_size: int = setting(32, int, "number of visitors that may wait [32]", metavar="N")
    max_upload_mb: int = setting(30, int, "largest upload in MB [30]", metavar="N")
    mcp: bool = setting(False, bool, "also offer the page's functions to assistants (MCP)", "GRADIO_MCP_SERVER")
    offline: bool = setting(False, bool, "never use the network", "HF_HUB_OFFLINE")
    device: str | None = setting(None, str, "auto, cpu, cuda, cuda:1 or mps [auto]", metavar="NAME")


RANGES = {"port": (1, 65535), "queue_size": (1, 10_000), "max_upload_mb": (1, 1000)}


def read_settings(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the command line and the environment. UserError for an invalid value."""
    environment = os.environ if environment is None else environment
    flags = vars(parser().parse_args(arguments))
    values: dict[str, Any] = {"host": "0.0.0.0"} if "SPACE_ID" in environment else {}
    for setting in fields(Settings):
        value = flags[setting.name]
        value = from_environment(setting, environment) if value is None else value
        if value is not None:
            values[setting.name] = value
    if "auth" in values:
        values["auth"] = tuple(read_login(text) for text in values["auth"])
    settings = Settings(**values)
    for name, (least, greatest) in RANGES.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= greatest:
            raise UserError(f"{flag_of(name)} is {value}; it can be {least} to {greatest}.")
    if settings.share and settings.offline:
        raise UserError("A public link needs the network; leave out --share or --offline.")
    if settings.mcp and settings.auth:
        raise UserError("Gradio's MCP tools cannot be called behind a login; leave out --mcp or --auth.")
    return settings


def parser() -> argparse.ArgumentParser:
    """The flags; one that is left out is None, so that the environment can set it."""
    result = argparse.ArgumentParser(
        prog="python app.py",
        description="Start the page.",
        epilog=f"examples:\n{EXAMPLES}\nEvery flag is also a variable, LELSD_HOST and so on; flags win.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for setting in fields(Settings):
        kind, metavar = setting.metadata["kind"], setting.metadata["metavar"]
        if kind is bool:
            options: dict[str, Any] = {"action": "store_true", "default": None}
        else:
            options = {"type": kind, "metavar": metavar, "action": "append" if setting.name == "auth" else "store"}
        result.add_argument(flag_of(setting.name), help=setting.metadata["help"], **options)
    return result


def flag_of(name: str) -> str:
    """queue_size -> --queue-size."""
    return "--" + name.replace("_", "-")


def from_environment(setting: Field[Any], environment: Mapping[str, str]) -> Any:
    """The value of a setting in the environment, or None. UserError for a value of the wrong type."""
    kind = setting.metadata["kind"]
    for variable in (f"LELSD_{setting.name.upper()}", *setting.metadata["variables"]):
        text = environment.get(variable, "").strip()
        if not text:
            continue
        if setting.name == "auth":
            return text.splitlines()
        try:
            return BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise UserError(f"{variable} is {text!r}; it should be {TYPE_NAMES[kind]}.") from None
    return None


def read_login(text: str) -> tuple[str, str]:
    """USER:PASSWORD -> (user, password). UserError for anything else, without repeating what may be a password."""
    user, _, password = text.strip().partition(":")
    if not user or not password:
        raise UserError("--auth takes USER:PASSWORD; this value lacks the colon, the user or the password.")
    return user, password


def check_address(settings: Settings) -> None:
    """UserError, before anything is loaded, if the page cannot be served at this host and port."""
    port = settings.port or 0  # 0: any free port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as the server does: a port with closing connections is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host has this name"
        place = f"{settings.host}:{port}" if port else settings.host
        raise UserError(
            f"The page cannot be served at {place} ({reason}); --host takes an address of this machine, --port a free "
            "port."
        ) from None


def check_mcp(settings: Settings) -> None:
    """UserError, before anything is loaded, if the page's functions cannot be offered to assistants."""
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        raise UserError('--mcp needs the package mcp; install it with pip install "gradio[mcp]".')
