"""What an operator sees while it runs: feeder, homes, last events in plain words. Plain lines where no terminal is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import anyio
from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.records.view import Line, SiteView, View
from deploy.records.wording import kw

REFRESH_WALL_S = 0.25
STATUS_EVERY_S = 300.0
"""Run time between two status lines where there is no terminal."""
LAST_LINES, FEWEST_LINES = 10, 4
TOGETHER_S = 30.0
"""Run time within which the same order to several homes is one line of the picture."""
_FRAME = 6  # lines around homes and events: head, bar, phases, heading, rule, counts
_BAR = 44
_BAR_FULL_PERCENT = 150.0

_TONES = {"plain": "", "limit": "cyan", "good": "green", "warn": "yellow", "bad": "bold red"}
_LIGHTS = {"green": "bold black on green", "yellow": "bold black on yellow", "red": "bold white on red"}
_STATES = {
    "": ("-", "dim"),
    "init": ("starting", "yellow"),
    "limited": ("limited", "cyan"),
    "unlimited_controlled": ("free", ""),
    "unlimited_autonomous": ("free, unguarded", "yellow"),
    "failsafe": ("FAILSAFE", "bold red"),
}


@dataclass(frozen=True)
class Pace:
    """The run's clock: instant, speed, how late the run is at the 99th percentile; ``held_back`` while it is slowed."""

    now: float
    speed: float
    lag_p99_s: float
    held_back: bool = False


class Console:
    """Shows a view until the run ends. ``terminal`` decides between the picture and plain lines by what it is."""

    def __init__(
        self, view: View, pace: Callable[[], Pace], *, headless: bool = False, terminal: Terminal | None = None
    ) -> None:
        self._view, self._pace = view, pace
        self._terminal = terminal or Terminal(highlight=False)
        self._headless = headless or not self._terminal.is_terminal
        self._told = 0
        self._next_status = 0.0

    async def run(self, stop: anyio.Event) -> None:
        """Show until ``stop`` is set; what happened by then has been shown."""
        if self._headless:
            await self._follow(stop)
        else:
            await self._draw(stop)

    async def _follow(self, stop: anyio.Event) -> None:
        while not stop.is_set():
            self.print_new()
            with anyio.move_on_after(REFRESH_WALL_S):
                await stop.wait()
        self.print_new()
        self._print(status(self._view, self._pace()))

    def print_new(self) -> None:
        """Every event since last time, one line each, and a status line when one is due."""
        new = self._view.told - self._told
        self._told = self._view.told
        for line in list(self._view.lines)[-new:] if new else []:
            self._print(f"{_clock(line.at, self._zone)} {line.text}")
        lost = new - len(self._view.lines)
        if lost > 0:
            self._print(f"({lost} lines more, in the records)")
        pace = self._pace()
        if pace.now >= self._next_status:
            self._next_status = pace.now - pace.now % STATUS_EVERY_S + STATUS_EVERY_S
            self._print(status(self._view, pace))

    def _print(self, text: str) -> None:
        self._terminal.print(Text(text), soft_wrap=True)

    async def _draw(self, stop: anyio.Event) -> None:
        with Live(self.picture(), console=self._terminal, screen=True, auto_refresh=False) as live:
            while not stop.is_set():
                live.update(self.picture(), refresh=True)
                with anyio.move_on_after(REFRESH_WALL_S):
                    await stop.wait()
        self._print(status(self._view, self._pace()))

    @property
    def _zone(self) -> tzinfo | None:
        return self._view.facts.start.tzinfo

    def picture(self) -> RenderableType:
        """All of it, as high and wide as the terminal."""
        view, pace = self._view, self._pace()
        room = self._terminal.height - _FRAME
        lines = max(min(LAST_LINES, room - len(view.sites)), FEWEST_LINES)
        homes = max(room - lines, 1)
        rule = Text("-" * self._terminal.width, style="dim")
        return Group(
            _head(view, pace, self._zone),
            _bar(view),
            _phases(view),
            _homes(view, pace.now, homes),
            rule,
            *_events(_merged(view.lines, lines), self._zone),
            _counts(view),
        )


def status(view: View, pace: Pace) -> str:
    """Everything in one line."""
    sites = view.sites.values()
    limited = sum(site.state == "limited" for site in sites)
    failsafe = sum(site.state == "failsafe" for site in sites)
    down = sum(not site.linked(pace.now) for site in sites)
    load = "no reading yet" if view.loading_percent is None else f"{view.loading_percent:.0f} %, {_flow(view)}"
    return (
        f"{_clock(pace.now, view.facts.start.tzinfo)} -- transformer {load}; grid state "
        f"{view.grid.phase if view.grid else 'unknown'}; homes: {limited} limited, {failsafe} in failsafe, "
        f"{down} not heard of {len(view.sites)}; {pace.speed:.3g}x, lag p99 {pace.lag_p99_s:.1f} s"
        f"{', clock held back' if pace.held_back else ''}; {view.counts['messages']} words, "
        f"{view.counts['refused']} refused, {view.counts['dead_letters']} dead letters"
    )


def _clock(instant: float, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(instant, zone):%H:%M:%S}"


def _flow(view: View) -> str:
    power = view.substation.power_w if view.substation else 0.0
    return f"{'feed-in' if power < 0 else 'consumption'} {kw(abs(power))}"


