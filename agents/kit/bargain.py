"""Whether a device takes an instruction, and if not, what it could do instead. Pure.

What is answered is always possible for the offer that it was made from: a job starts inside its window, a power lies in
its range, minimum times are kept, nothing is filled beyond its bounds.
"""

from datetime import datetime
from itertools import pairwise

import msgspec

from bus.envelope import instant
from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    ProfileFlexibility,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.instructions import Instruct
from contracts.profiles import PlannedPower, PowerSequence
from contracts.reasons import Reason

MOST_SLOTS = 288
"""S2 PPBC: elements of a power profile at most."""
UNTIL_TOLD_S = 86_400.0
"""A mode without an end holds until something else is said, at most so long."""
SLACK_S = 1.0
CLOSE_W = 1.0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is agreed, as the device understands it: the confirmed profile is ``power``."""

    job: str
    offer: int
    start: datetime | None = None
    power: tuple[PlannedPower, ...] = ()
    mode: str | None = None
    sequence: str | None = None
    received: float = 0.0
    by_power: bool = True
    """No programme behind it: the confirmed power is all there is to it."""
    latest: float | None = None
    """Run clock after which it may not begin any more."""

    @property
    def begins(self) -> float:
        """Run clock."""
        first = self.start or (self.power[0].start if self.power else None)
        return self.received if first is None else first.timestamp()

    @property
    def ends(self) -> float | None:
        """Run clock; None: until something else is said."""
        return end_of(self.power[-1]) if self.power else None


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """Not so, but so."""

    terms: Terms
    reason: Reason


Verdict = Terms | Counter | Reason


def end_of(slot: PlannedPower) -> float:
    return slot.start.timestamp() + slot.duration_s


def duration_s(sequence: PowerSequence) -> float:
    return sum(slot.duration_s for slot in sequence.slots)


def latest_start(offer: ProfileFlexibility, sequence: PowerSequence) -> float:
    """The run clock at which it has to begin so that everything that binds is kept."""
    latest = offer.done_by.timestamp() - duration_s(sequence)
    return latest if offer.latest_start is None else min(latest, offer.latest_start.timestamp())


def profile_from(sequence: PowerSequence, start: float) -> tuple[PlannedPower, ...]:
    """The sequence's slots at their instants; ``upper_w`` is what it takes at most in each."""
    made, at = [], start
    for slot in sequence.slots:
        upper = slot.power_w if slot.peak_w is None else slot.peak_w
        made.append(PlannedPower(start=instant(at), duration_s=slot.duration_s, power_w=slot.power_w, upper_w=upper))
        at += slot.duration_s
    return tuple(made)


def slot_at(power: tuple[PlannedPower, ...], at: float) -> PlannedPower | None:
    return next((slot for slot in power if slot.start.timestamp() <= at < end_of(slot)), None)


def judge(offer: Flexibility | None, word: Instruct, now: float) -> Verdict:
    """Terms: taken. Counter: what is possible. Reason: not at all."""
    if offer is None:
        return _no("nothing_offered", "there is nothing to choose at this device now: wait for its next offer")
    fault = _malformed(word, now)
    if fault is not None:
        return fault
    match offer:
        case ProfileFlexibility():
            return _job(offer, word, now)
        case ModesFlexibility() | DemandFlexibility():
            return _mode(offer, word, now)
        case EnvelopeFlexibility() | StorageFlexibility() | ThermalFlexibility():
            return _power(offer, word, now)


def _no(code: str, text: str, **inputs: float) -> Reason:
    return Reason(code=code, text=text, binding="flexibility", inputs=inputs)


def _malformed(word: Instruct, now: float) -> Reason | None:
    power = word.power
    if len(power) > MOST_SLOTS:
        return _no("too_many_slots", f"{len(power)} slots: {MOST_SLOTS} are the most", slots=len(power))
    if any(slot.duration_s <= 0 for slot in power):
        return _no("no_duration", "every slot has to last: give each a duration above 0")
    if any(b.start.timestamp() < end_of(a) - SLACK_S for a, b in pairwise(power)):
        return _no("overlap", "slots have to follow one another without overlap")
    if power and end_of(power[-1]) <= now:
        return _no("over", "all of it lies in the past: plan anew")
    if word.start is not None and word.start_in_s is not None:
        return _no("two_starts", "a start is absolute or relative, not both")
    return None


def _begins(word: Instruct, now: float) -> float | None:
    if word.start is not None:
        return word.start.timestamp()
    if word.start_in_s is not None:
        return now + word.start_in_s
    return word.power[0].start.timestamp() if word.power else None


# -------------------------------------------------------------------- a job with a profile


