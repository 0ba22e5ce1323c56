"""A year of one household under a dynamic tariff: what planning saves of what could be saved. Issue 3, "Numbers".

Four cases live with the same house, weather, cars, errands and comfort: (a) no control: everything at once, the battery
does nothing; (b) the rules that a plain wallbox, heat pump and battery follow; the energy manager's plan; (c) perfect
foresight, as one linear program over the whole time, relaxed, so a bound. What counts is the bill plus the wear of the
battery at the figure that the energy manager's settings have; the bill alone is printed beside it.

The year is cut into months that are planned side by side, each after a day that is not counted. ``--quick`` is a week
of each season. ``bench.year_home`` says where the figures come from; prices are a model.
"""

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.pool import Pool

from bench.figure import Figure, Result
from bench.year_cases import Account, at_once, lived, plain_rules
from bench.year_home import SEED, Household, forecast_error, household, market
from bench.year_optimum import whole
from bench.year_plan import SETTINGS, managed

QUICK_DAYS = ((15, 22), (106, 113), (197, 204), (288, 295))
MONTHS = tuple((month * 366 // 12, (month + 1) * 366 // 12) for month in range(12))
YEAR = ((0, 366),)
EVENING = 74
"""Row of the day, half past six or seven: the washing machine is through and the dishwasher not yet filled."""
WORKERS = 2
AT_LEAST_SHARE = 0.90
Spans = Sequence[tuple[int, int]]


async def run(quick: bool) -> list[Result]:
    spans, planned = (between(days) for days in ((QUICK_DAYS, QUICK_DAYS) if quick else (YEAR, MONTHS)))
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:  # ends its processes when it is cancelled
        bounds = [_begun(pool, best, spans, wear) for wear in (SETTINGS.wear_eur_per_kwh, 0.0)]
        parts = [_begun(pool, plan_for, *span) for span in planned]
        ours = total(await asyncio.gather(*parts))
        optimum, cheapest = await asyncio.gather(*bounds)
    home = household()
    nothing, rules = (
        total([lived(home, first, last, case, mean_price(home)) for first, last in spans])
        for case in (at_once, plain_rules)
    )
    return figures(home, nothing, rules, ours, optimum, cheapest, "a week of each season" if quick else "a whole year")


def _begun(pool: Pool, work: Callable[..., Account], *of: object) -> asyncio.Future[Account]:
    """Its account, in time; no thread waits for it, so nothing holds up an end."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Account] = loop.create_future()

    def tell(act: Callable[[], object]) -> None:
        loop.call_soon_threadsafe(lambda: None if found.done() else act())

    pool.apply_async(
        work,
        of,
        callback=lambda account: tell(lambda: found.set_result(account)),
        error_callback=lambda problem: tell(lambda: found.set_exception(problem)),
    )
    return found


def between(days: Spans) -> list[tuple[int, int]]:
    """Rows from the evening of a day to that of another, at which no car is there: nothing is counted twice or lost."""
    home = household()

    def border(day: int) -> int:
        row = 96 * day + EVENING if 0 < day < len(home) // 96 else 96 * day
        return border(day + 1) if any(stay.come < row < stay.leave for stay in home.stays) else row

    return [(border(first), border(last)) for first, last in days]


def plan_for(first: int, last: int) -> Account:
    """In a process of its own."""
    home = household()
    return managed(home, first, last, mean_price(home))


def best(spans: Spans, wear_eur_per_kwh: float) -> Account:
    """In a process of its own."""
    return whole(spans, household(), wear_eur_per_kwh)


def mean_price(home: Household) -> float:
    return float(home.buy.mean())


def total(accounts: Sequence[Account]) -> Account:
    found = Account()
    for account in accounts:
        found.add(account)
    return found


def figures(
    home: Household, nothing: Account, rules: Account, ours: Account, optimum: Account, cheapest: Account, when: str
) -> list[Result]:
    """``optimum`` counts the battery's wear, ``cheapest`` the bill alone."""
    mean, wear = mean_price(home), SETTINGS.wear_eur_per_kwh
    a, b, plan, c = (account.cost_eur(wear, mean) for account in (nothing, rules, ours, optimum))
    bills = [account.cost_eur(0.0, mean) for account in (nothing, rules, ours, cheapest)]
    error, rms = forecast_error(home)
    prices = market(SEED)
    off = f"sun forecast off by {100 * error:.1f} % (mean), {100 * rms:.1f} % (rms) of the rating by day"
    spot = f"market mean {1000 * prices.mean():.1f} EUR/MWh, {(prices < 0).sum()} negative hours"
    return [
        Figure(what="year: plan, share of what foresight saves", value=(a - plan) / (a - c), unit="",
               at_least=AT_LEAST_SHARE, note=f"{when}; cost with wear: (a) {a:.1f}, plan {plan:.1f}, (c) {c:.1f} EUR"),
        Figure(what="year: plain rules, the same share", value=(a - b) / (a - c), unit="",
               note=f"(b) {b:.1f} EUR; {off}"),
        Figure(what="year: plan, the same share of the bill alone", value=(bills[0] - bills[2]) / (bills[0] - bills[3]),
               unit="", note="(a) {:.1f}, (b) {:.1f}, plan {:.1f}, (c) {:.1f} EUR; ".format(*bills) + spot),
        *_beside("own generation used", "%", lambda x: 100 * (1 - x.sold_wh / x.sun_wh), nothing, rules, ours, optimum),
        *_beside("own supply", "%", lambda x: 100 * (1 - x.bought_wh / x.used_wh), nothing, rules, ours, optimum),
        *_beside("highest quarter hour", "kW", lambda x: x.peak_w / 1000, nothing, rules, ours, optimum),
        Figure(what="year: energy that cars did not get", value=round(ours.unmet_wh / 1000, 2), unit="kWh", at_most=0.0,
               note=f"they got {ours.car_wh / 1000:.0f} kWh; tank never below {ours.coldest_c:.1f} degC; "
                    f"{ours.undone} errands undone"),
        Figure(what="year: a plan, mean time", value=1000 * ours.planning_s / max(1, ours.plans), unit="ms",
               note=f"{ours.plans} plans, {ours.not_proven} without proof"),
    ]  # fmt: skip


def _beside(
    what: str, unit: str, of: Callable[[Account], float], nothing: Account, rules: Account, ours: Account, best: Account
) -> list[Result]:
    note = f"(a) {of(nothing):.1f}, (b) {of(rules):.1f}, (c) {of(best):.1f} {unit}"
    return [Figure(what=f"year: {what}, plan", value=of(ours), unit=unit, note=note)]
