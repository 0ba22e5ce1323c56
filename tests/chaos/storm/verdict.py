"""A violation, and the table at the end."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from tests.chaos.storm.log import Log

AROUND_S = 60.0
WORDS = 6


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """``at`` run seconds; ``place`` a site, a server or an agent; ``text`` what was to hold and what was seen."""

    at: float
    place: str
    text: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One invariant: how many cases it was checked on, and what broke it. No case is no proof."""

    name: str
    cases: int
    violations: tuple[Violation, ...] = ()


Check = Callable[[Log], Result]


def table(log: Log, results: Iterable[Result]) -> str:
    """Faults done, invariants, violations with the words around them."""
    done = Counter(deed.fault.kind for deed in log.deeds if deed.began is not None)
    lines = ["", "Faults done", *(f"  {kind:6} {count:4d}" for kind, count in sorted(done.items()))]
    lines += [f"  not done: {deed.fault}: {deed.note}" for deed in log.deeds if deed.began is None]
    if log.begun.cut_short:
        lines.append(f"  {log.begun.cut_short} were not begun: the time was over, or it was stopped by hand")
    results = list(results)
    lines += ["", "Invariants", f"  {'':58} {'cases':>6} {'broken':>6}"]
    lines += [f"  {one.name:58} {one.cases:6d} {len(one.violations):6d}" for one in results]
    for one in results:
        for violation in one.violations:
            lines += ["", f"VIOLATION  {one.name}", f"  {_clock(violation.at)}  {violation.place}: {violation.text}"]
            lines += [f"    {text}" for text in around(log, violation)]
    return "\n".join(lines)


def around(log: Log, violation: Violation) -> list[str]:
    """What was done and said around an instant at its place."""
    site = violation.place.partition(".")[0]
    told = []
    for deed in log.deeds:
        if deed.began is not None and deed.began - AROUND_S <= violation.at <= (deed.well or deed.began) + AROUND_S:
            well = f", well {_clock(deed.well)}" if deed.well else ""
            told.append((deed.began, f"{_clock(deed.began)}  [{deed.fault.kind} {deed.fault.target}{well}]"))
    words = [
        one.event
        for one in log.gathered.stored
        if abs(one.event.at - violation.at) <= AROUND_S and one.event.site == site
    ]
    nearest = sorted(words, key=lambda event: abs(event.at - violation.at))[:WORDS]
    for event in nearest:
        body = bytes(event.body)[:160].decode(errors="replace")
        told.append((event.at, f"{_clock(event.at)}  {event.sender} {event.word} {body}"))
    return [text for _, text in sorted(told)]


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
