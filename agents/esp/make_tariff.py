"""A tariff that follows wind, use and the state of the grid, pushed to every customer at each change. IC-DE-HLUC1."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from agents.esp.ask_sites import AskSites
from agents.esp.settings import EspSettings, WindTariff
from agents.kit.agent import Peers
from agents.kit.announce_tariffs import AnnounceTariffs
from agents.kit.local_day import shown
from agents.kit.skill import answers, skill, started
from bus import tracing
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from bus.transport import NotStored
from contracts.forecast import (
    AskForecast,
    ForecastIs,
    ForecastUnknown,
    forecast,
)
from contracts.kit import Lapsed
from contracts.profiles import SLOT_S, Estimate, PriceSlot
from contracts.reasons import Reason
from contracts.roles import APP, DSO, FORECASTER
from contracts.site_power import (
    AskConnectionStatus,
    ConnectionStatusIs,
    CriticalLoadNoted,
    NotifyCriticalLoad,
    connection_status,
    critical_load,
)
from contracts.tariff import AnnounceTariff

log = logging.getLogger("gridparley.esp")
TARIFF = "wind"


def at_slot(values: Sequence[Estimate], start: float, otherwise: float) -> float:
    """The expected power of the slot that begins then."""
    for value in values:
        begins = value.start.timestamp()
        if begins <= start < begins + value.duration_s:
            return value.power_w
    return otherwise


def price(rules: WindTariff, wind_w: float, use_w: float, *, stressed: bool) -> float:
    """EUR/kWh: cheap where wind is more than the use, dear where it is less; a grid under stress is never cheap.

    ``wind_w`` and ``use_w`` are magnitudes.
    """
    gap = (use_w - wind_w) / max(abs(rules.rating_w), 1.0)
    shift = max(-1.0, min(1.0, gap)) * rules.spread_eur_per_kwh
    return rules.base_eur_per_kwh + (max(shift, 0.0) if stressed else shift)


def slots_of(
    rules: WindTariff,
    start: float,
    wind: Sequence[Estimate],
    uses: Sequence[Sequence[Estimate]],
    status: ConnectionStatusIs | None,
    critical: Sequence[NotifyCriticalLoad],
) -> tuple[PriceSlot, ...]:
    """Quarter hours from ``start``; equal neighbours stay apart, since each may change by itself later."""
    made = []
    for n in range(int(rules.horizon_s // SLOT_S)):
        here = start + n * SLOT_S
        wind_w = abs(at_slot(wind, here, 0.0))
        use_w = sum(at_slot(use, here, 0.0) for use in uses)
        stressed = status is not None and status.color != "green" and n < 4
        eur = price(rules, wind_w, max(0.0, use_w), stressed=stressed)
        for notice in critical:
            begins = notice.start.timestamp()
            if begins < here + SLOT_S and here < begins + notice.duration_s:
                eur += rules.critical_eur_per_kwh * (1.0 if notice.direction == "consumption" else -1.0)
        share = 100.0 * min(1.0, wind_w / use_w) if use_w > 0 else 100.0
        made.append(
            PriceSlot(
                start=instant(here), duration_s=SLOT_S, price_eur_per_kwh=round(eur, 4), green_percent=round(share, 1)
            )
        )
    return tuple(made)


@skill(
    opens=(connection_status, forecast),
    use_cases=("tariffs.wind", "tariffs.user-choice"),
)
@dataclass
class MakeTariff:
    """Computed on a schedule and at each notice of the operator; nobody has to poll it."""

    bus: Bus
    clock: Clock
    settings: EspSettings
    peers: Peers
    tariffs: AnnounceTariffs
    sites: AskSites
    announced: AnnounceTariff | None = None
    critical: list[NotifyCriticalLoad] = field(default_factory=list)
    _wake: anyio.Event = field(default_factory=anyio.Event)
    _why: Reason | None = None

    @answers(critical_load)
    async def on_critical(self, talk: Talk, notice: NotifyCriticalLoad) -> None:
        """Not urgent: the tariff is what changes. What is urgent the operator limits itself."""
        if self.settings.wind is None:
            reason = Reason(code="no_tariff", text="This provider has no tariff that could change: limit the sites.")
            await talk.say(CriticalLoadNoted(reason=reason))
            return
        self.critical = [n for n in self.critical if n.start != notice.start or n.direction != notice.direction]
        self.critical.append(notice)
        way = "dearer" if notice.direction == "consumption" else "cheaper"
        begins = shown(notice.start.timestamp(), self.settings.time_zone)
        text = f"The tariff becomes {way} from {begins} for {notice.duration_s / 60:.0f} min."
        self._why = Reason(code="critical_load", text=text, inputs={"excess_w": notice.excess_w}, talk=talk.id)
        self._wake.set()
        await talk.say(CriticalLoadNoted(reason=self._why))

    @started
    async def keep_tariff(self) -> None:
        rules = self.settings.wind
        if rules is None:
            return
        while True:
            why, self._why, self._wake = self._why, None, anyio.Event()
            await self.renew(rules, why)
            due = self.clock.now() + rules.every_s
            async with anyio.create_task_group() as group:
                group.start_soon(self._at, due)
                await self._wake.wait()
                group.cancel_scope.cancel()

    async def _at(self, due: float) -> None:
        await self.clock.sleep_until(due)
        self._wake.set()

    async def renew(self, rules: WindTariff, why: Reason | None) -> None:
        """Ask, compute, push to every customer's CEM and app."""
        with tracing.span("make tariff", {"gridparley.use_cases": "tariffs.wind"}):
            start = self.clock.now() // SLOT_S * SLOT_S
            self.critical = [n for n in self.critical if n.start.timestamp() + n.duration_s > self.clock.now()]
            status = await self._status()
            wind = await self._wind(rules, start)
            if wind is None:
                log.info("no tariff is made: the wind is not known")
                return
            told = await self.sites.ask(rules.horizon_s)
            uses = [said.values for said in told.values()]
            slots = slots_of(rules, start, wind.values, uses, status, self.critical)
            reason = why or Reason(
                code="wind",
                text="Cheap where wind covers the use, dear where it does not.",
                inputs={"sites": len(uses)},
            )
            if slots[0].price_eur_per_kwh < rules.cheap_below_eur_per_kwh:
                text = f"Energy is cheap now: {slots[0].price_eur_per_kwh:.2f} EUR/kWh, there is more wind than use."
                reason = Reason(code="surplus", text=text, inputs=reason.inputs)
            await self.push(
                AnnounceTariff(
                    tariff=f"{TARIFF} @{instant(self.clock.now()):%Y-%m-%dT%H:%M:%S}",
                    component="energy",
                    form="schedule",
                    slots=slots,
                    warning=reason.text if reason.code in ("surplus", "critical_load") else None,
                    reason=reason,
                )
            )

    async def _status(self) -> ConnectionStatusIs | None:
        named = self.settings.operator
        dso = Address.parse(named) if named is not None else self.peers.one(DSO)
        if dso is None:
            return None
        async with self.bus.talk(connection_status, dso) as talk:
            await talk.say(AskConnectionStatus(sites=tuple(c.site for c in self.sites.cems())))
            match await talk.hear(ConnectionStatusIs, Lapsed):
                case ConnectionStatusIs() as status:
                    return status
                case Lapsed():
                    return None

    async def _wind(self, rules: WindTariff, start: float) -> ForecastIs | None:
        who = self.peers.one(FORECASTER)
        if who is None:
            return None
        async with self.bus.talk(forecast, who) as talk:
            await talk.say(
                AskForecast(
                    quantity="wind", start=instant(start), horizon_s=rules.horizon_s, rating_w=abs(rules.rating_w)
                )
            )
            match await talk.hear(ForecastIs, ForecastUnknown, Lapsed):
                case ForecastIs() as said:
                    return said
                case _:
                    return None

    async def push(self, word: AnnounceTariff) -> None:
        """To every customer's energy manager and app, until each has it.

        A customer without an energy manager is told too: he follows the tariff by hand. IC-DE-NOR-STEPS 3b.
        """
        self.announced = word
        apps = [app for app in self.peers.of(APP) if not self.settings.sites or app.site in self.settings.sites]
        try:
            await self.tariffs.announce(word, [*self.sites.cems(), *apps])
        except NotStored as problem:
            log.warning("the tariff was not announced: %s", problem)
