"""The chart of a run: transformer load, voltages, who was limited when. Drawn off-screen, made for a README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from deploy.records.rows import Reading
from deploy.records.run_facts import RunFacts
from deploy.report.episodes import Episodes
from world.truth import Truth

INK, FAINT, GRID = "#22303c", "#8a97a3", "#e4e9ed"
WITH, WITHOUT, LIMIT = "#1f6feb", "#9aa5b1", "#d1242f"
CONSUMPTION, PRODUCTION, FAILSAFE = "#8250df", "#e8a33d", "#d1242f"
LIGHT = {"green": "#4ca868", "yellow": "#f2c744", "red": "#d95550"}
EN50160_V = (207.0, 253.0)
"""230 V +- 10 %: EN 50160, 4.2.2."""
_DPI = 150


@dataclass(frozen=True)
class Chart:
    """What is drawn. ``free`` is the same street simulated without control."""

    facts: RunFacts
    end: float
    truth: Truth | None
    free: Truth | None
    readings: Sequence[Reading]
    story: Episodes
    nominal: Mapping[str, Mapping[str, float]]
    """Per direction and site the most it can do, a magnitude in W."""


def draw(path: Path, chart: Chart) -> None:
    """Write the chart as PNG."""
    rows = max(len(chart.facts.sites), 1)
    figure = Figure(figsize=(12, 6.6 + 0.22 * rows), dpi=_DPI, facecolor="white")
    heights = [0.14, 3.2, 1.7, 0.24 * rows + 0.3]
    light, load, volts, gantt = figure.subplots(
        4, 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.16}
    )
    zone = chart.facts.start.tzinfo
    assert zone is not None
    _light(light, chart)
    _load(load, chart)
    _voltages(volts, chart)
    _gantt(gantt, chart)
    for axes in (light, load, volts, gantt):
        _plain(axes)
    light.set_yticks([])
    light.grid(visible=False)
    first = chart.facts.start.timestamp()
    gantt.set_xlim(*_days([first, max(chart.end, first + 60)]))
    gantt.xaxis.set_major_locator(mdates.AutoDateLocator(tz=zone, maxticks=14))  # type: ignore[no-untyped-call]
    gantt.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M", tz=zone))  # type: ignore[no-untyped-call]
    gantt.set_xlabel(f"run time on {chart.facts.start:%Y-%m-%d} (UTC{chart.facts.start.isoformat()[-6:]})", color=INK)
    figure.suptitle(_title(chart), x=0.075, y=0.975, ha="left", color=INK, fontsize=14, fontweight="bold")
    figure.text(0.075, 0.938, _subtitle(chart), ha="left", va="center", color=FAINT, fontsize=9.5)
    figure.subplots_adjust(left=0.075, right=0.815, top=0.915, bottom=0.065)
    figure.align_ylabels([load, volts, gantt])
    figure.savefig(path)


def _days(instants: Sequence[float | None]) -> list[float]:
    """Instants as matplotlib's dates: days since 1970."""
    return [(value or 0.0) / 86_400 for value in instants]


def _title(chart: Chart) -> str:
    return f"Gridparley {chart.facts.topology}: transformer of {chart.facts.rated_va / 1000:.0f} kVA, " + (
        f"{len(chart.facts.sites)} homes"
    )


def _subtitle(chart: Chart) -> str:
    text = "with limits: the run itself"
    if chart.truth is None:
        text = "with limits: measured at the substation"
    if chart.free is not None:
        text += f"; without: simulated without control from the same seed ({chart.facts.seed})"
    return text


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _legend(axes: Axes, handles: list[Line2D | Patch]) -> None:
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.012, 1.02),
        frameon=False,
        fontsize=8.8,
        labelcolor=INK,
        handlelength=1.6,
        borderaxespad=0,
    )