def _job(offer: ProfileFlexibility, word: Instruct, now: float) -> Verdict:
    names = [sequence.name for sequence in offer.alternatives]
    sequence = next((s for s in offer.alternatives if word.sequence in (None, s.name)), None)
    if sequence is None:
        return _no("no_such_sequence", f"there is no {word.sequence}: choose one of {', '.join(names)}")
    if offer.state in ("finished", "aborted"):
        return _no("over", f"{offer.job} is {offer.state}: nothing can be moved any more")
    wanted = _begins(word, now)
    if wanted is None:
        return _no("no_start", "say when it should start")
    if offer.state in ("executing", "interrupted"):
        return _no("already_started", f"{offer.job} has begun and is not moved any more")
    latest, earliest = latest_start(offer, sequence), max(offer.earliest_start.timestamp(), now)
    if latest < now - SLACK_S:
        return _no("window_over", f"{offer.job} has to be done by {offer.done_by:%H:%M} UTC: it can only start at once")
    start, reason = wanted, None
    if wanted > latest + SLACK_S:
        text = f"{offer.job} would not be done in time: it has to start by {instant(latest):%H:%M} UTC"
        start, reason = latest, _no("too_late", text, late_s=wanted - latest)
    elif wanted < offer.earliest_start.timestamp() - SLACK_S:
        text = f"{offer.job} cannot start before {offer.earliest_start:%H:%M} UTC"
        start, reason = earliest, _no("too_early", text, early_s=earliest - wanted)
    start = min(max(start, now), max(latest, now))
    profile = profile_from(sequence, start)
    lacks_w = _lacks(word.power, profile)
    if reason is None and lacks_w > CLOSE_W:
        text = f"{offer.job} needs {lacks_w:.0f} W more than that in one of its slots: it cannot run on less"
        reason = _no("needs_more", text, lacks_w=lacks_w)
    terms = Terms(
        job=offer.job,
        offer=word.offer,
        start=instant(start),
        power=profile,
        sequence=sequence.name,
        received=now,
        by_power=False,
        latest=latest,
    )
    return terms if reason is None else Counter(terms=terms, reason=reason)


def _lacks(given: tuple[PlannedPower, ...], needed: tuple[PlannedPower, ...]) -> float:
    """By how much the given profile falls short in any slot."""
    worst = 0.0
    if given:
        for slot in needed:
            for at in (slot.start.timestamp(), end_of(slot) - SLACK_S):
                there = slot_at(given, at)
                room = 0.0 if there is None else (there.power_w if there.upper_w is None else there.upper_w)
                worst = max(worst, slot.power_w - room)
    return worst


# -------------------------------------------------------------------- modes


def _mode(offer: ModesFlexibility | DemandFlexibility, word: Instruct, now: float) -> Verdict:
    names = ", ".join(mode.name for mode in offer.modes)
    mode = next((m for m in offer.modes if m.name == word.mode), None)
    if mode is None:
        return _no("no_such_mode", f"there is no mode {word.mode}: choose one of {names}")
    idle = mode.lower_w == mode.upper_w == 0.0
    if isinstance(offer, ModesFlexibility) and not offer.ready and not idle:
        return _no("not_ready", "it is not ready to run: see its display")
    code, power = "", []
    for slot in word.power:
        watts = min(max(slot.power_w, mode.lower_w), mode.upper_w)
        if abs(watts - slot.power_w) > CLOSE_W:
            code = "out_of_range"
        length = slot.duration_s
        if len(word.power) == 1 and 0 < length < mode.minimum_s:
            code, length = "minimum_time", mode.minimum_s
        power.append(msgspec.structs.replace(slot, power_w=watts, duration_s=length, lower_w=None, upper_w=None))
    start = _begins(word, now)
    if not power:
        whole = mode.lower_w if mode.lower_w < 0 else mode.upper_w
        begins = now if start is None else max(start, now)
        power.append(PlannedPower(start=instant(begins), duration_s=max(mode.minimum_s, UNTIL_TOLD_S), power_w=whole))
    terms = Terms(
        job=mode.name,
        offer=word.offer,
        start=None if start is None else instant(max(start, now)),
        power=tuple(power),
        mode=mode.name,
        received=now,
    )
    return _weighed(terms, code)


# -------------------------------------------------------------------- power by slot

_WHY = {
    "out_of_range": "it cannot take or give that much, or so little: this is what it can do",
    "minimum_time": "it has to stay as it is for its minimum time: this is the least it can do",
    "not_to_grid": "its owner does not let it be emptied by others: it can only be filled",
    "too_full": "there is no room for so much energy: this is what it can take",
    "too_empty": "there is not so much energy in it: this is what it can give",
}


def _weighed(terms: Terms, code: str) -> Verdict:
    return terms if not code else Counter(terms=terms, reason=_no(code, _WHY[code]))


