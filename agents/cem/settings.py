"""What may be set for a customer energy manager. Every default works; what sources leave open is in decision 0010."""

from typing import Literal

import msgspec

from agents.cem.limit_state import Return, Silence
from agents.kit.agent import Settings
from contracts.device import READING_EVERY_S
from contracts.power_limit import FAILSAFE_DURATION_S, HEARTBEAT_EVERY_S
from contracts.preferences import DevicePreferences

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
    plan                    False: no plan, only limits and surplus; plan_at_least_s between two of them
    plan_caution_share      of the band between expected and highest load counts against hard bounds
    plan_deviation_w        a quarter hour's mean that is so far off its plan asks for a new one
    peak_band_share         of the contracted power that a plan keeps free
    car_stays_s             a car whose departure nobody says wants its energy within this time
    limit_lasts_s           how long a limit without end is taken to last in a plan
    order_beats_hand        under an active, uncancelled contract for flexibility the hand does not override its orders
    users                   app -> user -> what he may: hand, preferences, plans, rules, ``hand:evse.1``, or ``*``;
                            an app of the home that is not named may do everything
    consents                party -> purposes for which it may have personal data or act here
    preferences             device or class -> what holds until people say otherwise
    consent_assumed         who puts a CEM in has agreed to control; a class or device is taken out by preferences
    time_zone, latitude_deg, longitude_deg   of the household: its local times, its sunset and sunrise
    hand_waits_s            so long a device may take to do what the hand wants; then the answer says what it does
    business_as_usual_s     ends by itself after this (IC-FR-PUC6-SC2); hot_water_s: extra hot water, at the latest
    export_means            in which order less is fed in for the supplier; export_request_s if it names no end
    export_loads            what may be switched on for that where heat cannot take it all, the first one first
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
    plan: bool = True
    plan_horizon_s: float = 86_400.0
    plan_at_least_s: float = 60.0
    plan_time_limit_s: float = 2.0
    plan_gap_share: float = 0.01
    plan_caution_share: float = 0.5
    plan_deviation_w: float = 1500.0
    peak_band_share: float = 0.03
    fallback_price_eur_per_kwh: float = 0.30
    wear_eur_per_kwh: float = 0.02
    switch_eur: float = 0.01
    later_eur_per_h: float = 0.001
    green_eur_per_kwh: float = 0.10
    car_stays_s: float = 7200.0
    limit_lasts_s: float = 7200.0

    # people: who may do what, and what holds as long as nobody has said otherwise
    users: dict[str, dict[str, tuple[str, ...]]] = msgspec.field(default_factory=dict)
    consents: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    preferences: dict[str, DevicePreferences] = msgspec.field(default_factory=dict)
    consent_assumed: bool = True
    plans: Literal["automatic", "confirm", "off"] = "automatic"
    time_zone: str = "Europe/Berlin"
    latitude_deg: float = 51.3
    longitude_deg: float = 9.5
    hand_waits_s: float = 20.0
    business_as_usual_s: float = 12 * 3600.0
    hot_water_s: float = 3600.0
    rules_every_s: float = 5.0

    # third parties: who may set envelopes, ask for less export, order (None: whoever is in reach)
    envelopes_from: tuple[str, ...] | None = None
    export_requests_from: tuple[str, ...] | None = None
    flexibility_contracts: tuple[str, ...] = ()
    export_means: tuple[Literal["absorb", "switch_off"], ...] = ("absorb", "switch_off")
    export_loads: tuple[str, ...] = ()
    export_request_s: float = 3600.0
    export_step_w: float = 100.0
    balance_every_s: float = 300.0

    # prices, expectations, time: decision 0031; the fallback price is for energy where no issuer has said any
    lowest_price_eur_per_kwh: float = -2.0
    highest_price_eur_per_kwh: float = 10.0
    price_horizon_s: float = 400 * 86_400.0
    suppliers: tuple[str, ...] = ()
    """Addresses whose energy prices are taken; empty: the first that prices a time keeps it."""
    energy_kind: str = ""
    """The kind of energy that the customer has chosen (``renewable``), where a slot has a price by kind."""
    high_price_quantile: float = 0.75
    high_price_margin: float = 0.1
    warn_before_s: float = 3600.0
    tell_tariffs: bool = True
    prices_every_s: float = 900.0
    registers_eur_per_kwh: dict[str, float] = msgspec.field(default_factory=dict)
    """Tariff list of the contract: register of the meter -> price, where no issuer has sent one."""
    yearly_wh: float = 3_500_000.0
    forecast_every_s: float = 1800.0
    clock_off_by_s: float = 0.0
    """For tries: how far this home's own tariff clock is off before it is set."""
    sync_every_s: float = 3600.0
    sync_tolerance_s: float = 2.0
    clock_alarm_s: float = 30.0

    # starts, thresholds, incentives, cars: decision 0032
    after_start_warning: Literal["run", "wait", "cancel"] = "wait"
    energy_limit_wh: float | None = None
    """Of a local day, from the grid; None: the limit is on power."""
    usual_rest_w: float | None = None
    """What the house takes when nobody is there: the lower limit that devices are told."""
    incentive_every_s: float = 300.0
    incentive_horizon_s: float = 86_400.0
    sell_above_eur_per_kwh: float | None = None
    """A battery feeds in above this price; None: only where a preference says a price."""
    generators: tuple[str, ...] = ()
    """Devices (``fuelcell.1``) that a price starts which only reaches their threshold."""

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
