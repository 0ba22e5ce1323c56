"""A home that carries itself while the street is dark: own generation, and a battery that forms the voltage. JWG4."""

import msgspec

OVERLOAD_S = 20.0
"""So long the inverter carries more than its rating; then the home goes dark until the grid is back. Our choice."""
SURGE = 2.0
"""Times its rating, at most: beyond that it trips at once. Our choice."""
RECONNECT_S = 60.0
"""The grid's voltage is watched so long before the home is synchronised to it. EN 50549-1, 4.10.2: the default."""
COVERED_W = 50.0
SHARE_PER_S = 0.1
"""How fast generators give way to the frequency that the island's inverter raises, and come back."""


class Island(msgspec.Struct, frozen=True, kw_only=True):
    """``alone``: separated from the grid; ``dark``: it could not carry itself. Durations in seconds."""

    alone: bool = False
    dark: bool = False
    overloaded_s: float = 0.0
    grid_back_s: float = 0.0
    generation_share: float = 1.0

    @property
    def carries(self) -> bool:
        return self.alone and not self.dark


def watch_grid(island: Island, *, grid: bool, backup: bool, dt_s: float) -> Island:
    """Separate when the grid's voltage is gone, synchronise when it has been back for long enough."""
    if not grid:
        return msgspec.structs.replace(island, alone=True, grid_back_s=0.0) if backup else Island()
    if not island.alone:
        return island
    back = island.grid_back_s + dt_s
    return Island() if back >= RECONNECT_S else msgspec.structs.replace(island, grid_back_s=back)


def carry(island: Island, *, net_w: float, battery_w: float, rating_w: float, dt_s: float) -> Island:
    """What a step of load did to the island.

    net_w      what is left over at the connection point, where nothing can flow: > 0 not covered, < 0 too much
    battery_w  what the batteries take (> 0) or give (< 0), at most ``rating_w``
    """
    if net_w > COVERED_W:
        overloaded = island.overloaded_s + dt_s
        if battery_w >= 0 or net_w - battery_w > SURGE * rating_w or overloaded > OVERLOAD_S:
            return msgspec.structs.replace(island, dark=True, overloaded_s=0.0)
    else:
        overloaded = 0.0
    step = SHARE_PER_S * dt_s * (-1.0 if net_w < -COVERED_W else 1.0)
    share = min(1.0, max(0.0, island.generation_share + step))
    return msgspec.structs.replace(island, overloaded_s=overloaded, generation_share=share)
