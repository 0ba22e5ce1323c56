"""A simulated product whose registers follow the physics: filled when a master reads, not at every step."""

from collections.abc import Callable

from contracts.device_file import DeviceFile
from contracts.device_form import Table, Value
from world.control import Orders
from world.equipment import Readings
from world.modbus import Faults, SimulatedUnit
from world.spec import WorldError

GARBAGE = bytes(range(0x80, 0x94))
FAULTS: dict[str, Faults] = {
    "silent": Faults(silent=True),
    "garbage": Faults(garbage=GARBAGE),
    "slow": Faults(delay_s=5.0),
    "exception": Faults(exception=4),
    "hang_up": Faults(hang_up=True),
    "wrong_unit": Faults(wrong_unit=247),
    "wrong_tid": Faults(wrong_tid=True),
    "cut": Faults(cut=2),
    "deaf_to_writes": Faults(deaf_to_writes=True),
    "moved": Faults(moved=2),
}
"""Faults by the name that events use; a silent meter is an unplugged one."""


def check_fault(fault: str) -> None:
    """Raises WorldError for an unknown name; ``""`` is no fault."""
    if fault and fault not in FAULTS:
        raise WorldError(fault, f"is no fault; use one of {', '.join(sorted(FAULTS))}")


class LiveUnit(SimulatedUnit):
    """One product at a site's gateway.

    show    what the registers are to hold now; asked at most once per step, and only when a master reads
    now     instant of the run, for the ages of orders
    """

    def __init__(self, device: DeviceFile, unit: int, orders: Orders, now: Callable[[], float]) -> None:
        super().__init__(device, unit, on_write=self._take)
        self._orders, self._now = orders, now
        self.show: Callable[[], Readings] = dict
        self._stale = True

    def _take(self, name: str, value: Value) -> None:
        self._orders.take(name, value, self._now())
        self._orders.touch(self._now())

    def expire(self) -> None:
        """The physics has moved on: the next read fills the registers anew."""
        self._stale = True

    def serve_read(self, table: Table, address: int, count: int) -> bytes | int:
        self._orders.touch(self._now())
        self.refresh()
        return super().serve_read(table, address, count)

    def refresh(self) -> None:
        """Fill the registers now if they are stale."""
        if self._stale:
            self._stale = False
            self.put({**self.show()})

    def fit(self, rating_w: float, capacity_wh: float) -> None:
        """Choose the exponents of scaled 16-bit registers so that twice the power fits, and the capacity."""
        for name, point in self.points.items():
            if point.scale_register is None or point.type not in ("s16", "u16"):
                continue
            largest = 2 * rating_w if name.endswith("_w") else capacity_wh if name == "capacity_wh" else 0.0
            while largest > 32767 * point.scale * 10.0 ** self._exponent(point):
                raised = self._exponent(point) + 1
                self._spaces[point.table].write(point.scale_register, raised.to_bytes(2, "big", signed=True))

    def suffer(self, fault: str) -> None:
        """Break by name; ``""`` mends. Raises WorldError for an unknown name."""
        check_fault(fault)
        chosen = FAULTS[fault] if fault else Faults()
        for field in Faults.__struct_fields__:
            setattr(self.faults, field, getattr(chosen, field))
