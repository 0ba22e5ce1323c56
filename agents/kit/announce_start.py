"""Before a new operation a device asks whether the house has room for it. IEC-JWG2113-S1, IEC-JWG4."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from agents.kit.join import JoinHome
from agents.kit.skill import skill
from bus.bus import Bus
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.own_plans import AnnounceStart, HousePower, StartClear, StartWarning, start_check
from contracts.profiles import PowerSequence
from contracts.reasons import Reason

After = Literal["run", "wait", "cancel"]


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What the house's answer means for a start: nothing missing, or by how much it is too much and what then."""

    excess_w: float = 0.0
    then: After = "run"
    reason: Reason | None = None


def room_for(maximum_w: float, sequence: PowerSequence | None, house: HousePower) -> Room:
    """The device's own estimate against what the house has left; an energy limit counts the whole operation."""
    if house.exempt:
        return Room()
    if house.limited_by == "energy":
        needs_wh = sum(s.power_w * s.duration_s for s in sequence.slots) / 3600 if sequence else maximum_w
        left_wh = house.left_wh or 0.0
        excess, inputs = needs_wh - left_wh, {"needs_wh": needs_wh, "left_wh": left_wh}
        text = f"it needs {needs_wh:.0f} Wh and {left_wh:.0f} Wh are left of the energy that may be used"
        excess_w = max(house.total_w + maximum_w - house.subscribed_w, maximum_w if excess > 0 else 0.0)
    else:
        excess = excess_w = house.total_w + maximum_w - house.subscribed_w
        inputs = {"total_w": house.total_w, "maximum_w": maximum_w, "subscribed_w": house.subscribed_w}
        limit = "the own production" if house.limited_by == "own_production" else "the subscribed power"
        text = (
            f"the house takes {house.total_w:.0f} W and this would add {maximum_w:.0f} W: "
            f"{excess:.0f} W above {limit} of {house.subscribed_w:.0f} W"
        )
    if excess <= 0:
        return Room()
    remedy = {"run": "it runs all the same", "wait": "it waits for room", "cancel": "it does not run"}
    reason = Reason(
        code=f"above_{house.limited_by}",
        text=f"{text}; {remedy[house.after_warning]}, unless it is overruled or postponed",
        binding=house.limited_by,
        inputs=inputs,
    )
    return Room(excess_w=excess_w, then=house.after_warning, reason=reason)


@skill(opens=(start_check,), use_cases=("limits.start-warning", "limits.own-production"))
@dataclass
class AskToStart:
    """The first word is ours, the figures are the CEM's, the estimate and the warning are the device's."""

    bus: Bus
    join: JoinHome
    warning: Reason | None = None
    """What the device shows on itself; None: nothing."""

    async def room(self, job: str, maximum_w: float, sequence: PowerSequence | None) -> Room:
        """Whether it fits. A house that does not answer does not hold up its devices."""
        self.warning = None
        if self.join.cem is None:
            return Room()
        try:
            async with self.bus.talk(start_check, self.join.cem) as talk:
                await talk.say(AnnounceStart(job=job, maximum_w=maximum_w, sequence=sequence))
                match await talk.hear(HousePower, Lapsed):
                    case HousePower() as house:
                        room = room_for(maximum_w, sequence, house)
                        if room.reason is None:
                            await talk.say(StartClear())
                        else:
                            self.warning = room.reason
                            await talk.say(StartWarning(excess_w=room.excess_w, then=room.then, reason=room.reason))
                        return room
                    case Lapsed():
                        return Room()
        except NotStored:
            return Room()
