"""A meter in one circuit of the home."""

import msgspec

from world.control import Orders
from world.equipment.base import DARK, Equipment, Moment, Readings, electric, single
from world.profiles import Profile
from world.spec import DeviceSpec


class SubmeterState(msgspec.Struct, kw_only=True):
    import_wh: float = 0.0
    export_wh: float = 0.0


class Submeter(Equipment):
    """It measures a circuit that nobody controls (``rating_w`` times the profile), or another device of its site.

    ``measured`` is that device, set once the site knows all of its own; then it draws nothing itself.
    """

    measured: Equipment | None = None

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str) -> None:
        self.spec, self.orders = spec, orders
        self._circuit = single(spec, seed, site)
        self.shares = DARK if spec.measures else self._circuit
        self._profile = Profile(spec.profile) if spec.profile else None
        self._state = SubmeterState()

    @property
    def _seen_w(self) -> float:
        return self.power_w if self.measured is None else self.measured.power_w

    def advance(self, moment: Moment) -> None:
        if self.measured is None:
            share = 1.0 if self._profile is None else self._profile.active_share(moment.instant)
            self.power_w = self.spec.rating_w * share if moment.live else 0.0
        energy = self._seen_w * moment.dt_s / 3600
        self._state.import_wh += max(energy, 0.0)
        self._state.export_wh += max(-energy, 0.0)

    def readings(self, moment: Moment) -> Readings:
        shares = self._circuit if self.measured is None else self.measured.shares
        return {
            "power_w": self._seen_w,
            **electric(moment, self._seen_w, shares),
            "import_wh": self._state.import_wh,
            "export_wh": self._state.export_wh,
        }

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, SubmeterState)
