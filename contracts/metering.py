"""What meters say of the grid connection point, and what the CEM passes on."""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import CEM, DSO, HES, METER
from contracts.units import Hz, Instant, Percent, Phases, Seconds, Share, Var, W, Wh

Quality = Literal["measured", "estimated", "corrected", "forecast"]

GRID_PUSH_S = 10.0
"""Head-end and control room get the connection point every 10 s (NG-04)."""
HOME_PUSH_S = 5.0
"""The CEM gets it every 5 s (IC-PT-PUC-MGCP)."""
NRTD_S = 300.0
"""Near-real-time data at least every 5 min (NG-05)."""


class GcpReading(Message, frozen=True, kw_only=True):
    """The grid connection point at one instant, three phases apart."""

    topic = "metering"
    ttl_s = 30.0
    clause = "NG-04; VDE-AR-E 2829-6-1"

    at: Instant
    quality: Quality = "measured"
    power_w: W
    power_by_phase_w: Phases
    current_by_phase_a: Phases
    voltage_by_phase_v: Phases
    frequency_hz: Hz
    reactive_power_var: Var
    import_wh: Wh
    export_wh: Wh
    pv_limit_percent: Percent | None = None


class NearRealTime(Message, frozen=True, kw_only=True):
    """One block of the load curve; ``sequence`` counts up by one, so a missing block shows."""

    topic = "metering"
    durable = True
    ttl_s = 30 * 86_400.0  # as long as its stream keeps it: a head-end may be away for long, and no block is lost
    clause = "NG-05; ENA-07"

    sequence: int
    start: Instant
    period_s: Seconds
    quality: Quality = "measured"
    import_wh: Wh
    export_wh: Wh
    power_w: W
    reactive_power_var: Var
    voltage_by_phase_v: Phases
    frequency_hz: Hz


class ContractNotice(Message, frozen=True, kw_only=True):
    """The connection's power against the contract: warning at a share of it, alarm above it, clear below again."""

    topic = "metering"
    ttl_s = 30.0
    clause = "NG-03; IC-IT-PUC-5C; IEC-JWG2113-S2"

    level: Literal["clear", "warning", "alarm"]
    metered_at: Instant
    power_w: W
    contract_w: W
    warning_share: Share


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Expected mean power of one period."""

    start: Instant
    duration_s: Seconds
    power_w: W


class SitePower(Message, frozen=True, kw_only=True):
    """Actual and forecast power of the premises, passed on by the CEM on its own schedule."""

    topic = "metering"
    ttl_s = 300.0
    clause = "IC-DE-HLUC3 premises consumption; IEC-JWG2111-S2 step 4"

    at: Instant
    power_w: W
    goal: Literal["smallest_flow", "zero_flow"]
    forecast: tuple[Forecast, ...] = ()


class AskPower(Message, frozen=True, kw_only=True):
    """The operator asks for the present power of the premises."""

    topic = "metering"
    clause = "IC-SVC-DE-MONITOR"


class PowerIs(Message, frozen=True, kw_only=True):
    """The last measured power; ``at`` tells its age."""

    topic = "metering"

    at: Instant
    power_w: W
    quality: Quality


class PowerUnknown(Message, frozen=True, kw_only=True):
    """No value young enough to be one."""

    topic = "metering"

    reason: Reason


class CheckMeter(Message, frozen=True, kw_only=True):
    """The head-end misses a report and looks into it."""

    topic = "metering"
    clause = "ENA-07 alternative: missing data"

    missing_since: Instant


class MeterStatus(Message, frozen=True, kw_only=True):
    """The meter's own account: is the device answering, and which block comes next."""

    topic = "metering"

    device_answers: bool
    last_reading_at: Instant | None
    next_sequence: int
    reason: Reason


class ReportMissing(Message, frozen=True, kw_only=True):
    """The head-end flags a meter whose report is overdue, and clears the flag when it is back."""

    topic = "metering"
    clause = "ENA-07"

    meter: str
    missing_since: Instant
    cleared: bool = False
    finding: str = ""


power_query = Conversation(
    "power_query",
    opener="operator",
    opened_by=(DSO,),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "operator", AskPower, "asked"),
        Turn("asked", "energy_manager", PowerIs, END),
        Turn("asked", "energy_manager", PowerUnknown, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IC-SVC-DE-MONITOR",
    use_cases=("metering.gcp-to-cem",),
)

meter_check = Conversation(
    "meter_check",
    opener="head_end",
    opened_by=(HES,),
    answerer="meter",
    answered_by=(METER,),
    turns=[
        Turn("start", "head_end", CheckMeter, "asked"),
        Turn("asked", "meter", MeterStatus, END),
    ],
    lapses=[Lapse("asked", after=60.0)],
    clause="ENA-07",
    use_cases=("metering.nrtd",),
)
