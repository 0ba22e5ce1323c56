"""What the user's hand holds of one device, and what that means for its power. Pure."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from agents.cem.allocate import ON_W
from agents.cem.premises import Device
from agents.cem.settings import CemSettings
from agents.cem.shape import Order
from agents.cem.wishes import Wish
from contracts.hand import HandAction, TakeControl
from contracts.reasons import Reason

JOBS = ("whitegoods",)
"""Classes that do jobs of their own: their start is the device's to make."""
PLAIN = ("heatpump", "waterheater", "hvac")
"""Heaters: they run plainly in business as usual. IC-FR-PUC6-SC2."""
GENERATORS = ("pv", "fuelcell")
TOLERANCE_W = 100.0


class Hand(msgspec.Struct, frozen=True, kw_only=True):
    """One device as the user wants it, over restarts. ``at`` and ``until`` are run seconds.

    ``under`` is what the hand held before a pause.
    """

    user: str
    action: HandAction
    power_w: float | None = None
    target_c: float | None = None
    """What its own thermostat is to keep; when it runs is then its own to say."""
    since: float
    at: float | None = None
    until: float | None = None
    talk: str
    under: "Hand | None" = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the device's next readings have to show."""

    kind: Literal["on", "off", "power", "free"]
    power_w: float = 0.0

    def reached(self, power_w: float) -> bool:
        match self.kind:
            case "off":
                return abs(power_w) <= ON_W
            case "on":
                return abs(power_w) > ON_W
            case "power":
                return abs(power_w - self.power_w) <= max(TOLERANCE_W, 0.05 * abs(self.power_w))
            case _:
                return True


def power_of(word: TakeControl, device: Device) -> float | Reason | None:
    """The power that a word asks for, + consumed; None where it names none. A reason when that is impossible."""
    a = device.announce
    asked: float | None = word.power_w
    if word.action == "dim":
        if word.dim_percent is None or not 0 <= word.dim_percent <= 100:
            return Reason(code="bad_percent", text="Say how bright, 0 to 100 %.")
        if "setpoint" not in a.functions:
            return Reason(code="cannot_dim", text=f"{device.name} cannot be dimmed: switch it on or off.")
        asked = a.nominal_upper_w * word.dim_percent / 100
    elif word.action == "power" and asked is None:
        return Reason(code="no_power", text="Say how much, in W.")
    elif asked is None:
        return None
    if not a.nominal_lower_w <= asked <= a.nominal_upper_w:
        text = f"{device.name} does {a.nominal_lower_w:.0f} to {a.nominal_upper_w:.0f} W, not {asked:.0f} W."
        return Reason(code="out_of_range", text=text, inputs={"asked_w": asked})
    return asked


def hand_of(
    word: TakeControl, device: Device, before: Hand | None, talk: str, now: float, settings: CemSettings
) -> Hand | None:
    """What the hand holds once a word is taken; None: it holds nothing any more."""
    if word.action == "release" or (word.action == "resume" and (before is None or before.action != "pause")):
        return None
    if word.action == "resume":
        return before.under if before is not None else None
    power = power_of(word, device)
    until = word.until.timestamp() if word.until is not None else None
    if word.action == "business_as_usual":
        until = min(until or float("inf"), now + settings.business_as_usual_s)
    elif word.action == "hot_water":
        until = min(until or float("inf"), now + settings.hot_water_s)
    return Hand(
        user=word.user,
        action=word.action,
        power_w=power if isinstance(power, float) else None,
        target_c=word.target_c,
        since=now,
        at=word.at.timestamp() if word.at is not None else None,
        until=until,
        talk=talk,
        under=before if word.action == "pause" and before is not None and before.action != "pause" else None,
    )