def _light(axes: Axes, chart: Chart) -> None:
    for span in chart.story.phases:
        start, end = _days([span.start, span.end])
        axes.axvspan(start, end, color=LIGHT[span.phase], linewidth=0)
    axes.set_ylabel("grid state", rotation=0, ha="right", va="center", color=INK, fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _load(axes: Axes, chart: Chart) -> None:
    handles: list[Line2D | Patch] = []
    if chart.free is not None:
        label = "without control\n(simulated)"
        percents = chart.free.column("transformer_loading_percent")
        handles += axes.plot(
            _days(chart.free.column("instant")),
            _numbers(percents),
            color=WITHOUT,
            lw=1.3,
            ls=(0, (4, 2)),
            label=label,
        )
    if chart.truth is not None:
        instants, percents = chart.truth.column("instant"), chart.truth.column("transformer_loading_percent")
    else:
        mine = sorted((one for one in chart.readings if one.agent == chart.facts.substation), key=lambda one: one.at)
        instants = [one.at for one in mine]
        percents = [
            100 * (one.values["power_w"] ** 2 + one.values["reactive_power_var"] ** 2) ** 0.5 / chart.facts.rated_va
            for one in mine
        ]
    handles += axes.plot(_days(instants), _numbers(percents), color=WITH, lw=1.6, label="with limits")
    handles.append(axes.axhline(100, color=LIMIT, lw=1.1, label="rating (100 %)"))
    handles += [Patch(color=LIGHT[phase], label=f"grid state {phase}") for phase in ("green", "yellow", "red")]
    axes.set_ylabel("transformer load\n% of rating", color=INK)
    axes.set_ylim(bottom=0)
    _legend(axes, handles)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _band(truth: Truth) -> tuple[list[float], list[float]]:
    """Lowest and highest voltage of all sites, row by row; a row in a blackout has none."""
    lows = [truth.column(name) for name in truth.columns if name.endswith(".voltage_min_v")]
    highs = [truth.column(name) for name in truth.columns if name.endswith(".voltage_max_v")]
    nothing = float("nan")
    low = [min((v for v in row if v), default=nothing) for row in zip(*lows, strict=True)]
    high = [max((v for v in row if v), default=nothing) for row in zip(*highs, strict=True)]
    return low, high


def _voltages(axes: Axes, chart: Chart) -> None:
    handles: list[Line2D | Patch] = []
    if chart.free is not None:
        low, high = _band(chart.free)
        days = _days(chart.free.column("instant"))
        handles += axes.plot(
            days, high, color=WITHOUT, lw=1.1, ls=(0, (4, 2)), label="highest, lowest\nwithout control"
        )
        axes.plot(days, low, color=WITHOUT, lw=1.1, ls=(0, (4, 2)))
    if chart.truth is not None:
        low, high = _band(chart.truth)
        days = _days(chart.truth.column("instant"))
        axes.fill_between(days, low, high, color=WITH, alpha=0.16, lw=0)
        axes.plot(days, high, color=WITH, lw=1.1)
        axes.plot(days, low, color=WITH, lw=1.1)
        handles.append(Patch(facecolor=WITH, alpha=0.35, label="all homes,\nwith limits"))
    else:
        for one in {reading.agent for reading in chart.readings}:
            mine = [reading for reading in chart.readings if reading.agent == one]
            means = [sum(reading.values[f"voltage_l{n}_v"] for n in (1, 2, 3)) / 3 for reading in mine]
            axes.plot(_days([reading.at for reading in mine]), means, color=WITH, lw=0.7, alpha=0.6)
        handles.append(Line2D([], [], color=WITH, lw=0.9, label="each meter, mean\nof its phases"))
    bottom, top = axes.get_ylim()
    # The nearer bound shows how much room is left; both would flatten the curves.
    nearer = EN50160_V[1] if EN50160_V[1] - top < bottom - EN50160_V[0] else EN50160_V[0]
    handles.append(axes.axhline(nearer, color=LIMIT, lw=1.0, ls=(0, (1, 2)), label=f"EN 50160: {nearer:.0f} V"))
    axes.set_ylim(min(bottom, nearer - 1), max(top, nearer + 1))
    axes.set_ylabel("voltage\nV, phase to neutral", color=INK)
    _legend(axes, handles)


def _gantt(axes: Axes, chart: Chart) -> None:
    names = [site.name for site in chart.facts.sites]
    names += sorted({one.site for one in chart.story.limits} - set(names))
    place = {name: n for n, name in enumerate(names)}
    first = chart.facts.start.timestamp()
    limits = [one for one in chart.story.limits if not one.failsafe]
    both = len({one.direction for one in limits}) == 2
    for one in limits:
        start, end = _days([one.start, one.end])
        upper = one.direction == "consumption"
        most = chart.nominal.get(one.direction, {}).get(one.site, 0.0)
        tightness = 1 - min(abs(one.limit_w) / most, 1.0) if most > 0 else 0.6
        axes.barh(
            place[one.site] + ((-0.19 if upper else 0.19) if both else 0.0),
            end - start,
            left=start,
            height=0.34 if both else 0.6,
            color=CONSUMPTION if upper else PRODUCTION,
            alpha=0.3 + 0.7 * tightness,
            linewidth=0,
        )
    for episode in chart.story.failsafe:
        start, end = _days([episode.start, episode.end])
        axes.barh(
            place.setdefault(episode.site, len(place)),
            end - start,
            left=start,
            height=0.6,
            facecolor="white",
            edgecolor=FAILSAFE,
            hatch="////",
            linewidth=1.0,
        )
        _name(axes, place[episode.site], start, end, span=_days([chart.end])[0] - _days([first])[0])
    axes.set_yticks(range(len(place)), list(place))
    axes.set_ylim(len(place) - 0.4, -0.6)
    axes.set_ylabel("limits in force", color=INK)
    axes.grid(visible=False, axis="y")
    handles: list[Line2D | Patch] = [
        Patch(color=PRODUCTION, label="feed-in limited\n(darker: tighter)"),
        Patch(color=CONSUMPTION, label="consumption limited\n(darker: tighter)"),
        Patch(facecolor="white", edgecolor=FAILSAFE, hatch="////", label="failsafe: no word\nfrom the grid side"),
    ]
    _legend(axes, handles)


def _name(axes: Axes, row: int, start: float, end: float, *, span: float) -> None:
    """Name a failsafe episode: inside where it is long enough, right of it where it is not."""
    inside = end - start > 0.08 * span
    axes.annotate(
        "failsafe",
        ((start + end) / 2 if inside else end, row),
        xytext=(0 if inside else 5, 0),
        textcoords="offset points",
        ha="center" if inside else "left",
        va="center",
        color=FAILSAFE,
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
    )
