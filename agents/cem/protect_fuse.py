"""The main fuse, phase by phase, from the meter in the home alone: it acts with no link to anybody. IC-DE-PUC-EM-2."""

from dataclasses import dataclass
from math import inf

from agents.cem.premises import Premises
from agents.cem.settings import NOMINAL_V, CemSettings
from agents.kit.skill import skill
from bus.bus import Bus
from contracts.emergency import DisplayNotice


@skill(says_home=(DisplayNotice,), use_cases=("limits.fuse",))
@dataclass
class ProtectFuse:
    """Gives the loop its bounds per phase; says at the display when a phase is beyond and when it is back."""

    bus: Bus
    settings: CemSettings
    premises: Premises
    broken: bool = False

    def __post_init__(self) -> None:
        # Before the loop: it is listed after us and decides on what we found.
        self.premises.on_meter.append(self._compare)

    @property
    def cap_w(self) -> float:
        """Power per phase that keeps the fuse below its rating; infinite where no fuse is configured."""
        return self.settings.fuse_a * self.settings.fuse_share * NOMINAL_V or inf

    @property
    def asymmetry_w(self) -> float:
        return self.settings.asymmetry_w if self.settings.fuse_a else inf

    def _compare(self) -> None:
        gcp, fuse_a = self.premises.gcp, self.settings.fuse_a
        if gcp is None or not fuse_a:
            return
        over = [n + 1 for n, amps in enumerate(gcp.current_by_phase_a) if abs(amps) > fuse_a * self.settings.fuse_share]
        if bool(over) == self.broken:
            return
        self.broken = bool(over)
        names = ", ".join(f"L{n}" for n in over)
        most = max(abs(a) for a in gcp.current_by_phase_a)
        text = f"{names} at {most:.0f} A of {fuse_a:g} A: devices are reduced." if over else "The fuse has room again."
        self.bus.say(DisplayNotice(kind="warning" if over else "info", text=text), home=True)
