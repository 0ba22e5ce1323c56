"""A car's own charging plan: what it needs, the most it may draw and what that costs, what it then means to do.

The energy manager gives room and prices; the plan is the car's own and comes back. IC-PT-PUC-CEVC.
"""

from typing import Literal

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower, PriceSlot
from contracts.reasons import Reason
from contracts.roles import CEM, EV
from contracts.units import A, Eur, Instant, Percent, W, Wh


class ChargingDemand(Message, frozen=True, kw_only=True):
    """What the car needs: energy, level now and wished, when it leaves, at which charging point. IC-PT-PUC-CEVC."""

    topic = "charging"
    durable = True
    ttl_s = 300.0
    clause = "IC-PT-PUC-CEVC; IC-DE-PUC-EM-1"

    evse: str
    energy_wh: Wh
    capacity_wh: Wh
    soc_percent: Percent | None = None
    target_percent: Percent | None = None
    leaves_at: Instant | None = None
    not_before: Instant | None = None
    least_a: A = 6.0
    most_a: A = 16.0
    phases: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    incentive: Literal["cheapest", "greenest"] | None = None


class ChargingOffer(Message, frozen=True, kw_only=True):
    """The most that may be drawn, by period, and the incentive table. ``maximum_a`` is per phase."""

    topic = "charging"
    durable = True
    ttl_s = 300.0

    maximum_a: A
    maximum: tuple[PlannedPower, ...] = ()
    incentives: tuple[PriceSlot, ...]


class DemandRefused(Message, frozen=True, kw_only=True):
    """The car cannot be served so."""

    topic = "charging"
    durable = True
    ttl_s = 60.0

    reason: Reason


class ChargingPlan(Message, frozen=True, kw_only=True):
    """The car's own plan, within the most that may be drawn."""

    topic = "charging"
    durable = True
    ttl_s = 300.0

    power: tuple[PlannedPower, ...]
    energy_wh: Wh
    cost_eur: Eur | None = None


class DemandWithdrawn(Message, frozen=True, kw_only=True):
    """Not so: the car will ask again."""

    topic = "charging"
    durable = True
    ttl_s = 60.0

    reason: Reason


class ChargingPlanTaken(Message, frozen=True, kw_only=True):
    """The charging point will give what the plan needs."""

    topic = "charging"
    durable = True
    ttl_s = 60.0


class ChargingPlanRefused(Message, frozen=True, kw_only=True):
    """The plan exceeds what was offered, or what has come up since."""

    topic = "charging"
    durable = True
    ttl_s = 60.0

    reason: Reason


class ChargingStatus(Message, frozen=True, kw_only=True):
    """How the charge goes; said at home while it lasts, and once when it is over."""

    topic = "charging"
    ttl_s = 60.0
    clause = "IC-DE-PUC-EM-5; IC-DE-PUC-SOC; IC-PT-PUC-CEVC status"

    at: Instant
    evse: str
    state: Literal["plugged", "charging", "paused", "finished", "gone"]
    power_w: W
    energy_wh: Wh
    soc_percent: Percent | None = None
    quality: Literal["measured", "estimated"] = "measured"


charging_plan = Conversation(
    "charging_plan",
    opener="car",
    opened_by=(EV,),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "car", ChargingDemand, "demanded"),
        Turn("demanded", "energy_manager", ChargingOffer, "offered"),
        Turn("demanded", "energy_manager", DemandRefused, END),
        Turn("offered", "car", ChargingPlan, "planned"),
        Turn("offered", "car", DemandWithdrawn, END),
        Turn("planned", "energy_manager", ChargingPlanTaken, END),
        Turn("planned", "energy_manager", ChargingPlanRefused, END),
    ],
    lapses=[Lapse("demanded", after=30.0), Lapse("offered", after=60.0), Lapse("planned", after=30.0)],
    deal=(ChargingPlanTaken,),
    clause="IC-PT-PUC-CEVC",
    use_cases=("mobility.coordinated",),
)
