"""A building stays below its contracted capacity: by prognosis, by limits on the big loads, by fast reaction.

IC-BE-THOR-PEAK, IC-BE-CORD-HP: the day before, a baseline from every site's forecast; envelopes with a safety band;
during the day a large deviation sends restrictive setpoints at once and re-optimised ones after; at its end a report.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field

import anyio

from agents.esp.ask_sites import AskSites
from agents.esp.peak_plan import PeakPlan, by_slot, periods, plan_peaks
from agents.esp.send_envelope import SendEnvelope
from agents.esp.settings import EspSettings, Shaving
from agents.kit.local_day import bounds, date_at, next_local
from agents.kit.order_flexibility import OrderFlexibly
from agents.kit.skill import every, hears, skill, started
from bus import tracing
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.metering import SitePower
from contracts.profiles import SLOT_S
from contracts.questions import ComfortFeedback
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, CEM
from contracts.site_power import (
    EnvelopeSlot,
    OrderFlexibility,
    PerformanceReport,
    SetEnvelope,
)

log = logging.getLogger("gridparley.esp")
RESTRICTED_S = SLOT_S
YOUNG_S = 180.0


@dataclass
class Day:
    """What was measured of all sites together since the day began: means per slot, energy."""

    start: float
    highest_w: float = 0.0
    slots_above: int = 0
    energy_wh: float = 0.0
    slot: float = 0.0
    slot_wh: float = 0.0
    last: float = 0.0

    def feed(self, at: float, power_w: float, contracted_w: float) -> None:
        """``power_w`` since the last time."""
        self.last = self.last or at
        while at // SLOT_S * SLOT_S > self.slot:
            end = self.slot + SLOT_S
            if self.slot and self.last < end:
                self._count(end - self.last, power_w)
                self.last = end
            self.close(contracted_w)
            self.slot, self.slot_wh = self.last // SLOT_S * SLOT_S, 0.0
        self._count(at - self.last, power_w)
        self.last = at

    def _count(self, seconds: float, power_w: float) -> None:
        self.slot_wh += seconds / 3600 * power_w
        self.energy_wh += seconds / 3600 * max(0.0, power_w)

    def close(self, contracted_w: float) -> None:
        mean = self.slot_wh * 3600 / SLOT_S
        self.highest_w = max(self.highest_w, mean)
        self.slots_above += mean > contracted_w


@skill(
    tells=((PerformanceReport, (BUILDING,)),),
    use_cases=("community.peak-shaving", "community.heatpump-peak"),
)
@dataclass
class ShavePeaks:
    """One building per provider."""

    bus: Bus
    clock: Clock
    settings: EspSettings
    sites: AskSites
    envelopes: SendEnvelope
    orders: OrderFlexibly
    plan: PeakPlan | None = None
    planned_at: float = 0.0
    day: Day | None = None
    comfort: "Counter[str]" = field(default_factory=Counter)
    power_w: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Site -> (instant, power) as its CEM reports it."""
    complaints: "Counter[str]" = field(default_factory=Counter)
    """By site: whoever complains gives up less next time."""
    _restricted_until: float = 0.0
    _busy: anyio.Lock = field(default_factory=anyio.Lock)

    # ---------------------------------------------------------------- planning

    @started
    async def keep_planning(self) -> None:
        shaving = self.settings.shaving
        if shaving is None:
            return
        self.day = Day(start=self.clock.now())
        await self._optimise(shaving, "start")
        while True:
            await self.clock.sleep_until(self._next(shaving, self.clock.now()))
            await self._optimise(shaving, "day_ahead")

    def _next(self, shaving: Shaving, now: float) -> float:
        """The next instant of planning for the next day."""
        return next_local(shaving.plan_at, now, self.settings.time_zone)

    def _day_end(self, at: float) -> float:
        zone = self.settings.time_zone
        return bounds(date_at(at, zone), zone)[1]

    async def _optimise(self, shaving: Shaving, why: str) -> None:
        """Baseline, comparison with the contracted capacity, envelopes to all sites.

        Through the day of the next planning: what is planned in the evening holds for the next day too, since the
        newest envelope of a provider replaces its last whole.
        """
        async with self._busy:
            now = self.clock.now()
            start, until = now // SLOT_S * SLOT_S, self._day_end(self._next(shaving, now))
            n = max(1, int((until - start) // SLOT_S))
            told = await self.sites.ask(n * SLOT_S, shaving.sites)
            if not told:
                log.info("no peak is planned: no site tells its forecast")
                return
            expected = {site: by_slot(said.values, start, n, SLOT_S) for site, said in told.items()}
            silent = [site for site in shaving.sites if site not in told]
            safe = shaving.contracted_w * (1 - shaving.band_share)
            made = plan_peaks(expected, shaving.contracted_w, safe)
            self.plan, self.planned_at = made, start
            attributes: tracing.Attributes = {
                "gridparley.use_cases": "community.peak-shaving",
                "gridparley.because": why,
                "gridparley.peaks": len(made.peaks),
                "gridparley.silent": ",".join(silent),
            }
            with tracing.span("plan peaks", attributes):
                await self._send_plan(shaving, made, start, why)
                await self._limit_heatpumps(shaving, made, start)

    async def _send_plan(self, shaving: Shaving, made: PeakPlan, start: float, why: str) -> None:
        wish = not made.peaks or not shaving.peaks_first
        highest = max(made.baseline_w)
        text = f"Together the sites stay below {shaving.contracted_w:.0f} W; {highest:.0f} W were expected."
        inputs = {"contracted_w": shaving.contracted_w, "baseline_w": highest, "peaks": float(len(made.peaks))}
        reason = Reason(code="peak" if made.peaks else "within_capacity", text=text, binding=why, inputs=inputs)
        async with anyio.create_task_group() as group:
            for cem in self.sites.cems(shaving.sites):
                uppers = made.upper_w.get(cem.site)
                if uppers is None:
                    continue
                slots = tuple(
                    EnvelopeSlot(
                        start=instant(start + k * SLOT_S),
                        duration_s=SLOT_S,
                        upper_w=upper,
                        wish_w=0.0 if wish and k in made.surplus else None,
                    )
                    for k, upper in enumerate(uppers)
                )
                group.start_soon(self._send, cem, SetEnvelope(slots=slots, reason=reason))

    async def _send(self, cem: Address, word: SetEnvelope) -> None:
        wrong = await self.envelopes.send(cem, word)
        if wrong is not None:
            log.info("%s does not keep its part: %s", cem.site, wrong.text)

    async def _limit_heatpumps(self, shaving: Shaving, made: PeakPlan, start: float) -> None:
        """In periods planned above the capacity the programme of directly controlled heat pumps is limited."""
        pumps = [cem for cem in self.sites.cems(shaving.sites) if cem.site in shaving.heatpumps]
        for first, last in periods(made.peaks):
            for cem in pumps:
                order = OrderFlexibility(
                    device=shaving.heatpumps[cem.site],
                    upper_w=shaving.heatpump_w,
                    start=instant(start + first * SLOT_S),
                    until=instant(start + last * SLOT_S),
                    reason=Reason(
                        code="peak",
                        text=f"The building would exceed {shaving.contracted_w:.0f} W: heat comes from storage.",
                        binding="contracted_capacity",
                        inputs={"contracted_w": shaving.contracted_w, "baseline_w": max(made.baseline_w[first:last])},
                    ),
                )
                wrong = await self.orders.order(cem, order)
                if wrong is not None:
                    log.info("%s keeps its heat pump's programme: %s", cem.site, wrong.text)

    # ---------------------------------------------------------------- the day

    @hears(SitePower, of=(CEM,), where="grid")
    def hear_power(self, said: SitePower, heard: Heard) -> None:
        shaving = self.settings.shaving
        if shaving is not None and heard.sender.site in shaving.sites:
            self.power_w[heard.sender.site] = (said.at.timestamp(), said.power_w)

    def _together(self, shaving: Shaving) -> float | None:
        """The sites' power now; None while one has not reported lately."""
        now = self.clock.now()
        young = [w for at, w in self.power_w.values() if now - at <= YOUNG_S]
        return sum(young) if len(young) == len(shaving.sites) else None

    @every("retry_s")
    async def look(self) -> None:
        """Compare with the plan: a large deviation restricts at once, which buys the time to plan anew."""
        shaving = self.settings.shaving
        if shaving is None or self.day is None:
            return
        now, power = self.clock.now(), self._together(shaving)
        if power is not None:
            self.day.feed(now, power, shaving.contracted_w)
        if now >= self._day_end(self.day.start):
            await self._report(shaving)
        if power is None or self.plan is None or now < self._restricted_until:
            return
        k = int((now - self.planned_at) // SLOT_S)
        if not 0 <= k < len(self.plan.baseline_w):
            return
        expected = min(self.plan.baseline_w[k], sum(uppers[k] for uppers in self.plan.upper_w.values()))
        if power - expected > shaving.large_share * shaving.contracted_w:
            await self._restrict(shaving, power, expected)

    async def _restrict(self, shaving: Shaving, power_w: float, expected_w: float) -> None:
        now = self.clock.now()
        self._restricted_until = now + RESTRICTED_S
        cems = self.sites.cems(shaving.sites)
        weight = {cem.site: max(self.power_w[cem.site][1], 1.0) * (1 + self.complaints[cem.site]) for cem in cems}
        total = shaving.restrict_share * shaving.contracted_w
        text = f"{power_w:.0f} W instead of {expected_w:.0f} W: less at once, until it is planned anew."
        inputs = {"power_w": power_w, "expected_w": expected_w, "contracted_w": shaving.contracted_w}
        reason = Reason(code="large_deviation", text=text, binding="contracted_capacity", inputs=inputs)
        async with anyio.create_task_group() as group:
            for cem in cems:
                upper = total * weight[cem.site] / sum(weight.values())
                slot = EnvelopeSlot(start=instant(now), duration_s=RESTRICTED_S, upper_w=upper)
                group.start_soon(self._send, cem, SetEnvelope(slots=(slot,), reason=reason))
        await self._optimise(shaving, "large_deviation")

    # ---------------------------------------------------------------- comfort and report

    @hears(ComfortFeedback, of=(CEM, APP, BUILDING), where="addressed")
    def hear_comfort(self, said: ComfortFeedback, heard: Heard) -> None:
        """Counted for the report; who complains gives up less."""
        self.comfort[said.comfort] += 1
        if said.comfort != "good":
            self.complaints[heard.sender.site] += 1

    async def _report(self, shaving: Shaving) -> None:
        day = self.day
        assert day is not None  # there is one from the start on
        day.close(shaving.contracted_w)
        above = max(0.0, day.highest_w - shaving.contracted_w)
        word = PerformanceReport(
            day=instant(day.start),
            contracted_w=shaving.contracted_w,
            highest_w=day.highest_w,
            slots_above=day.slots_above,
            energy_wh=day.energy_wh,
            penalty_eur=above / 1000 * shaving.penalty_eur_per_kw,
            comfort=dict(self.comfort),
        )
        self.day, self.comfort = Day(start=self.clock.now()), Counter()
        if shaving.building:
            try:
                await self.bus.tell_durably(Address.parse(shaving.building), word)
            except NotStored as problem:
                log.warning("the performance report is lost: %s", problem)
