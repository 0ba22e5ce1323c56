"""Answer what will probably be. IC-DE-HLUC1 Seq 1.1."""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field

import anyio.to_thread

from agents.forecaster import forecast as expected
from agents.forecaster import weather as sky
from agents.forecaster.forecast import Asked, Band
from agents.forecaster.settings import ForecasterSettings
from agents.kit.skill import answers, skill
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.forecast import AskForecast, ForecastIs, ForecastUnknown, forecast
from contracts.profiles import Estimate, TemperatureSlot
from contracts.reasons import Reason

log = logging.getLogger("gridparley.forecaster")
MOST_SLOTS = 2000
REMEMBERED = 128
"""Answers for one unit of rating: homes of a street ask the same within minutes."""
FRESH_S = 900.0


@skill(use_cases=("home.self-consumption", "tariffs.wind", "community.peak-shaving"))
@dataclass
class AnswerForecast:
    """Computes off the loop: the sun's position over a week takes its time."""

    clock: Clock
    settings: ForecasterSettings
    _forecasts: sky.Forecasts | None = None
    _answers: OrderedDict[tuple[object, ...], list[Band]] = field(default_factory=OrderedDict)
    _reading: anyio.Lock = field(default_factory=anyio.Lock)

    @answers(forecast)
    async def on_ask(self, talk: Talk, ask: AskForecast) -> None:
        reason = self._unanswerable(ask)
        if reason is not None:
            await talk.say(ForecastUnknown(reason=reason))
            return
        try:
            await talk.say(await self._answer(ask))
        except sky.WeatherFileError as problem:
            log.error("%s", problem)
            await talk.say(ForecastUnknown(reason=Reason(code="no_weather", text=str(problem))))

    def _unanswerable(self, ask: AskForecast) -> Reason | None:
        if ask.slot_s <= 0 or ask.horizon_s <= 0:
            return Reason(code="no_time", text="Ask for slots and a horizon longer than nothing.")
        if ask.horizon_s > self.settings.longest_s or ask.horizon_s / ask.slot_s > MOST_SLOTS:
            text = f"Ask for at most {self.settings.longest_s / 86_400:g} days and {MOST_SLOTS} slots."
            return Reason(code="too_long", text=text, inputs={"horizon_s": ask.horizon_s, "slot_s": ask.slot_s})
        if ask.quantity in ("pv", "wind") and not ask.rating_w:
            return Reason(code="no_rating", text=f"Say the plant's rating with a question for {ask.quantity}.")
        return None

    async def _answer(self, ask: AskForecast) -> ForecastIs:
        now = self.clock.now()
        n = max(1, round(ask.horizon_s / ask.slot_s))
        start = ask.start.timestamp()
        asked = Asked(tuple(start + (k + 0.5) * ask.slot_s for k in range(n)), now)
        forecasts = await self._weather()
        newest = forecasts.newest(now)
        issued = forecasts.issued[newest] if newest >= 0 and forecasts.issued[newest] > 0 else now
        source = "weather file" if newest >= 0 else "climate"
        if ask.quantity == "outdoor":
            warm = expected.outdoor(asked, forecasts)
            slots = tuple(
                TemperatureSlot(
                    start=instant(start + k * ask.slot_s), duration_s=ask.slot_s, temperature_c=round(value, 2)
                )
                for k, value in enumerate(warm)
            )
            return ForecastIs(quantity="outdoor", issued=instant(issued), temperatures=slots, source=source)
        bands = await self._bands(ask, asked, forecasts, newest)
        values = tuple(
            Estimate(
                start=instant(start + k * ask.slot_s),
                duration_s=ask.slot_s,
                power_w=round(power, 1),
                lower_w=round(low, 1),
                upper_w=round(high, 1),
            )
            for k, (power, low, high) in enumerate(bands)
        )
        if ask.quantity == "load":
            source = "typical household"
        return ForecastIs(quantity=ask.quantity, issued=instant(issued), values=values, source=source)

    async def _bands(self, ask: AskForecast, asked: Asked, forecasts: sky.Forecasts, newest: int) -> list[Band]:
        s, rating_w = self.settings, abs(ask.rating_w or 0.0)
        plant = s.plants.get(ask.site, s.plant)
        if ask.quantity == "load":
            return expected.load(asked, s, plant.yearly_wh or s.yearly_wh)
        if ask.quantity == "wind":
            return expected.wind(asked, forecasts, s, rating_w)
        key = (asked.times, plant, newest, int(asked.now // FRESH_S))
        unit = self._answers.get(key)
        if unit is None:
            unit = await anyio.to_thread.run_sync(expected.pv, asked, forecasts, s, plant, 1.0)
            self._answers[key] = unit
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return [(power * rating_w, low * rating_w, high * rating_w) for power, low, high in unit]

    async def _weather(self) -> sky.Forecasts:
        """Read once; a file that cannot be read is tried again at the next question."""
        if not self.settings.weather:
            return sky.Forecasts()
        async with self._reading:
            if self._forecasts is None:
                self._forecasts = await anyio.to_thread.run_sync(sky.read, self.settings.weather)
            return self._forecasts
