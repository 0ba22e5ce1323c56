"""Figures of one process, for dashboards and alarms. ``METRICS`` is all of them; ``docs/telemetry.md`` is made from it.

Only a process that is asked for figures (a health port, a collector) loads what they need and keeps any; to all others
each call here is one look at a global. Most figures are read from what the bus counts anyway, when somebody asks.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from bus.address import parse
from bus.exporters import bounded, collector
from contracts.kit import END, Message, vocabulary, word_of

if TYPE_CHECKING:
    from bus.bus import Bus
    from bus.metric_export import Meters
    from bus.talk import Talk

Attributes = dict[str, str]
Source = Callable[[], Iterable[tuple[float, Attributes]]]
_UNITS = {"s": "seconds", "W": "watts"}


class Metric(NamedTuple):
    """One figure. ``unit`` is UCUM; in braces it only says what is counted. ``buckets`` are bounds of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Its name at ``GET /metrics``; a histogram has series ``_bucket``, ``_sum`` and ``_count`` of it."""
        parts = [self.name.replace(".", "_")]
        if self.unit in _UNITS:
            parts.append(_UNITS[self.unit])
        if self.kind == "counter":
            parts.append("total")
        return "_".join(parts)


_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

SAID = Metric("gridparley.words.said", "counter", "{word}", ("topic",), "Words that the agent said, on every plane.")
HEARD = Metric("gridparley.words.heard", "counter", "{word}", ("topic",), "Words that it took as new and well-formed.")
REFUSED = Metric(
    "gridparley.words.refused",
    "counter",
    "{word}",
    ("topic", "code"),
    "Addressed words that it refused with a reason; `code` is the reason's.",
)
DEAD = Metric(
    "gridparley.dead_letters",
    "counter",
    "{word}",
    ("topic", "code"),
    "Words that changed nothing and were put among the dead letters.",
)
EVENTS = Metric(
    "gridparley.bus.events",
    "counter",
    "{event}",
    ("event",),
    "What else the bus counts: duplicate, expired, late, overflow, unsent, handler_failed, catch_up_failed and so on.",
)
TALKS = Metric(
    "gridparley.talk.duration",
    "histogram",
    "s",
    ("table", "side", "outcome"),
    "Ended talks by wall time. `outcome`: the last word (`limit_accepted`), `silence`, or `broken_off`.",
    _LONG,
)
OPEN = Metric("gridparley.talks.open", "gauge", "{talk}", (), "Talks that have not ended.")
LIMIT = Metric(
    "gridparley.limit.active",
    "gauge",
    "W",
    ("direction",),
    "The bound in force at the connection point, failsafe included: + for consumption, - for production. No limit, no"
    " series.",
)
LIMIT_STATE = Metric(
    "gridparley.limit.state",
    "gauge",
    "{state}",
    ("direction", "state"),
    "1 for the state that the energy manager is in (EEBUS LPC/LPP), 0 for the others.",
)
LAG = Metric(
    "gridparley.clock.lag",
    "histogram",
    "s",
    (),
    "How late something periodic was done, run seconds; of the world: a step of its physics.",
    (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
AGE = Metric(
    "gridparley.device.reading.age",
    "gauge",
    "s",
    ("device",),
    "Age of the hardware's last complete answer, run seconds. `device`: its host, port and unit.",
)
MODBUS_ERRORS = Metric(
    "gridparley.modbus.errors",
    "counter",
    "{request}",
    ("device", "error"),
    "Requests to hardware that failed: NoAnswer, Connect, BackingOff (not even sent), Refused, BadAnswer,"
    " WriteNotConfirmed and so on.",
)
MODBUS_WRITES = Metric(
    "gridparley.modbus.writes",
    "counter",
    "{write}",
    ("device", "outcome"),
    "Writes to hardware: `read_back` (the register shows the value), `taken` (a point without echo), `failed`.",
)
CONNECTED = Metric("gridparley.connection.up", "gauge", "{connection}", (), "1 while connected to its NATS server.")
RECONNECTS = Metric(
    "gridparley.connection.reconnects", "counter", "{connection}", (), "How often that connection came back."
)
MAILBOX = Metric("gridparley.mailbox.depth", "gauge", "{word}", (), "Words that wait to be read; at 8192 it refuses.")
OUTBOX = Metric(
    "gridparley.outbox.depth",
    "gauge",
    "{word}",
    (),
    "Records that wait for the link to the grid side; at 4096 it is full.",
)
STATE_FAILURES = Metric(
    "gridparley.state.failures", "counter", "{write}", (), "Values that the site's server did not keep in time."
)
LINE_REQUESTS = Metric(
    "gridparley.line.requests",
    "counter",
    "{request}",
    ("line", "outcome"),
    "Requests of agents over a Modbus line that has its owner (`gridparley line`): `answered`, `exception` (said by the"
    " unit itself), `no_answer`, `no_path` (no connection), `busy` (not sent in time), `illegal_function`.",
)
LINE_AGE = Metric(
    "gridparley.line.answer.age",
    "gauge",
    "s",
    ("line",),
    "Age of the last answer over that line, wall seconds; since the owner's start where there was none.",
)
CLOCK_SPEED = Metric(
    "gridparley.clock.speed",
    "gauge",
    "{run_second}",
    (),
    "Run seconds per second at which the clock's keeper holds the run; 0: it waits for processes, or the run is over.",
)
CLOCK_BEHIND = Metric(
    "gridparley.clock.behind",
    "gauge",
    "s",
    (),
    "99th percentile of how late the run's processes were in the last seconds, run seconds; beyond 5 the keeper slows"
    " the clock.",
)
CLOCK_HELD_BACK = Metric(
    "gridparley.clock.held_back", "counter", "{time}", (), "How often the keeper has slowed the clock."
)
CLOCK_SILENT = Metric(
    "gridparley.clock.silent", "gauge", "{process}", (), "Processes that have not reported to the clock for a minute."
)

METRICS = (
    SAID, HEARD, REFUSED, DEAD, EVENTS, TALKS, OPEN, LIMIT, LIMIT_STATE, LAG, AGE, MODBUS_ERRORS, MODBUS_WRITES,
    CONNECTED, RECONNECTS, MAILBOX, OUTBOX, STATE_FAILURES,
    LINE_REQUESTS, LINE_AGE, CLOCK_SPEED, CLOCK_BEHIND, CLOCK_HELD_BACK, CLOCK_SILENT,
)  # fmt: skip

_meters: "Meters | None" = None


def start(role: str, instance: str, *, scraped: bool) -> None:
    """Keep figures in this process if anybody wants them. Call after the fork. Raises BadSetting.

    scraped   somebody asks for them at a port of this process; a collector is named by the environment
    """
    global _meters
    if scraped or collector("metrics") is not None:
        from bus.metric_export import Meters

        _meters = Meters(role, instance, scraped)


def stop() -> None:
    """Send what is left, if somebody takes it."""
    global _meters
    if _meters is not None:
        bounded(_meters.close)
        _meters = None


def on() -> bool:
    """Whether this process keeps figures."""
    return _meters is not None


def scrape() -> bytes:
    """All figures as Prometheus reads them; empty where none are kept."""
    return b"" if _meters is None else _meters.scrape()


def count(metric: Metric, **attributes: str) -> None:
    """One more."""
    if _meters is not None:
        _meters.count(metric, attributes)


def record(metric: Metric, value: float, **attributes: str) -> None:
    """One value of a histogram."""
    if _meters is not None:
        _meters.record(metric, value, attributes)


def observe(metric: Metric, source: Source) -> None:
    """``source()`` is asked for (value, attributes) whenever figures are wanted; in another thread, too."""
    if _meters is not None:
        _meters.observe(metric, source)


# -------------------------------------------------------------------- the bus


def talked(talk: "Talk", began: float) -> None:
    """A talk of ours has ended. ``began`` is of ``perf_counter``."""
    if _meters is None:
        return
    if talk.lapsed:
        outcome = "silence"
    elif talk.state != END or talk.last is None:
        outcome = "broken_off"
    else:
        outcome = word_of(talk.last)
    took_s = perf_counter() - began
    _meters.record(TALKS, took_s, {"table": talk.table.name, "side": talk.side, "outcome": outcome})


def topic_of(subject: str) -> str:
    """The topic of a subject, ``unknown`` where the contracts have none of that name: strangers choose no labels."""
    parsed = parse(subject)
    return parsed.topic if parsed is not None and parsed.topic in _topics() else "unknown"


@lru_cache(maxsize=1)
def _topics() -> frozenset[str]:
    return frozenset(topic for topic, _, _ in vocabulary())


def watch(bus: "Bus") -> None:
    """Everything that the bus of this process counts."""
    observe(SAID, lambda: _by_topic(bus.words_said))
    observe(HEARD, lambda: _by_topic(bus.words_heard))
    observe(REFUSED, lambda: _by_code(bus.refused))
    observe(DEAD, lambda: _by_code(bus.buried))
    observe(EVENTS, lambda: [(number, {"event": event}) for event, number in list(bus.counts.items())])
    observe(OPEN, lambda: [(bus.open_talks, {})])
    observe(CONNECTED, lambda: [(int(bus.connection.connected), {})])
    observe(RECONNECTS, lambda: [(bus.connection.reconnects, {})])
    observe(MAILBOX, lambda: [(bus.unread, {})])
    observe(OUTBOX, lambda: [(bus.outbox.waiting, {})])
    observe(STATE_FAILURES, lambda: [(bus.state.failures, {})])


def _by_topic(counted: dict[type[Message], int]) -> list[tuple[float, Attributes]]:
    topics: dict[str, int] = {}
    for kind, number in list(counted.items()):
        topics[kind.topic] = topics.get(kind.topic, 0) + number
    return [(number, {"topic": topic}) for topic, number in topics.items()]


def _by_code(counted: dict[tuple[str, str], int]) -> list[tuple[float, Attributes]]:
    return [(number, {"topic": topic, "code": code}) for (topic, code), number in list(counted.items())]
