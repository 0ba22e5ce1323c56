"""Load that will be critical, though not at once: the service provider is told, to adapt its tariff. IC-DE-HLUC1 Seq 2.

The homes are asked what they expect. What is critical now is not told here: then limits go out (``steer_limits``).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from agents.dso.settings import DsoSettings
from agents.dso.watch_grid import WatchGrid
from agents.kit.agent import Peers
from agents.kit.skill import every, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.forecast import AskSiteForecast, SiteForecastIs, SiteForecastUnknown, site_forecast
from contracts.kit import Lapsed
from contracts.profiles import SLOT_S
from contracts.reasons import Reason
from contracts.roles import CEM, ESP
from contracts.site_power import CriticalLoadNoted, NotifyCriticalLoad, critical_load

log = logging.getLogger("gridparley.dso")


def critical_periods(powers_w: Sequence[float], bound_w: float) -> list[tuple[int, int, float]]:
    """Runs of slots beyond ``bound_w`` in either direction: (first, one after the last, worst excess, signed)."""
    found: list[tuple[int, int, float]] = []
    for k, power in enumerate(powers_w):
        excess = power - bound_w if power > 0 else power + bound_w
        if abs(power) <= bound_w:
            continue
        if found and found[-1][1] == k and (found[-1][2] > 0) == (excess > 0):
            first, _, worst = found.pop()
            found.append((first, k + 1, excess if abs(excess) > abs(worst) else worst))
        else:
            found.append((k, k + 1, excess))
    return found


@skill(opens=(site_forecast, critical_load), use_cases=("tariffs.wind",))
@dataclass
class WarnCritical:
    """Where service providers are in reach; the same period is told once, and again when it gets worse."""

    bus: Bus
    clock: Clock
    settings: DsoSettings
    peers: Peers
    watch: WatchGrid
    _told: dict[tuple[float, bool], float] = field(default_factory=dict)

    @every("warn_every_s")
    async def look_ahead(self) -> None:
        providers, loading = self.peers.of(ESP), self.watch.loading()
        if not providers or loading is None:
            return
        told = await self._ask()
        if not told:
            return
        start = (self.clock.now() // SLOT_S + 1) * SLOT_S  # what begins now is no warning
        n = int(self.settings.warn_ahead_s // SLOT_S)
        rest = loading.power_w - sum(said.power_w for said in told)  # whoever tells nothing goes on as now
        powers = [rest + sum(_at(said, start + k * SLOT_S) for said in told) for k in range(n)]
        bound = self.settings.transformer_va * self.settings.red_percent / 100
        self._told = {key: excess for key, excess in self._told.items() if key[0] > self.clock.now()}
        for first, last, excess in critical_periods(powers, bound):
            begins = start + first * SLOT_S
            key = (begins, excess > 0)
            if abs(excess) <= self._told.get(key, 0.0) * 1.1:
                continue
            self._told[key] = abs(excess)
            way = "Consumption" if excess > 0 else "Feed-in"
            text = f"{way} will be {abs(excess):.0f} W more than the transformer should carry."
            notice = NotifyCriticalLoad(
                start=instant(begins),
                duration_s=(last - first) * SLOT_S,
                direction="consumption" if excess > 0 else "feed_in",
                excess_w=abs(excess),
                reason=Reason(code="forecast", text=text, binding="transformer", inputs={"bound_w": bound}),
            )
            for provider in providers:
                await self._tell(provider, notice)

    async def _ask(self) -> list[SiteForecastIs]:
        found: list[SiteForecastIs] = []

        async def ask(cem: Address) -> None:
            async with self.bus.talk(site_forecast, cem) as talk:
                await talk.say(AskSiteForecast(horizon_s=self.settings.warn_ahead_s + SLOT_S))
                match await talk.hear(SiteForecastIs, SiteForecastUnknown, Lapsed):
                    case SiteForecastIs() as said:
                        found.append(said)
                    case _:
                        pass

        async with anyio.create_task_group() as group:
            for cem in self.peers.of(CEM):
                group.start_soon(ask, cem)
        return found

    async def _tell(self, provider: Address, notice: NotifyCriticalLoad) -> None:
        async with self.bus.talk(critical_load, provider) as talk:
            try:
                await talk.say(notice)
            except NotStored as problem:
                log.warning("%s was not told of critical load: %s", provider, problem)
                return
            match await talk.hear(CriticalLoadNoted, Lapsed):
                case CriticalLoadNoted(reason=reason):
                    log.info("%s: %s", provider, reason.text)
                case Lapsed():
                    log.warning("%s did not note critical load: a limit is what is left", provider)


def _at(said: SiteForecastIs, at: float) -> float:
    for value in said.values:
        start = value.start.timestamp()
        if start <= at < start + value.duration_s:
            return value.power_w
    return said.power_w
