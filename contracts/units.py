"""Quantities as they travel: one unit per quantity, in the field's suffix and here for machines.

Power and current: + is taken from the grid (consumed), - is fed in (generated), everywhere.
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

SUFFIXES = {
    "_w": "W",
    "_wh": "Wh",
    "_var": "var",
    "_v": "V",
    "_a": "A",
    "_hz": "Hz",
    "_s": "s",
    "_percent": "%",
    "_c": "degC",
    "_share": "1",
    "_eur": "EUR",
    "_eur_per_kwh": "EUR/kWh",
    "_wh_per_k": "Wh/K",
    "_w_per_k": "W/K",
}
"""Field suffix -> unit. A test holds every message to this table."""


def unit(symbol: str, doc: str, **limits: Any) -> Meta:
    """Metadata that carries the unit into JSON Schema as ``x-unit``; ``limits`` act on decoding only."""
    return Meta(description=doc, extra={"unit": symbol}, extra_json_schema={"x-unit": symbol}, **limits)


_FINITE = 1e9  # No customer's connection is near a gigawatt: what is beyond is a fault, not a value.

W = Annotated[float, unit("W", "active power, + = taken from the grid", ge=-_FINITE, le=_FINITE)]
LimitW = Annotated[
    float,
    unit("W", "bound of active power at the grid connection point, signed: consumption >= 0, production <= 0"),
]
Wh = Annotated[float, unit("Wh", "energy register, counts up only", ge=0)]
Var = Annotated[float, unit("var", "reactive power, + = inductive, taken from the grid", ge=-_FINITE, le=_FINITE)]
V = Annotated[float, unit("V", "voltage, phase to neutral", ge=0, le=100_000)]
A = Annotated[float, unit("A", "current, signed like active power", ge=-100_000, le=100_000)]
Hz = Annotated[float, unit("Hz", "frequency", ge=0, le=100)]
Seconds = Annotated[float, unit("s", "duration", ge=0)]
OffsetS = Annotated[float, unit("s", "difference of two instants, signed", ge=-_FINITE, le=_FINITE)]
Percent = Annotated[float, unit("%", "share of a hundred", ge=-1000, le=1000)]
Celsius = Annotated[float, unit("degC", "temperature", ge=-100, le=300)]
Share = Annotated[float, unit("1", "share of one", ge=0, le=10)]
Eur = Annotated[float, unit("EUR", "money", ge=-_FINITE, le=_FINITE)]
EurPerKwh = Annotated[
    float, unit("EUR/kWh", "price of energy; beyond 100 EUR/kWh it is a fault, not a price", ge=-100, le=100)
]
WhPerK = Annotated[float, unit("Wh/K", "heat capacity", ge=0, le=_FINITE)]
WPerK = Annotated[float, unit("W/K", "heat loss per degree", ge=0, le=_FINITE)]
Instant = Annotated[datetime, Meta(description="instant of the run's clock, UTC, ISO 8601", tz=True)]
Phases = tuple[float, float, float]
"""One value per phase L1, L2, L3; the field's suffix names the unit."""
