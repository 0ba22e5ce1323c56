"""An appliance with programmes: washing machine, dishwasher, dryer. Each step has its time and its power.

It goes on where it was when its supply comes back, as load controllers that work by sockets ask for (SMA, Sunny Home
Manager, program-controlled loads). An opened door ends the programme.
"""

from typing import Literal

import msgspec

Phase = Literal["idle", "armed", "running", "finished"]
STANDBY_W = 1.0
"""Of a machine that is on and has nothing to do; our choice."""
SHORTEST_SHARE = 0.7
"""A programme that measures its load ends early, down to this share of its time; our choice."""
EARLY_SHARE = 0.25
"""How many programmes end early; our choice."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """``interruptible``: the machine may be asked to wait before and in this step."""

    duration_s: float
    power_w: float
    interruptible: bool = False


def _steps(*rows: tuple[float, float, bool]) -> tuple[Step, ...]:
    """Minutes, watts, interruptible."""
    return tuple(Step(duration_s=60.0 * m, power_w=float(watts), interruptible=free) for m, watts, free in rows)


PROGRAMMES: dict[str, tuple[Step, ...]] = {
    # Minutes, watts, interruptible: fill, heat, work, rinse, spin or dry. Our choice: around 1 kWh each, 3 kWh for the
    # vented dryer.
    "cotton_60": _steps((6, 120, True), (22, 2000, False), (50, 180, True), (22, 120, True), (12, 450, False)),
    "easy_care_40": _steps((5, 120, True), (12, 2000, False), (38, 160, True), (10, 350, False)),
    "eco_50": _steps((8, 60, True), (17, 1950, False), (110, 60, True), (14, 1950, False), (60, 20, True)),
    "auto_60": _steps((6, 60, True), (20, 2050, False), (40, 75, True), (16, 2050, False), (28, 20, True)),
    "cupboard_dry": _steps((5, 250, True), (85, 700, False), (15, 250, True)),
    "cupboard_dry_vented": _steps((2, 250, True), (70, 2500, False), (10, 250, True)),
}
"""Washing machine, washing machine, dishwasher, dishwasher, heat pump dryer, vented dryer."""


class ApplianceState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``share`` of its time that the programme takes this time; counters only rise.

    armed_at  instant, unix seconds
    holding   it has been asked to wait and has come to a step where it can
    """

    phase: Phase = "idle"
    programme: str = ""
    share: float = 1.0
    armed_at: float = 0.0
    elapsed_s: float = 0.0
    holding: bool = False
    power_w: float = 0.0
    energy_wh: float = 0.0
    armed_count: int = 0

    @property
    def step(self) -> Step | None:
        """The step that it is in, None when it is through or has none."""
        left = self.elapsed_s
        for step in PROGRAMMES.get(self.programme, ()):
            if left < step.duration_s * self.share:
                return step
            left -= step.duration_s * self.share
        return None

    @property
    def remaining_s(self) -> float:
        """Until it is through, if nothing stops it; it knows its ``share`` and says the truth."""
        total = sum(step.duration_s for step in PROGRAMMES.get(self.programme, ())) * self.share
        return max(total - self.elapsed_s, 0.0) if self.phase in ("armed", "running") else 0.0


def arm(state: ApplianceState, programme: str, instant: float, share: float = 1.0) -> ApplianceState:
    """The user has filled it, chosen a programme and pressed start."""
    return ApplianceState(
        phase="armed",
        programme=programme,
        share=share,
        armed_at=instant,
        energy_wh=state.energy_wh,
        armed_count=state.armed_count + 1,
    )


def open_door(state: ApplianceState) -> ApplianceState:
    """Whatever it was doing is over."""
    return ApplianceState(energy_wh=state.energy_wh, armed_count=state.armed_count)


def step(state: ApplianceState, dt_s: float, *, supply: bool, go: bool, hold: bool = False) -> ApplianceState:
    """One step of time.

    supply  it has voltage; without, it stands still wherever it is
    go      an armed machine may begin
    hold    a running machine is asked to wait: it does so in the next interruptible step
    """
    if not supply:
        return msgspec.structs.replace(state, power_w=0.0)
    phase = "running" if state.phase == "armed" and go else state.phase
    if phase != "running":
        watts, elapsed, holding = STANDBY_W, state.elapsed_s, False
    else:
        here = msgspec.structs.replace(state, phase="running").step
        holding = hold and (here is not None and here.interruptible)
        watts = STANDBY_W if holding or here is None else here.power_w
        elapsed = state.elapsed_s if holding else state.elapsed_s + dt_s
        if msgspec.structs.replace(state, elapsed_s=elapsed).step is None:
            phase = "finished"
    energy = state.energy_wh + watts * dt_s / 3600
    return msgspec.structs.replace(
        state, phase=phase, elapsed_s=elapsed, holding=holding, power_w=watts, energy_wh=energy
    )
