"""What appliances run, where nobody has told: typical programmes. No product on Modbus tells its own.

Around 1 kWh each, 3 kWh for the vented dryer; how it spreads over the steps is our choice. ``settings.programmes``
replaces them by what somebody has measured at the machine at hand.
"""

from typing import Literal

from contracts.profiles import PowerSlot

Kind = Literal["washing_machine", "dishwasher", "dryer"]


def _slots(*rows: tuple[float, float, bool]) -> tuple[PowerSlot, ...]:
    """Minutes, watts, may be paused before."""
    return tuple(PowerSlot(duration_s=60 * m, power_w=watts, interruptible=free) for m, watts, free in rows)


TYPICAL: dict[Kind, dict[str, tuple[PowerSlot, ...]]] = {
    "washing_machine": {
        "cotton_60": _slots((6, 120, True), (22, 2000, False), (50, 180, True), (22, 120, True), (12, 450, False)),
        "easy_care_40": _slots((5, 120, True), (12, 2000, False), (38, 160, True), (10, 350, False)),
    },
    "dishwasher": {
        "eco_50": _slots((8, 60, True), (17, 1950, False), (110, 60, True), (14, 1950, False), (60, 20, True)),
        "auto_60": _slots((6, 60, True), (20, 2050, False), (40, 75, True), (16, 2050, False), (28, 20, True)),
    },
    "dryer": {
        "cupboard_dry": _slots((5, 250, True), (85, 700, False), (15, 250, True)),
        "cupboard_dry_vented": _slots((2, 250, True), (70, 2500, False), (10, 250, True)),
    },
}
"""The first programme of a kind is the usual one."""
