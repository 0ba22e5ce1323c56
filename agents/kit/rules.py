"""Time and event rules, read as what holds now. Pure. IC-GR-HLUC1-AUTO; IC-FR-HLUC1-STORIES.

A rule without an end holds until another rule of the same owner and device acts: on at 06:00, off at 07:00.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec

from agents.kit.local_day import date_at, instant_of
from agents.kit.sun import sun
from contracts.hand import HandAction
from contracts.home_rules import Rule, Trigger
from contracts.reasons import Reason

RULES_AT_MOST = 64
ACTIONS: tuple[HandAction, ...] = ("on", "off", "power", "release")
LOOKS_BACK_D = 2
"""A rule of yesterday evening still holds this morning."""


@dataclass(frozen=True, slots=True)
class Sensed:
    """What a trigger can look at: one device's last reading, or the connection point's."""

    temperature_c: float | None = None
    level_percent: float | None = None
    power_w: float | None = None


class Acting(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that has acted: ``since`` in run seconds; ``until`` None: until another one."""

    rule: Rule
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where and by which clock the household lives."""

    zone: str
    latitude_deg: float
    longitude_deg: float


def objection(rules: Iterable[Rule], known: tuple[str, ...]) -> Reason | None:
    """Why these rules cannot be kept, None if they can. ``known``: devices of the home."""
    rules = tuple(rules)
    if len(rules) > RULES_AT_MOST:
        return Reason(code="too_many", text=f"At most {RULES_AT_MOST} rules are kept: leave some out.")
    if len({rule.name for rule in rules}) < len(rules):
        return Reason(code="same_name", text="Two rules have one name: give each its own.")
    for rule in rules:
        wrong = _wrong(rule, known)
        if wrong:
            return Reason(code="bad_rule", text=f"{rule.name}: {wrong}", binding=rule.name)
    return None


def _wrong(rule: Rule, known: tuple[str, ...]) -> str:
    trigger = rule.trigger
    if rule.device not in known:
        return f"there is no {rule.device} here: name one of {', '.join(known) or 'no device yet'}."
    if rule.action not in ACTIONS:
        return f"a rule does one of {', '.join(ACTIONS)}, not {rule.action}."
    if rule.action == "power" and rule.power_w is None:
        return "say how much, in W."
    if trigger.sensed is not None and trigger.sensed not in known:
        return f"there is no {trigger.sensed} here to look at."
    timed = (trigger.at is not None) + (trigger.sun is not None)
    if timed + bool(_bounds(trigger)) != 1:
        return "say exactly one trigger: a time, the sun, or a value that passes a bound."
    return ""


def _bounds(trigger: Trigger) -> list[tuple[str, float, bool]]:
    """(what, bound, above) of each bound that is set."""
    named = {
        "temperature_c": (trigger.temperature_below_c, trigger.temperature_above_c),
        "level_percent": (trigger.level_below_percent, trigger.level_above_percent),
        "power_w": (trigger.power_below_w, trigger.power_above_w),
        "price": (trigger.price_below_eur_per_kwh, trigger.price_above_eur_per_kwh),
    }
    return [
        (what, bound, above)
        for what, pair in named.items()
        for bound, above in zip(pair, (False, True), strict=True)
        if bound is not None
    ]


def due(rule: Rule, since: float, now: float, place: Place) -> float | None:
    """The last instant in (since, now] at which the clock or the sun has triggered; None for none, or an event rule."""
    trigger = rule.trigger
    today = date_at(now, place.zone)
    instants = [_instant(trigger, today - timedelta(days=back), place) for back in range(LOOKS_BACK_D)]
    return max((at for at in instants if at is not None and since < at <= now), default=None)


def _instant(trigger: Trigger, day: date, place: Place) -> float | None:
    if trigger.at is not None:
        return instant_of(day, trigger.at, place.zone) + trigger.offset_s
    if trigger.sun is not None:
        at = sun(trigger.sun, day, place.latitude_deg, place.longitude_deg)
        return None if at is None else at.timestamp() + trigger.offset_s
    return None


def holds(trigger: Trigger, sensed: Sensed, price: float | None) -> bool | None:
    """Whether a value is past its bound now; None when nothing is known of it, or it is no event rule."""
    bounds = _bounds(trigger)
    if not bounds:
        return None
    values: Mapping[str, float | None] = {
        "temperature_c": sensed.temperature_c,
        "level_percent": sensed.level_percent,
        "power_w": sensed.power_w,
        "price": price,
    }
    met = []
    for what, bound, above in bounds:
        value = values[what]
        if value is None:
            return None
        met.append(value > bound if above else value < bound)
    return all(met)


def in_words(rule: Rule) -> str:
    """What triggers it, for the user."""
    trigger = rule.trigger
    if trigger.at is not None:
        return f"it is {trigger.at:%H:%M}"
    if trigger.sun is not None:
        minutes = trigger.offset_s / 60
        side = "" if minutes == 0 else f"{abs(minutes):.0f} min {'after' if minutes > 0 else 'before'} "
        return f"it is {side}{trigger.sun}"
    parts = [f"{what.rsplit('_', 1)[0]} {'above' if up else 'below'} {bound:g}" for what, bound, up in _bounds(trigger)]
    of = f" of {trigger.sensed}" if trigger.sensed is not None else ""
    return f"{' and '.join(parts)}{of}"
