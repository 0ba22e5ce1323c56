"""What is to be expected: generation, load, wind, at the connection point; asked for and answered."""

from typing import Literal

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import Estimate, TemperatureSlot
from contracts.reasons import Reason
from contracts.roles import BUILDING, CEM, DSO, ESP, FORECASTER, RETAILER
from contracts.units import Instant, Seconds, W

Quantity = Literal["pv", "load", "wind", "outdoor"]
"""``outdoor`` is a temperature in degC, the others are powers."""


class AskForecast(Message, frozen=True, kw_only=True):
    """What will it be? ``power_w`` is the plant's rating (a magnitude), ``site`` the home that asks."""

    topic = "forecast"
    clause = "IC-DE-HLUC1 Seq 1.1; IC-BE-THOR-PEAK"

    quantity: Quantity
    start: Instant
    horizon_s: Seconds
    slot_s: Seconds = 900.0
    site: str = ""
    rating_w: W | None = None


class ForecastIs(Message, frozen=True, kw_only=True):
    """Expected values with their band; temperatures where the quantity is one. ``issued``: a forecast ages."""

    topic = "forecast"
    ttl_s = 300.0

    quantity: Quantity
    issued: Instant
    values: tuple[Estimate, ...] = ()
    temperatures: tuple[TemperatureSlot, ...] = ()
    source: str


class ForecastUnknown(Message, frozen=True, kw_only=True):
    """Nothing to go by."""

    topic = "forecast"

    reason: Reason


class AskSiteForecast(Message, frozen=True, kw_only=True):
    """Actual and expected power at a connection point, for whom the customer allows. IC-DE-HLUC1 Seq 1.2, 2.1."""

    topic = "forecast"
    clause = "IC-DE-HLUC1; IC-DE-HLUC4 scenario 9"

    horizon_s: Seconds = 86_400.0


class SiteForecastIs(Message, frozen=True, kw_only=True):
    """Planned devices plus learned unplanned use, per slot."""

    topic = "forecast"
    ttl_s = 300.0

    at: Instant
    power_w: W
    values: tuple[Estimate, ...]
    contract_w: W | None = None


class SiteForecastUnknown(Message, frozen=True, kw_only=True):
    """Not known, or not to be told."""

    topic = "forecast"

    reason: Reason


forecast = Conversation(
    "forecast",
    opener="asker",
    opened_by=(CEM, ESP, RETAILER, BUILDING, DSO),
    answerer="forecaster",
    answered_by=(FORECASTER,),
    turns=[
        Turn("start", "asker", AskForecast, "asked"),
        Turn("asked", "forecaster", ForecastIs, END),
        Turn("asked", "forecaster", ForecastUnknown, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IC-DE-HLUC1",
    use_cases=("home.self-consumption", "tariffs.wind", "community.peak-shaving"),
)

site_forecast = Conversation(
    "site_forecast",
    opener="asker",
    opened_by=(ESP, DSO, BUILDING, RETAILER),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "asker", AskSiteForecast, "asked"),
        Turn("asked", "energy_manager", SiteForecastIs, END),
        Turn("asked", "energy_manager", SiteForecastUnknown, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IC-DE-HLUC1 Seq 1.2",
    use_cases=("tariffs.wind", "home.self-consumption", "community.peak-shaving"),
)
