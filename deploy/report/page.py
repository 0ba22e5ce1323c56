"""The report for readers: one page of text with what happened on the transformer and what it meant for each site."""

from typing import TYPE_CHECKING

from deploy.report.figures import Loading
from deploy.report.savings import Savings, SiteSavings

if TYPE_CHECKING:
    from deploy.report.report import Summary

HEAD = "| site | cost | without control | saved | own use | without control | import | export |"
RULE = "|---|---|---|---|---|---|---|---|"


def page(summary: "Summary") -> str:
    """Markdown."""
    run, load = summary.run, summary.transformer
    lines = [
        f"# {run.topology}, {run.start:%Y-%m-%d %H:%M} to {run.end:%H:%M}, seed {run.seed}",
        "",
        f"Transformer: {_loading(load.with_limits)}; without control: {_loading(load.without_control)}.",
        f"{summary.time_to_effect.limits} limits, {len(summary.failsafe)} times failsafe, "
        f"{sum(summary.messages.dead_letters.values())} dead letters.",
    ]
    if summary.savings is not None and summary.savings.sites:
        lines += ["", *sites(summary.savings)]
    if summary.held_back is not None and summary.held_back.total_generation_wh > 0:
        lines.append(f"Limits held back {_kwh(summary.held_back.total_generation_wh)}, fed in without control.")
    return "\n".join(lines) + "\n"


def sites(savings: Savings) -> list[str]:
    """Cost and self-consumption of each site with and without control, and in total."""
    rows = [_row(name, one) for name, one in sorted(savings.sites.items())]
    total = (
        f"All sites: {_eur(savings.cost_eur)}, without control {_eur(savings.without_control_eur)}, "
        f"saved {_eur(savings.saved_eur)} for the same energy."
    )
    return [HEAD, RULE, *rows, "", total]


def _row(name: str, one: SiteSavings) -> str:
    here, there = one.with_control, one.without_control
    cells = (
        name,
        _eur(here.cost_eur),
        _eur(there.cost_eur),
        _eur(one.saved_eur),
        _share(here.self_consumed_share),
        _share(there.self_consumed_share),
        _kwh(here.import_wh),
        _kwh(here.export_wh),
    )
    return "| " + " | ".join(cells) + " |"


def _loading(load: Loading | None) -> str:
    if load is None:
        return "not known"
    return f"at most {load.max_percent:.1f} %, {load.minutes_above_100:.1f} min above 100 %"


def _kwh(value_wh: float) -> str:
    return f"{round(value_wh / 1000, 1) + 0.0:.1f} kWh"


def _eur(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f} EUR"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
