"""What may be set for a customer energy manager. Every default works; what sources leave open is in decision 0010."""

from typing import Literal

import msgspec

from agents.cem.limit_state import Return, Silence
from agents.kit.agent import Settings
from contracts.device import READING_EVERY_S
from contracts.power_limit import FAILSAFE_DURATION_S, HEARTBEAT_EVERY_S

NOMINAL_V = 230.0


class CemSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Magnitudes where a name says consumption or production, except failsafe values, which are signed bounds.

    guard                   energy guard's address; None: the first control room in reach
    contract_*_w            0: none is known
    nominal_*_w             None: consumption from the fuse, else from the contract; production as the joined PV says
    failsafe_consumption_w  None: what the joined devices are entitled to, at least 4.2 kW
    limit_covers            ``devices``: household load comes on top of a consumption limit (BK6-22-300)
    margin_w                kept free below every bound; deadband_w: changes below it are not told to a device
    raise_after_s           more power is given at most this often, raise_step_w at a time; less is told at once
    restart_after_s         what was switched off stays off at least so long
    hold_s                  a device that is not told again within this time falls back to its own safe state
    response_s              how long after an order a measured value may still be of before it
    household_reserve_w     assumed for everything else while the meter is silent
    priorities              device -> rank; the lowest rank is the last to be switched off
    order_beats_hand        under an active, uncancelled contract for flexibility the hand does not override its orders
    """

    guard: str | None = None
    contract_consumption_w: float = 0.0
    contract_production_w: float = 0.0
    nominal_consumption_w: float | None = None
    nominal_production_w: float | None = None
    fuse_a: float = 0.0
    fuse_share: float = 0.95
    asymmetry_w: float = 4600.0

    failsafe_consumption_w: float | None = None
    failsafe_production_w: float = 0.0
    failsafe_duration_s: float = FAILSAFE_DURATION_S[0]
    heartbeat_every_s: float = HEARTBEAT_EVERY_S
    init_silence: Silence = "failsafe"
    heartbeat_without_limit: Return = "stay"
    duration_over: Return = "stay"
    refuse_below_minimum: bool = True
    limit_covers: Literal["connection", "devices"] = "connection"
    tick_s: float = 1.0
    soft_start_s: float = 60.0
    blackout_below_v: float = 50.0

    margin_w: float = 100.0
    deadband_w: float = 50.0
    raise_after_s: float = 15.0
    raise_step_w: float = 3000.0
    restart_after_s: float = 60.0
    hold_s: float = 120.0
    response_s: float = 6.0
    reading_every_s: float = READING_EVERY_S
    stale_after_periods: float = 3.0
    household_reserve_w: float = 2000.0
    retry_s: float = 30.0
    priorities: dict[str, int] = msgspec.field(default_factory=dict)

    use_surplus: bool = True
    surplus_every_s: float = 30.0
    surplus_deadband_w: float = 300.0

    plug_and_play: bool = True
    exempt: tuple[str, ...] = ()
    missing_after_s: float = 30.0
    watch_every_s: float = 5.0
    warn_third_party: bool = False
    warning_share: float = 0.9
    clear_share: float = 0.85
    notice_repeat_s: float = 300.0
    report_every_s: float = 60.0
    request_minimum_w: float = 500.0

    # wishes and plans
    order_beats_hand: bool = False

    @property
    def stale_after_s(self) -> float:
        return self.stale_after_periods * self.reading_every_s

    def nominal_w(self, direction: Literal["consumption", "production"]) -> float:
        """Magnitude; 30 kW where nothing is known."""
        if direction == "consumption":
            own, contract = self.nominal_consumption_w, self.contract_consumption_w
        else:
            own, contract = self.nominal_production_w, self.contract_production_w
        return own or max(contract, self.fuse_a * 3 * NOMINAL_V) or 30_000.0
