"""The latest of everything that the grid side can know, kept in memory for the console. Pure: words in, values out."""

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Literal

from contracts.grid_state import AskAdjustment, GridState
from contracts.kit import Message
from contracts.metering import ContractNotice, GcpReading
from contracts.power_limit import Constraints, Heartbeat, LimitAccepted, LimitState, SetLimit
from contracts.system import Hello
from deploy.records.rows import Event
from deploy.records.run_facts import RunFacts, SiteFacts
from deploy.records.wording import in_plain_words

LINK_QUIET_S = 60.0
"""A site that said nothing for so long counts as unreachable where the hub was not asked: its meter reports every
10 s (NG-04)."""
LATE_S = 30.0
"""What is heard this much after it was said was kept back somewhere, and the line says so."""
LINES = 200
LONGEST_LINE = 400
AGAIN_S = 300.0
"""Run time until one agent's dead letters of one kind are told again; all are counted."""

Tone = Literal["plain", "limit", "good", "warn", "bad"]
_BAD = {"failsafe", "init", "red", "emergency"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event in plain words."""

    at: float
    text: str
    tone: Tone
    kind: str = ""
    """Lines of one kind in a row may be shown as one: the same order to many homes."""


@dataclass(slots=True)
class SiteView:
    """What the grid side knows of one home. Limits are signed and None where none is in force."""

    facts: SiteFacts
    link: bool | None = None
    """As the hub sees it; None while nobody has asked the hub."""
    heard: float | None = None
    reading: GcpReading | None = None
    constraints: Constraints | None = None
    state: str = ""
    consumption_w: float | None = None
    production_w: float | None = None
    heartbeat: float | None = None
    contract: str = "clear"
    devices: set[str] = field(default_factory=set)

    def linked(self, now: float) -> bool:
        if self.link is not None:
            return self.link
        return self.heard is not None and now - self.heard <= LINK_QUIET_S

    @property
    def contract_w(self) -> float:
        """Contracted consumption as the site says it, else as the topology has it."""
        return self.constraints.contract_consumption_w if self.constraints else self.facts.contract_consumption_w


class View:
    """Feeder, sites, last lines and counts. ``take`` every event once, in the order of hearing."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts
        self.sites = {site.name: SiteView(site, devices=set(site.devices)) for site in facts.sites}
        self.substation: GcpReading | None = None
        self.grid: GridState | None = None
        self.lines: deque[Line] = deque(maxlen=LINES)
        self.counts: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.lags: dict[str, float] = {}
        self._letters: dict[tuple[str, str], float] = {}
        self.told = 0
        """How many lines there were ever; what is behind ``told`` since last time is new."""

    @property
    def loading_percent(self) -> float | None:
        """Of the transformer: apparent power of the last substation reading over the rating."""
        if self.substation is None:
            return None
        return 100 * math.hypot(self.substation.power_w, self.substation.reactive_power_var) / self.facts.rated_va

    def lag_s(self) -> float:
        """The worst lag that any agent's last hello told, run seconds."""
        return max(self.lags.values(), default=0.0)

    def take(self, event: Event, message: Message | None) -> Line | None:
        """Note an event; the line that tells of it, None for routine."""
        self.counts["messages"] += 1
        self.words[event.word] += 1
        if event.word == "dead_letter":
            self.counts["dead_letters"] += 1
            key = (event.sender, event.error.partition(":")[0])
            if event.heard - self._letters.get(key, -AGAIN_S) < AGAIN_S:
                return None
            self._letters[key] = event.heard
            return self._tell(event, f"dead letter at {event.sender}: {event.error}", "warn")
        if message is None:
            self.counts["unreadable"] += 1
            return self._tell(event, f"unreadable word of {event.sender}: {event.error}", "warn")
        if event.word.endswith("refused") or event.word == "refusal":
            self.counts["refused"] += 1
        news = self._note(event, message)
        text = in_plain_words(message, event.sender, event.receiver) if news else None
        if text is None:
            return None
        if event.heard - event.at > LATE_S:
            text += f" ({event.heard - event.at:.0f} s ago)"
        kind = f"{event.sender} {message.direction} {message.active}" if isinstance(message, SetLimit) else ""
        return self._tell(event, text, _tone(message), kind)

    def link(self, event: Event, site: str, up: bool) -> Line | None:
        """The hub has seen a site's link come or go; the line that tells of it, None for what it finds at first."""
        view = self._site(site)
        first, view.link = view.link is None, up
        if first and up:
            return None
        if up:
            return self._tell(event, f"the link of {site} is back", "good")
        return self._tell(event, f"{site} has lost its link to the grid side", "bad")

    def _tell(self, event: Event, text: str, tone: Tone, kind: str = "") -> Line:
        # What others wrote must not move the operator's cursor.
        clean = "".join(char if char.isprintable() else " " for char in text[:LONGEST_LINE])
        line = Line(event.heard, clean, tone, kind)
        self.lines.append(line)
        self.told += 1
        return line

    def _site(self, name: str) -> SiteView:
        if name not in self.sites:
            self.sites[name] = SiteView(SiteFacts(name=name))
        return self.sites[name]

    def _note(self, event: Event, message: Message) -> bool:
        """Keep what is latest; False when it is no news to people."""
        origin = event.sender.partition(".")[0]
        if isinstance(message, Hello):
            self.lags[event.sender] = message.clock_lag_s
        if origin == "grid":
            return self._note_grid(event, message)
        site = self._site(origin)
        site.heard = event.heard
        match message:
            case GcpReading() if site.reading is None or message.at > site.reading.at:
                site.reading = message
            case Constraints():
                site.constraints = message
                site.devices = {device.removeprefix(origin + ".") for device in message.devices} or site.devices
            case Heartbeat():
                site.heartbeat = event.heard
            case ContractNotice():
                news, site.contract = message.level != site.contract, message.level
                return news
            case LimitAccepted():
                # The state follows and is what counts; until then the table shows what was just agreed.
                _put_limit(site, message)
                return False
            case LimitState():
                news = message.state != site.state and "failsafe" in (message.state, site.state)
                site.state = message.state
                site.consumption_w, site.production_w = message.consumption_w, message.production_w
                return news
        return True

    def _note_grid(self, event: Event, message: Message) -> bool:
        match message:
            case GcpReading() if event.sender == self.facts.substation:
                self.substation = message
            case GridState():
                news = self.grid is None or self.grid.phase != message.phase
                self.grid = message
                return news
            case SetLimit() if not message.profile:
                # The guard states its limits again after every gap; what holds already is no news.
                site = self._site(event.site)
                held = site.consumption_w if message.direction == "consumption" else site.production_w
                return held != (message.limit_w if message.active else None)
        return True


def _put_limit(site: SiteView, accepted: LimitAccepted) -> None:
    if accepted.direction == "consumption":
        site.consumption_w = accepted.limit_w
    else:
        site.production_w = accepted.limit_w


def _tone(message: Message) -> Tone:
    match message:
        case SetLimit(active=False) | GridState(phase="green"):
            return "good"
        case SetLimit():
            return "limit"
        case LimitState(state=state) | GridState(phase=state):
            return "bad" if state in _BAD else "warn" if state == "yellow" else "good"
        case ContractNotice(level=level):
            return {"clear": "good", "warning": "warn", "alarm": "bad"}[level]  # type: ignore[return-value]
        case AskAdjustment():
            return "plain"
        case _:
            return "warn" if type(message).__name__.endswith(("Refused", "Refusal")) else "plain"