def wish_of(hand: Hand, device: Device, now: float) -> Wish | None:
    """How the fast loop is told; None while the hand wants nothing, or only later."""
    a = device.announce
    if hand.at is not None and now < hand.at:
        return None
    code = "business_as_usual" if hand.action == "business_as_usual" else "hand"
    reason = Reason(code=code, text=f"{hand.user} wants it so: {in_words(hand)}.", binding="hand", talk=hand.talk)

    def wish(
        *,
        lower_w: float | None = None,
        upper_w: float | None = None,
        setpoint_w: float | None = None,
        off: bool = False,
    ) -> Wish:
        return Wish(
            source="hand",
            reason=reason,
            lower_w=lower_w,
            upper_w=upper_w,
            setpoint_w=setpoint_w,
            off=off,
            until=hand.until,
        )

    match hand.action:
        case "off" | "pause" | "abort":
            return wish(off=True)
        case "release" | "overrule":
            return None
        case "business_as_usual":
            return wish()
        case "hot_water":
            # Both, so that it heats whether it modulates or has nothing but contacts.
            return wish(lower_w=a.nominal_upper_w, setpoint_w=a.nominal_upper_w)
    if a.device_class in GENERATORS:
        return wish(lower_w=hand.power_w, setpoint_w=hand.power_w)
    if _by_thermostat(hand, device):
        return wish()
    power = hand.power_w
    if power is None and hand.action in ("on", "start_now", "start_at") and a.nominal_upper_w > 0:
        if a.device_class in JOBS:
            return wish()
        power = a.nominal_upper_w
    if power is None:
        return wish()
    if "setpoint" not in a.functions:
        # All or nothing: it is on when it may take as much as it likes, and it is told so where it would stay off.
        return wish(lower_w=power) if power > 0 else wish(off=True)
    return wish(setpoint_w=power)


def _by_thermostat(hand: Hand, device: Device) -> bool:
    """An air conditioner that is told to run at all costs would run beyond the temperature that was asked for."""
    return hand.action == "on" and hand.target_c is not None and "setpoint" not in device.announce.functions


def goal_of(hand: Hand | None, device: Device) -> Goal:
    """What the device's state has to come back as."""
    if hand is None:
        return Goal("free")
    if _by_thermostat(hand, device):
        return Goal("free")
    match hand.action:
        case "off" | "pause" | "abort":
            return Goal("off")
        case "power" | "dim" if hand.power_w is not None and abs(hand.power_w) > ON_W:
            return Goal("power", hand.power_w)
        case "power" | "dim" if hand.power_w is not None:
            return Goal("off")
        case "on" | "start_now" | "hot_water":
            # A battery or a heater that has enough does not take more because it is told to.
            return Goal("on") if device.announce.device_class not in GENERATORS else Goal("free")
        case _:
            return Goal("free")


def rest_s(device: Device, goal: Goal, settings: CemSettings, now: float) -> float:
    """How long what we have switched off ourselves stays so. Its own minimum times the device keeps by itself: it
    refuses, and says how long. IEC-RG-RELIABILITY."""
    told = device.told
    if goal.kind not in ("on", "power") or device.on or told is None or told.off_since is None:
        return 0.0
    return max(0.0, settings.restart_after_s - (now - told.off_since))


def bound_by(told: Order | None, goal: Goal) -> Reason | None:
    """The limit that keeps the hand from having it all, as the fast loop has found it."""
    if told is None or goal.kind in ("off", "free"):
        return None
    if told.reason.code in ("hand", "business_as_usual", "free"):
        return None
    if told.standby:
        return told.reason
    wanted = goal.power_w if goal.kind == "power" else ON_W
    upper = told.upper_w if told.upper_w is not None else wanted
    lower = told.lower_w if told.lower_w is not None else wanted
    return told.reason if upper < wanted - TOLERANCE_W or lower > wanted + TOLERANCE_W or upper <= 0 else None


def in_words(hand: Hand) -> str:
    """``on``, ``2000 W``, ``paused``."""
    match hand.action:
        case "power" | "dim":
            return f"{hand.power_w or 0.0:.0f} W"
        case "pause":
            return "paused"
        case "abort":
            return "aborted"
        case "start_now" | "start_at" | "resume":
            return "running"
        case "hot_water":
            return "extra hot water"
        case "business_as_usual":
            return "business as usual"
        case "overrule":
            return "its next start in spite of a warning"
        case "release":
            return "released"
        case action:
            return action