def _power(offer: EnvelopeFlexibility | StorageFlexibility | ThermalFlexibility, word: Instruct, now: float) -> Verdict:
    power, code = word.power, ""
    if not power:
        begins = _begins(word, now)
        if begins is None or not isinstance(offer, StorageFlexibility):
            return _no("no_power", "say a power by slot: it has no programme of its own to start")
        power = (_filling(offer, max(begins, now)),)
    match offer:
        case EnvelopeFlexibility():
            power, code = _bounded(offer, power)
        case StorageFlexibility():
            power, code = _stored(offer, power)
        case ThermalFlexibility():
            power, code = _heated(offer, power, now)
    start = None if word.start is None and word.start_in_s is None else power[0].start
    terms = Terms(job="power", offer=word.offer, start=start, power=power, received=now)
    return _weighed(terms, code)


def _filling(offer: StorageFlexibility, begins: float) -> PlannedPower:
    """At full power until it is as full as is wished."""
    wish = max((target.lower_percent for target in offer.targets), default=offer.highest_percent)
    missing_wh = max(wish - offer.level_percent, 0.0) / 100 * offer.capacity_wh
    hours = missing_wh / offer.fill_upper_w if offer.fill_upper_w > 0 else 0.0
    return PlannedPower(start=instant(begins), duration_s=max(hours * 3600, 60.0), power_w=offer.fill_upper_w)


def _bounded(offer: EnvelopeFlexibility, power: tuple[PlannedPower, ...]) -> tuple[tuple[PlannedPower, ...], str]:
    made, code = [], ""
    for slot in power:
        # A bound that no range allows is moved to where the range begins.
        lower = min(max(slot.power_w, offer.lower_from_w), offer.lower_to_w) if slot.power_w < 0 else slot.power_w
        upper = min(max(slot.power_w, offer.upper_from_w), offer.upper_to_w) if slot.power_w > 0 else slot.power_w
        watts = lower if slot.power_w < 0 else upper
        if abs(watts - slot.power_w) > CLOSE_W:
            code = "out_of_range"
        made.append(msgspec.structs.replace(slot, power_w=watts))
    return tuple(made), code


def _stored(offer: StorageFlexibility, power: tuple[PlannedPower, ...]) -> tuple[tuple[PlannedPower, ...], str]:
    made, code, level = [], "", offer.level_percent / 100 * offer.capacity_wh
    highest, lowest = (p / 100 * offer.capacity_wh for p in (offer.highest_percent, offer.lowest_percent))
    for slot in power:
        watts, hours = min(max(slot.power_w, offer.empty_lower_w), offer.fill_upper_w), slot.duration_s / 3600
        if 0 < watts < offer.fill_least_w:
            watts = 0.0
        if abs(watts - slot.power_w) > CLOSE_W:
            code = "out_of_range"
        room = max(highest - level, 0.0) / hours
        kept = -max(level - lowest, 0.0) / hours
        # A last slot may be longer than the energy lasts: it stops by itself when it is full.
        if watts > room * 1.05 + CLOSE_W and slot is not power[-1]:
            watts, code = (0.0 if room < offer.fill_least_w else room), "too_full"
        elif watts < kept * 1.05 - CLOSE_W and slot is not power[-1]:
            watts, code = kept, "too_empty"
        level += watts * hours
        made.append(msgspec.structs.replace(slot, power_w=watts, lower_w=None, upper_w=None))
    return tuple(made), code


def _heated(
    offer: ThermalFlexibility, power: tuple[PlannedPower, ...], now: float
) -> tuple[tuple[PlannedPower, ...], str]:
    made: list[PlannedPower] = []
    code, on, since = "", offer.on, now
    for slot in power:
        watts = _step(offer, slot.power_w)
        if abs(watts - slot.power_w) > CLOSE_W:
            code = "out_of_range"
        at = slot.start.timestamp()
        if (watts > 0) != on:
            least_s = offer.minimum_on_s if on else offer.minimum_off_s
            if made and at - since < least_s - SLACK_S:
                # It has to stay as it is for the rest of its minimum time.
                watts, code = made[-1].power_w, "minimum_time"
            else:
                on, since = watts > 0, at
        made.append(msgspec.structs.replace(slot, power_w=watts, lower_w=None, upper_w=None))
    return tuple(made), code


def _step(offer: ThermalFlexibility, watts: float) -> float:
    if offer.steps_w:
        return max((step for step in (0.0, *offer.steps_w) if step <= watts + CLOSE_W), default=0.0)
    watts = min(max(watts, 0.0), offer.upper_w)
    return 0.0 if watts < offer.least_w else watts


def bounds_of(slot: PlannedPower) -> tuple[float | None, float | None, float]:
    """(lower, upper, value) that hold for one confirmed slot: it takes no more than that, or gives no more."""
    lower = slot.lower_w if slot.lower_w is not None or slot.power_w >= 0 else slot.power_w
    upper = slot.upper_w if slot.upper_w is not None or slot.power_w < 0 else slot.power_w
    return lower, upper, slot.power_w


__all__ = ["Counter", "Terms", "Verdict", "bounds_of", "duration_s", "end_of", "judge", "latest_start", "profile_from"]