def _line(*parts: tuple[str, str] | str) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _head(view: View, pace: Pace, zone: tzinfo | None) -> Text:
    lag = "green" if pace.lag_p99_s < pace.speed else "yellow"
    phase = view.grid.phase if view.grid else None
    light = (f" {phase.upper()} ", _LIGHTS[phase]) if phase else (" no grid state ", "dim")
    return _line(
        ("gridparley ", "bold"),
        (f"{view.facts.topology}  ", ""),
        (f"{datetime.fromtimestamp(pace.now, zone):%Y-%m-%d %H:%M:%S}", "bold"),
        f"  {pace.speed:.3g}x  lag p99 ",
        (f"{pace.lag_p99_s:.1f} s", lag),
        ("  clock held back" if pace.held_back else "", "yellow"),
        "  ",
        light,
    )


def _bar(view: View) -> Text:
    percent = view.loading_percent
    if percent is None:
        return _line(("transformer  no reading yet", "dim"))
    full = round(min(percent, _BAR_FULL_PERCENT) / _BAR_FULL_PERCENT * _BAR)
    mark = round(100 / _BAR_FULL_PERCENT * _BAR)
    colour = "red" if percent > 100 else "yellow" if percent > 80 else "green"
    cells = "".join("█" if n < full else "│" if n == mark else "·" for n in range(_BAR))
    return _line(
        "transformer ", (cells, colour), (f" {percent:5.1f} %", f"bold {colour}"), f"  {_flow(view)}",
        (f" of {view.facts.rated_va / 1000:g} kVA", "dim"),
    )  # fmt: skip


def _phases(view: View) -> Text:
    if view.substation is None:
        return Text("")
    reading = view.substation
    parts: list[tuple[str, str] | str] = ["per phase   "]
    for n in range(3):
        apparent = abs(reading.voltage_by_phase_v[n] * reading.current_by_phase_a[n])
        percent = 100 * apparent / (view.facts.rated_va / 3)
        parts += [
            (f"L{n + 1} ", "dim"),
            (f"{percent:3.0f} %", "red" if percent > 100 else ""),
            (f" {kw(reading.power_by_phase_w[n])} {reading.voltage_by_phase_v[n]:.1f} V   ", "dim"),
        ]
    return _line(*parts)


def _homes(view: View, now: float, room: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True, header_style="dim")
    for name, width in (("home", 5), ("power", 9), ("contract", 9), ("max use", 9), ("max feed", 9)):
        table.add_column(name, width=width, justify="left" if name == "home" else "right", no_wrap=True)
    table.add_column("state", width=15, no_wrap=True)
    table.add_column("beat", width=6, justify="right", no_wrap=True)
    table.add_column("link", width=5, no_wrap=True)
    table.add_column("devices", no_wrap=True, overflow="ellipsis", ratio=1)
    names = sorted(view.sites)
    if len(names) > room:
        # Those that something happens to come first; the rest is told by number.
        names.sort(key=lambda name: _calm(view.sites[name], now))
        names, left = names[: room - 1], len(names) - room + 1
    else:
        left = 0
    for name in names:
        table.add_row(*_home(view.sites[name], now))
    if left:
        table.add_row(Text(f"+{left}", style="dim"))
    return table


def _calm(site: SiteView, now: float) -> tuple[bool, bool, str]:
    return site.state != "failsafe" and site.linked(now), site.state != "limited", site.facts.name


def _home(site: SiteView, now: float) -> Iterable[Text]:
    linked = site.linked(now)
    state, style = _STATES.get(site.state, (site.state, ""))
    age = "" if site.heartbeat is None else f"{now - site.heartbeat:.0f} s"
    power = Text("-" if site.reading is None else kw(site.reading.power_w), style="" if linked else "dim")
    alarm = {"clear": "", "warning": "yellow", "alarm": "bold red"}[site.contract]
    return (
        Text(site.facts.name, style="bold"),
        power,
        Text(kw(site.contract_w) if site.contract_w else "-", style=alarm or "dim"),
        _limit(site.consumption_w),
        _limit(site.production_w),
        Text(state, style=style),
        Text(age, style="" if linked else "red"),
        Text("up" if linked else "down", style="green" if linked else "bold red"),
        Text(" ".join(sorted(site.devices)), style="dim"),
    )


def _limit(watts: float | None) -> Text:
    return Text("-", style="dim") if watts is None else Text(kw(watts), style="cyan")


def _merged(lines: Sequence[Line], room: int) -> list[tuple[Line, int]]:
    """The last lines, each with how many more of its kind came right after it."""
    found: list[tuple[Line, int]] = []
    for line in reversed(lines):
        if found and line.kind and line.kind == found[-1][0].kind and found[-1][0].at - line.at < TOGETHER_S:
            found[-1] = (line, found[-1][1] + 1)
        elif len(found) == room:
            break
        else:
            found.append((line, 0))
    return found[::-1]


def _events(lines: Iterable[tuple[Line, int]], zone: tzinfo | None) -> Iterable[Text]:
    for line, more in lines:
        also = f"(+{more} more) " if more else ""
        yield _line((_clock(line.at, zone) + " ", "dim"), (also, "bold"), (line.text, _TONES[line.tone]))


def _counts(view: View) -> Text:
    counts = view.counts
    return _line(
        (f"{counts['messages']} words, {view.words['set_limit']} limits, ", "dim"),
        (f"{counts['refused']} refused", "yellow" if counts["refused"] else "dim"),
        (", ", "dim"),
        (f"{counts['dead_letters']} dead letters", "yellow" if counts["dead_letters"] else "dim"),
        (f", {counts['unreadable']} unreadable", "yellow" if counts["unreadable"] else "dim"),
        ("   Ctrl-C ends the run", "dim"),
    )
