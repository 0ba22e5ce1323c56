"""Commands to a running street: ``gridparley cut h07`` finds the run of this folder and tells its launcher."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from deploy.nats.links import LinkState
from deploy.topology import Action

HERE = Path(".gridparley") / "current"
ANSWER_WALL_S = 15.0


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``status``, an action of a disturbance with its fields, ``link`` (a site's is like that from now on), or ``skew``
    (an agent's clock goes so much ahead)."""

    action: Action | str
    site: str = ""
    address: str = ""
    device: str = ""
    energy_wh: float = 20_000.0
    stays_s: float = 14_400.0
    programme: str = ""
    power_w: float = 0.0
    fault: str = ""
    link: LinkState = LinkState()
    ahead_s: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``error`` is empty when it was done."""

    error: str = ""
    text: str = ""
    status: dict[str, Any] = {}


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """Which run the commands of a folder go to."""

    folder: str
    socket: str
    pid: int


class NoRunHere(Exception):
    """No street runs from this folder."""

    def __init__(self, where: Path) -> None:
        super().__init__(f"no run is going on here ({where.resolve()}): start one with `gridparley up`")


async def serve(path: Path, do: Callable[[Command], Awaitable[Answer]]) -> asyncio.Server:
    """Take commands, one per connection, on a socket that only its owner may open."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await do(msgspec.json.decode(await reader.readline(), type=Command))
        except (msgspec.MsgspecError, ValueError) as problem:
            answer = Answer(error=f"not understood: {problem}")
        writer.write(msgspec.json.encode(answer) + b"\n")
        writer.close()

    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(one, path)
    finally:
        os.umask(before)


def announce(folder: Path, path: Path) -> None:
    """Make this the run that commands given here go to."""
    HERE.parent.mkdir(exist_ok=True)
    HERE.write_bytes(msgspec.json.encode(Current(folder=str(folder.resolve()), socket=str(path), pid=os.getpid())))


def withdraw(path: Path) -> None:
    """Unless another run has taken its place."""
    if HERE.exists() and path == Path(current().socket):
        HERE.unlink()


def current(here: Path = HERE) -> Current:
    """The run that goes on in this folder. Raises NoRunHere."""
    try:
        return msgspec.json.decode(here.read_bytes(), type=Current)
    except (OSError, msgspec.MsgspecError):
        raise NoRunHere(here.parent) from None


def send(command: Command, here: Path = HERE) -> Answer:
    """Give a command to the run that ``here`` names. Raises NoRunHere."""
    run = current(here)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(ANSWER_WALL_S)
        try:
            line.connect(run.socket)
        except OSError:
            raise NoRunHere(here.parent) from None
        line.sendall(msgspec.json.encode(command) + b"\n")
        got = b""
        while chunk := line.recv(65536):
            got += chunk
    return msgspec.json.decode(got, type=Answer)
