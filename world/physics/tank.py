"""A hot-water tank that heats house and taps: one well-mixed temperature."""

import msgspec

WATER_WH_PER_L_K = 1.163
"""Specific heat of water, 4186 J/(kg K)."""
LOSS_W_PER_K = 1.8
"""Standing loss, the order of an efficiency class B tank of 300 l (EU 812/2013 gives about 1.5 kWh a day)."""
ROOM_C = 20.0


class TankState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    temperature_c: float


def step(volume_l: float, state: TankState, dt_s: float, heat_w: float, draw_w: float) -> TankState:
    """``heat_w`` in, ``draw_w`` out, losses to the room."""
    loss = LOSS_W_PER_K * (state.temperature_c - ROOM_C)
    change = (heat_w - draw_w - loss) * dt_s / 3600 / (volume_l * WATER_WH_PER_L_K)
    return TankState(temperature_c=state.temperature_c + change)
