"""The run's records on disk: rows that are appended while it runs, and read again whatever happened to their writer.

``measurements.csv`` has one row per reading of a connection point, ``events.jsonl`` one line per other word.
A killed writer leaves whole rows and at most one torn line, which reading leaves out.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

from contracts import all as every_word  # noqa: F401  fills the vocabulary
from contracts.kit import Message, vocabulary
from contracts.metering import GcpReading

MEASUREMENTS, EVENTS = "measurements.csv", "events.jsonl"
LINK_UP, LINK_DOWN = "link_up", "link_down"
"""Events that no agent said: the hub sees a site's link come or go. ``sender`` is ``<site>.link``."""
_PHASED = ("power_by_phase_w", "current_by_phase_a", "voltage_by_phase_v")
_PLAIN = ("power_w", "reactive_power_var", "frequency_hz", "import_wh", "export_wh")
COLUMNS = (
    "at",
    "agent",
    "quality",
    *_PLAIN,
    *(name.replace("by_phase", f"l{n}") for name in _PHASED for n in (1, 2, 3)),
)
"""Of ``measurements.csv``: ``at`` is the instant of measuring, unix seconds of the run; the rest carries its unit."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One word as it passed the hub.

    ``at`` is when it was said and ``heard`` when it came by, both unix seconds of the run's clock: what a cut link kept
    back is heard later than it was said. ``error`` says why a word could not be read; its body is then null.
    """

    at: float
    heard: float
    word: str
    topic: str = ""
    edition: int = 1
    sender: str
    receiver: str | None = None
    group: str | None = None
    id: str = ""
    talk: str | None = None
    trace: str | None = None
    error: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def site(self) -> str:
        """Whose event this is: the home that speaks or is spoken to, ``grid`` where none is."""
        own = self.sender.partition(".")[0]
        other = (self.receiver or "").partition(".")[0]
        return other if own == "grid" and other else own

    def message(self) -> Message | None:
        """The typed word; None for one that these contracts do not have or that does not decode."""
        kind = vocabulary().get((self.topic, self.edition, self.word))
        try:
            return msgspec.json.decode(self.body, type=kind) if kind is not None else None
        except msgspec.MsgspecError:
            return None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``measurements.csv``."""

    at: float
    agent: str
    quality: str
    values: dict[str, float]


class Writer:
    """Appends to both files; what ``flush`` has returned from survives the death of the process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._measurements = _append(folder / MEASUREMENTS, ",".join(COLUMNS) + "\n")
        self._events = _append(folder / EVENTS, "")

    def reading(self, agent: str, reading: GcpReading) -> None:
        cells: list[Any] = [f"{reading.at.timestamp():.3f}", agent, reading.quality]
        cells += [round(getattr(reading, name), 4) for name in _PLAIN]
        cells += [round(value, 4) for name in _PHASED for value in getattr(reading, name)]
        self._measurements.write(",".join(str(cell) for cell in cells) + "\n")

    def event(self, event: Event) -> None:
        self._events.write(msgspec.json.encode(event).decode() + "\n")

    def flush(self) -> None:
        self._measurements.flush()
        self._events.flush()

    def close(self) -> None:
        self._measurements.close()
        self._events.close()


def _append(path: Path, header: str) -> TextIO:
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    file = path.open("a", encoding="utf-8", buffering=io.DEFAULT_BUFFER_SIZE)
    if torn:
        file.write("\n")
    elif file.tell() == 0:
        file.write(header)
    return file


def events(folder: Path) -> Iterator[Event]:
    """Every event once, as heard; a word that two recorders' lives have both written counts once."""
    path = folder / EVENTS
    if not path.exists():
        return
    seen: set[tuple[str, str]] = set()
    decoder = msgspec.json.Decoder(Event)
    with path.open("rb") as file:
        for line in file:
            try:
                event = decoder.decode(line)
            except msgspec.MsgspecError:
                continue
            key = (event.sender, event.id)
            if event.id and key in seen:
                continue
            seen.add(key)
            yield event


def readings(folder: Path) -> Iterator[Reading]:
    """Every reading once, in the order of hearing."""
    path = folder / MEASUREMENTS
    if not path.exists():
        return
    seen: set[tuple[str, str]] = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if len(row) != len(COLUMNS) or row[0] == "at" or (row[0], row[1]) in seen:
                continue
            try:
                values = {name: float(cell) for name, cell in zip(COLUMNS[3:], row[3:], strict=True)}
                reading = Reading(at=float(row[0]), agent=row[1], quality=row[2], values=values)
            except ValueError:
                continue
            seen.add((row[0], row[1]))
            yield reading
