"""What `python app.py` can be told: flags, and environment variables of the same names, over which flags win.

command line, environment  --read_settings-->  `Settings`, checked; needs neither torch nor Gradio
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from lelsd_core.errors import UserError

EXAMPLES = """
python app.py                                     on this machine, at http://127.0.0.1:7860
python app.py --host 0.0.0.0 --port 8080          for everybody who can reach this machine
python app.py --share --auth me:secret            a public link for up to a week, behind a password
python app.py --generator ffhq-1024               faces of 1024 pixels, fetched from the Hub
python app.py --directions my-directions/         sliders of your own, as `discover` writes them
LELSD_QUEUE_SIZE=8 LELSD_AUTH=me:secret python app.py   the same from the environment
"""
WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
KINDS = {int: "a whole number", bool: "1 or 0"}

AUTO = "auto"


def option(default: Any, kind: type, words: str, *also: str, metavar: str | None = None) -> Any:
    """A field of `Settings`: its default, its type, what it is in words, and more variables that may give it."""
    return field(default=default, metadata={"kind": kind, "help": words, "also": also, "metavar": metavar})


@dataclass(frozen=True)
class Settings:
    """How the page is served; each field is a flag, and a variable: queue_size is --queue-size and LELSD_QUEUE_SIZE."""

    host: str = option("127.0.0.1", str, "address to bind to [127.0.0.1; 0.0.0.0 on a Space]", "GRADIO_SERVER_NAME")
    port: int | None = option(None, int, "port [7860, or the next free one]", "GRADIO_SERVER_PORT", "PORT")
    share: bool = option(False, bool, "also make a public link", "GRADIO_SHARE")
    auth: tuple[tuple[str, str], ...] = option(
        (), str, "who may come in; may be repeated, in the environment one a line", metavar="USER:PASSWORD"
    )
    generator: str = option(
        AUTO,
        str,
        "registry name of the generator [auto: digiface-64 at once, ffhq-1024 when a GPU can have it]",
        metavar="NAME",
    )
    directions: str | None = option(
        None, str, "its sliders: a folder, or OWNER/NAME on the Hub [its own]", metavar="DIR"
    )
    queue_size: int = option(32, int, "how many visitors may wait; the next is told to come back [32]", metavar="N")
    max_upload_mb: int = option(30, int, "largest photo that is taken, in MB [30]", metavar="N")
    offline: bool = option(False, bool, "never look anything up on the network", "HF_HUB_OFFLINE")
    device: str | None = option(None, str, "auto, cpu, cuda, cuda:1 or mps [auto]", metavar="NAME")


RANGES = {"port": (1, 65535), "queue_size": (1, 10_000), "max_upload_mb": (1, 1000)}


def read_settings(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the command line and the environment. UserError for what makes no sense."""
    environment = os.environ if environment is None else environment
    flags = vars(parser().parse_args(arguments))
    found: dict[str, Any] = {"host": "0.0.0.0"} if "SPACE_ID" in environment else {}
    for part in fields(Settings):
        if flags[part.name] is not None:
            found[part.name] = flags[part.name]
        elif (given := from_environment(part, environment)) is not None:
            found[part.name] = given
    if "auth" in found:
        found["auth"] = tuple(read_login(text) for text in found["auth"])
    settings = Settings(**found)
    for name, (least, most) in RANGES.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= most:
            raise UserError(f"{flag_of(name)} is {value}; it can be {least} to {most}.")
    if settings.share and settings.offline:
        raise UserError("A public link needs the network; leave out --share or --offline.")
    return settings


def parser() -> argparse.ArgumentParser:
    """The flags; what was not given is None, so that the environment can have its say."""
    made = argparse.ArgumentParser(
        prog="python app.py",
        description="Start the page.",
        epilog=f"examples:\n{EXAMPLES}\nEvery flag is also a variable, LELSD_HOST and so on; flags win.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for part in fields(Settings):
        kind, words = part.metadata["kind"], part.metadata["help"]
        if kind is bool:
            how: dict[str, Any] = {"action": "store_true", "default": None}
        else:
            how = {"type": kind, "metavar": part.metadata["metavar"]}
        if part.name == "auth":
            how["action"] = "append"
        made.add_argument(flag_of(part.name), help=words, **how)
    return made


def flag_of(name: str) -> str:
    """queue_size -> --queue-size."""
    return "--" + name.replace("_", "-")


def from_environment(part: Field[Any], environment: Mapping[str, str]) -> Any:
    """What the environment says of a setting, None if nothing. UserError for a word of the wrong kind."""
    kind = part.metadata["kind"]
    for variable in (f"LELSD_{part.name.upper()}", *part.metadata["also"]):
        text = environment.get(variable, "").strip()
        if not text:
            continue
        if part.name == "auth":
            return text.splitlines()
        try:
            return WORDS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise UserError(f"{variable} is {text!r}; it should be {KINDS[kind]}.") from None
    return None


def read_login(text: str) -> tuple[str, str]:
    """USER:PASSWORD -> both. UserError, which never repeats what may be a password, if it is something else."""
    user, _, password = text.strip().partition(":")
    if not user or not password:
        raise UserError("--auth takes USER:PASSWORD; what was given lacks the colon, the user or the password.")
    return user, password


def check_address(settings: Settings) -> None:
    """UserError, before anything is loaded, if nothing can be served at the host and port that were given."""
    port = settings.port or 0  # without one, any that is free will do
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as the server does: a port whose last connections still end is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "no host is named so"
        where = f"{settings.host}:{port}" if port else settings.host
        raise UserError(
            f"The page cannot be served at {where} ({reason}); --host takes an address of this machine, --port a free "
            "port."
        ) from None
