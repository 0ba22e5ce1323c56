"""A micro-CHP, fuel cell or gas engine: it makes power on order and heat by the way, and refuses when nobody takes it.

It starts up, then ramps, then runs between its least and its rating. Its heat goes into a tank that the house draws
from; a tank that is too hot stops it, whatever it was told.
"""

from typing import Literal

import msgspec

from world.physics import tank as tanks

Phase = Literal["off", "standby", "starting", "running", "stopping"]
START_S = 180.0
STOP_S = 60.0
"""From the order to the first power, and the cooling down; a gas engine's, our choice (a SOFC takes hours)."""
RAMP_SHARE_PER_S = 0.01
LEAST_SHARE = 0.5
"""Engines of this size go down to half their power."""
HEAT_PER_POWER = 2.3
"""Thermal per electric power of small gas engines: about 28 % and 64 % of the gas."""
HOT_C, COOLED_C = 75.0, 68.0
"""Return temperature that stops the engine, and that lets it start again; our choice."""
OWN_START_C, OWN_STOP_C = 50.0, 70.0
"""Left alone it keeps the tank between these."""
CELLAR_W = 40.0
"""Its own controls and pumps while it starts or stops."""
COMFORT_C = 20.0
TAP_W = 300.0


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    rating_w: float
    volume_l: float = 750.0


class GeneratorState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``made_w`` is the magnitude of what it generates; ``hot`` until its tank has cooled; counters only rise."""

    tank: tanks.TankState = tanks.TankState(temperature_c=55.0)
    phase: Phase = "standby"
    since_s: float = 0.0
    made_w: float = 0.0
    own_on: bool = False
    hot: bool = False
    energy_wh: float = 0.0
    heat_wh: float = 0.0

    @property
    def power_w(self) -> float:
        """At its terminals, + = taken."""
        if self.made_w:
            return -self.made_w
        return CELLAR_W if self.phase in ("starting", "stopping") else 0.0


def demand_w(generator: Generator, outdoor_c: float) -> float:
    """What house and taps take from the tank: at -10 C outside all the heat that the generator makes."""
    heating = generator.rating_w * HEAT_PER_POWER * max(COMFORT_C - outdoor_c - 5.0, 0.0) / 25.0
    return heating + TAP_W


def step(
    generator: Generator, state: GeneratorState, dt_s: float, wanted_w: float | None, outdoor_c: float
) -> GeneratorState:
    """One step. ``wanted_w`` is a magnitude, under its least: stop; None: by the heat that is wanted."""
    temperature = state.tank.temperature_c
    own_on = temperature < OWN_START_C or (state.own_on and temperature < OWN_STOP_C)
    if wanted_w is None:
        wanted_w = generator.rating_w if own_on else 0.0
    least = LEAST_SHARE * generator.rating_w
    run = wanted_w >= least - 1e-6
    hot = temperature >= HOT_C or (state.hot and temperature > COOLED_C)
    phase, since = _next(state, dt_s, run, hot)
    made = 0.0
    if phase == "running":
        target = min(wanted_w, generator.rating_w) if run else 0.0
        reach = RAMP_SHARE_PER_S * generator.rating_w * dt_s
        made = min(max(target, state.made_w - reach), state.made_w + reach)
    heat = made * HEAT_PER_POWER
    warm = min(max((temperature - 30.0) / 5.0, 0.0), 1.0)
    return GeneratorState(
        tank=tanks.step(generator.volume_l, state.tank, dt_s, heat, demand_w(generator, outdoor_c) * warm),
        phase=phase,
        since_s=since,
        made_w=made,
        own_on=own_on,
        hot=hot,
        energy_wh=state.energy_wh + made * dt_s / 3600,
        heat_wh=state.heat_wh + heat * dt_s / 3600,
    )


def _next(state: GeneratorState, dt_s: float, run: bool, hot: bool) -> tuple[Phase, float]:
    phase, since = state.phase, state.since_s + dt_s
    match phase:
        case "running" | "starting" if hot or not run:
            return "stopping", 0.0
        case "starting" if since >= START_S:
            return "running", 0.0
        case "stopping" if since >= STOP_S:
            return ("off" if hot else "standby"), 0.0
        case "standby" if hot:
            return "off", 0.0
        case "standby" if run:
            return "starting", 0.0
        case "off" if not hot:
            return "standby", 0.0
        case _:
            return phase, since
