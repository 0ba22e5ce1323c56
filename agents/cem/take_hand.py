"""The user's hand: it goes before plans and orders, and after safety, fuse, failsafe, grid limit and emergency.

IC-FR-PUC-6; IC-FR-PUC6-SC2; IC-GR-HLUC1-MAN; IEC-RG-CONSUMER-CONTROL. Every word is answered with what the device then
does; the newest holds. Choices where the sources are silent: decision 0033.
"""

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import anyio
import msgspec
from msgspec.structs import replace

from agents.cem.hand import PLAIN, Goal, Hand, bound_by, goal_of, in_words, power_of, rest_s, wish_of
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.report_change import ReportChanges
from agents.cem.settings import CemSettings
from agents.cem.steer_devices import SteerDevices
from agents.cem.wishes import Wishes
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import answers, every, hears, restores, settles, skill
from bus.bus import Bus, Heard
from bus.clock import WIRE_WALL_S, Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceReading
from contracts.emergency import DisplayNotice
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed, Message
from contracts.reasons import Reason
from contracts.roles import DEVICES

log = logging.getLogger("gridparley.cem")
FOR_ALL = ("business_as_usual", "release", "off")
"""What may be said without naming a device."""
AT_DEVICE = ("start_now", "pause", "resume", "abort")
"""What a machine with a programme of its own does by itself."""


ASKED_S = 120.0


class Hands(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept. ``overrules``: devices whose next start may happen in spite of a warning."""

    devices: dict[str, Hand] = msgspec.field(default_factory=dict)
    overrules: tuple[str, ...] = ()


@skill(
    opens=(take_control,),
    says_home=(DisplayNotice,),
    use_cases=("customer.override", "customer.manual-switch", "home.hot-water"),
)
@dataclass
class TakeHand:
    """Stored before it acts, so that it holds over restarts."""

    bus: Bus
    clock: Clock
    state: State
    deals: Deals
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    preferences: Preferences
    steer: SteerDevices
    changes: ReportChanges
    hands: Hands = field(default_factory=Hands)
    _turn: Counter[str] = field(default_factory=Counter)
    _ran: set[str] = field(default_factory=set)
    _news: anyio.Event = field(default_factory=anyio.Event)
    _keeping: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self.changes.give_back.append(self._give_back)

    @restores
    async def restore(self) -> None:
        self.hands = await self.state.get("hands", Hands) or Hands()
        for device in self.hands.devices:
            self._wish(device)

    # ---------------------------------------------------------------- asked by others

    def of(self, device: str) -> Hand | None:
        """What the hand holds of a device, also while it waits for its time."""
        return self.hands.devices.get(device)

    def overruled(self, device: str) -> bool:
        """Its next start may happen in spite of a warning. IEC-JWG4."""
        return device in self.hands.overrules

    async def use_overrule(self, device: str) -> None:
        """It has started: the next warning counts again. Raises NotStored."""
        await self._keep_overrule(device, False)

    # ---------------------------------------------------------------- said by people

    @answers(take_control)
    async def on_word(self, talk: Talk, word: TakeControl) -> None:
        names = self._named(word)
        if isinstance(names, Reason):
            await talk.say(ControlRefused(reason=names))
            return
        refusal = self._forbidden(talk, word, names)
        if refusal is not None:
            await talk.say(ControlRefused(reason=refusal))
            return
        if len(names) == 1:
            await self._one(talk, word, names[0])
        else:
            await self._several(talk, word, names)

    def _named(self, word: TakeControl) -> list[Device] | Reason:
        """The devices that a word means."""
        known = list(self.premises.devices.values())
        if word.device is not None:
            device = self.premises.by_name(word.device)
            if device is None:
                text = f"There is no {word.device} here: the devices are {', '.join(sorted(d.name for d in known))}."
                return Reason(code="unknown_device", text=text)
            return [device]
        match word.action:
            case "business_as_usual":
                found = [d for d in known if d.announce.device_class in PLAIN]
            case "hot_water":
                heats = [d for d in known if d.announce.device_class in ("heatpump", "waterheater")]
                found = sorted(heats, key=lambda d: d.announce.device_class != "heatpump")[:1]
            case "release":
                found = [d for d in known if d.name in self.hands.devices]
            case "off":
                found = [d for d in known if d.announce.nominal_upper_w > 0 and d.announce.nominal_lower_w >= 0]
            case _:
                return Reason(code="no_device", text="Name a device: this cannot be done with all of them.")
        return found or Reason(code="nothing_to_do", text=f"No device here is meant by {word.action}.")

    def _forbidden(self, talk: Talk, word: TakeControl, devices: list[Device]) -> Reason | None:
        assert talk.peer is not None  # the bus knows who opened it
        for device in devices:
            if not self.preferences.allowed(talk.peer, word.user, f"hand:{device.name}"):
                text = f"{word.user} may not switch {device.name} by {talk.peer}: the household has to allow it."
                return Reason(code="not_allowed", text=text, binding="access_control")
            if word.action in ("release", "off", "pause", "abort"):
                continue
            standby = self.premises.standby
            if device.name in standby or (standby and word.action == "hot_water"):
                why = next(iter(standby.values()))
                text = f"{why.text} An emergency goes before the hand: try again when it is over."
                return Reason(code="emergency", text=text, binding="emergency", talk=why.talk)
        if len(devices) > 1:
            return None
        return self._impossible(devices[0], word)

    def _impossible(self, device: Device, word: TakeControl) -> Reason | None:
        name, now = device.name, self.clock.now()
        if not self.preferences.controlled(name, device.announce.device_class):
            text = f"{name} is not controlled: consent to its control first, or switch it where it stands."
            return Reason(code="no_consent", text=text, binding="consent")
        if not device.steered:
            return Reason(code="cannot_steer", text=f"{name} is only measured: switch it where it stands.")
        if now - max(device.read_at, device.known_since) > self.settings.missing_after_s:
            text = f"{name} has not said anything for a while: check its power and its link."
            return Reason(code="missing", text=text)
        if word.action == "resume" and not self._paused(name) and device.announce.device_class != "whitegoods":
            return Reason(code="not_paused", text=f"{name} is not paused: there is nothing to resume.")
        order = next((w for w in self.wishes.all_of(name) if w.source == "order"), None)
        if self.settings.order_beats_hand and order is not None and word.action != "release":
            text = "A contract for flexibility is active and goes before the hand: cancel it to take control."
            return Reason(code="flexibility", text=text, binding="contract", talk=order.reason.talk)
        if word.at is not None and word.at.timestamp() < now:
            return Reason(code="past", text="That instant is over: say a later one, or start it now.")
        if word.action == "start_at" and word.at is None:
            return Reason(code="no_instant", text="Say when it shall start.")
        power = power_of(word, device)
        return power if isinstance(power, Reason) else None

    def _paused(self, device: str) -> bool:
        hand = self.of(device)
        return hand is not None and hand.action == "pause"

    # ---------------------------------------------------------------- one device

    async def _one(self, talk: Talk, word: TakeControl, device: Device) -> None:
        name = device.name
        self._turn[name] += 1
        turn, before = self._turn[name], self.of(name)
        outcome: ControlTaken | Reason | None
        if word.action == "overrule":
            outcome = await self._overrule(name)
        else:
            hand = self._hand(talk, word, device, before)
            outcome = await self._hold(name, hand)
            if outcome is None:
                outcome = await self._until_done(device, hand, word, turn)
        if isinstance(outcome, ControlTaken):
            outcome = await self._conclude(talk, outcome)
        if isinstance(outcome, Reason):
            if self._turn[name] == turn and self.of(name) != before:
                await self._hold(name, before)
            await talk.say(ControlRefused(reason=outcome))

    async def _conclude(self, talk: Talk, taken: ControlTaken) -> Reason | None:
        until = self.clock.now() + 60.0
        try:
            deal = await self.deals.close(talk, taken, until=until)
        except (NotStored, TooManyDeals) as problem:
            return Reason(code="not_stored", text=f"{problem}: say it again.")
        if deal.phase == "on":
            with suppress(NotStored):  # it runs out by itself
                await self.deals.end(deal)
        return None

    def _hand(self, talk: Talk, word: TakeControl, device: Device, before: Hand | None) -> Hand | None:
        now = self.clock.now()
        if word.action == "release" or (word.action == "resume" and (before is None or before.action != "pause")):
            return None
        if word.action == "resume":
            return before.under if before is not None else None
        power = power_of(word, device)
        until = word.until.timestamp() if word.until is not None else None
        if word.action == "business_as_usual":
            until = min(until or float("inf"), now + self.settings.business_as_usual_s)
        elif word.action == "hot_water":
            until = min(until or float("inf"), now + self.settings.hot_water_s)
        return Hand(
            user=word.user,
            action=word.action,
            power_w=power if isinstance(power, float) else None,
            since=now,
            at=word.at.timestamp() if word.at is not None else None,
            until=until,
            talk=talk.id,
            under=before if word.action == "pause" and before is not None and before.action != "pause" else None,
        )

    async def _hold(self, device: str, hand: Hand | None) -> Reason | None:
        """Store what holds from now on, and act. Why it could not, else None."""
        async with self._keeping:
            devices = {name: one for name, one in self.hands.devices.items() if name != device}
            if hand is not None:
                devices[device] = hand
            hands = replace(self.hands, devices=devices)
            try:
                await self.state.put("hands", hands)
            except NotStored as problem:
                return Reason(code="not_stored", text=f"{problem}: nothing has changed, say it again.")
            self.hands = hands
        self._ran.discard(device)
        self.steer.refusals.pop(device, None)
        self._wish(device)
        return None

    def _wish(self, name: str) -> None:
        device, hand = self.premises.by_name(name), self.of(name)
        wish = wish_of(hand, device, self.clock.now()) if device is not None and hand is not None else None
        self.wishes.put(name, wish, "hand")

    async def _overrule(self, device: str) -> ControlTaken | Reason:
        try:
            await self._keep_overrule(device, True)
        except NotStored as problem:
            return Reason(code="not_stored", text=f"{problem}: say it again.")
        text = f"The next start of {device} happens in spite of a warning; the fuse and the grid's limits still hold."
        return ControlTaken(state="its next start is free", reason=Reason(code="overruled", text=text))

    async def _keep_overrule(self, device: str, on: bool) -> None:
        async with self._keeping:
            rest = tuple(name for name in self.hands.overrules if name != device)
            hands = replace(self.hands, overrules=(*rest, device) if on else rest)
            await self.state.put("hands", hands)
            self.hands = hands

    # ---------------------------------------------------------------- until the state has come back

    async def _until_done(
        self, device: Device, hand: Hand | None, word: TakeControl, turn: int
    ) -> ControlTaken | Reason:
        """What came of it, from the device itself."""
        if self._asks_device(device, word):
            refusal = await self._ask_device(device, word)
            if refusal is not None:
                return refusal
        goal, now = goal_of(hand, device), self.clock.now()
        until = instant(hand.until) if hand is not None and hand.until is not None else None
        if hand is not None and hand.at is not None and now < hand.at:
            text = f"{device.name} starts {self.preferences.local(hand.at):%H:%M}, as {hand.user} wants it."
            reason = Reason(code="hand", text=text, binding="hand")
            return ControlTaken(state="waits for its time", at=instant(hand.at), until=until, reason=reason)
        bound = bound_by(device.told, goal)
        rest = rest_s(device, goal, self.settings, now) if bound is None else 0.0
        if rest > 0:
            return self._resting(device, rest, goal, until)
        began = now
        deadline = now + max(self.settings.hand_waits_s, WIRE_WALL_S / 2 * self.clock.speed)
        while self.clock.now() < deadline:
            if self._turn[device.name] != turn:
                return Reason(code="superseded", text="Something newer was said about this device: that holds.")
            bound = bound_by(device.told, goal)
            if bound is not None:
                return self._bound(device, bound, until)
            refused = self.steer.refusals.get(device.name)
            if refused is not None:
                left = refused.inputs.get("remaining_s")
                return refused if left is None else self._resting(device, left, goal, until)
            if self.steer.busy(device.address):
                began = self.clock.now()  # what was measured before it was told says nothing
            elif device.read_at > began and device.reading is not None and goal.reached(device.reading.power_w):
                return self._done(device, hand, until)
            await self._until_news(deadline)
        text = f"{device.name} was told so, and does not show it yet: {_doing(device)}. What is told holds on."
        return ControlTaken(state=_doing(device), until=until, reason=Reason(code="not_yet", text=text))

    def _resting(self, device: Device, rest: float, goal: Goal, until: datetime | None) -> ControlTaken:
        at = instant(self.clock.now() + rest)
        what = "run" if goal.kind == "off" else "rest"
        text = f"{device.name} has to {what} another {rest:.0f} s, then it is done: its minimum times protect it."
        reason = Reason(code="minimum_times", text=text, binding="minimum_times", inputs={"remaining_s": rest})
        return ControlTaken(state=_doing(device), at=at, until=until, reason=reason)

    def _bound(self, device: Device, bound: Reason, until: datetime | None) -> ControlTaken | Reason:
        told = device.told
        upper = told.upper_w if told is not None else None
        if told is None or told.standby or (upper is not None and upper <= 0 and device.announce.nominal_upper_w > 0):
            text = f"{bound.text} That goes before the hand."
            return Reason(code=bound.code, text=text, binding=bound.binding or bound.code, inputs=bound.inputs)
        state = f"held to {upper:.0f} W" if upper is not None else _doing(device)
        text = f"As far as possible: {bound.text}"
        reason = Reason(code=bound.code, text=text, binding=bound.binding or bound.code, inputs=bound.inputs)
        return ControlTaken(state=state, until=until, reason=reason)

    def _done(self, device: Device, hand: Hand | None, until: datetime | None) -> ControlTaken:
        state = _doing(device)
        if hand is None:
            reason = Reason(code="released", text=f"{device.name} is given back: it runs by plan and limits.")
        else:
            text = f"{device.name} does as {hand.user} wants: {in_words(hand)}."
            reason = Reason(code="hand", text=text, binding="hand")
            if hand.action in ("business_as_usual", "hot_water"):
                state = f"{in_words(hand)}, {state}"
        return ControlTaken(state=state, until=until, reason=reason)

    async def _until_news(self, deadline: float) -> None:
        self._news = anyio.Event()
        news = self._news
        async with anyio.create_task_group() as group:

            async def pass_time() -> None:
                await self.clock.sleep_until(deadline)
                group.cancel_scope.cancel()

            group.start_soon(pass_time)
            await news.wait()
            group.cancel_scope.cancel()

    @hears(DeviceReading, of=DEVICES, where="home")
    def hear(self, reading: DeviceReading, heard: Heard) -> None:
        device = self.premises.devices.get(heard.sender)
        if device is None:
            return
        self._news.set()
        if abs(reading.power_w) > 50.0:
            self._ran.add(device.name)

    # ---------------------------------------------------------------- what the device does by itself

    def _asks_device(self, device: Device, word: TakeControl) -> bool:
        if word.action == "hot_water":
            return device.announce.device_class == "heatpump"
        if word.target_c is not None:
            return True
        return device.announce.device_class == "whitegoods" and word.action in AT_DEVICE

    async def _ask_device(self, device: Device, word: TakeControl) -> Reason | None:
        async with self.bus.talk(take_control, device.address) as talk:
            await self.deals.open(talk, word, until=self.clock.now() + ASKED_S)
            await talk.say(replace(word, device=device.name))
            match await talk.hear(ControlTaken, ControlRefused, Lapsed):
                case ControlTaken():
                    return None
                case ControlRefused(reason=reason):
                    await self.deals.end(talk)
                    return reason
                case Lapsed():
                    return Reason(code="no_answer", text=f"{device.name} did not answer: check its link.")

    @settles(take_control)
    async def done_by_device(self, word: Message, heard: Heard) -> None:
        """Also when it comes late: then its readings have shown it already."""
        await self.deals.honour(word, heard)

    # ---------------------------------------------------------------- all of them

    async def _several(self, talk: Talk, word: TakeControl, devices: list[Device]) -> None:
        done: list[str] = []
        for device in devices:
            self._turn[device.name] += 1
            if word.action != "release" and self._impossible(device, word) is not None:
                continue
            refusal = await self._hold(device.name, self._hand(talk, word, device, self.of(device.name)))
            if refusal is not None:
                await talk.say(ControlRefused(reason=refusal))
                return
            done.append(device.name)
        if not done:
            reason = Reason(code="nothing_to_do", text="None of the devices can do that now: ask for one of them.")
            await talk.say(ControlRefused(reason=reason))
            return
        until = self.hands.devices[done[0]].until if done[0] in self.hands.devices else None
        text = f"{', '.join(done)}: {word.action.replace('_', ' ')}."
        reason = Reason(code="hand", text=text, binding="hand")
        taken = ControlTaken(state=text, until=instant(until) if until is not None else None, reason=reason)
        refusal = await self._conclude(talk, taken)
        if refusal is not None:
            await talk.say(ControlRefused(reason=refusal))

    # ---------------------------------------------------------------- ends

    async def _give_back(self, device: str, reason: Reason) -> None:
        """The building could not bear it: the plan before holds again. IC-FR-PUC7-SC1 Inf.6, 7."""
        if device in self.hands.devices:
            log.info("%s: the hand lets go of %s: %s", self.bus.address, device, reason.text)
            self._turn[device] += 1
            await self._hold(device, None)

    @every("tick_s")
    async def watch_time(self) -> None:
        now = self.clock.now()
        for name, hand in list(self.hands.devices.items()):
            device = self.premises.by_name(name)
            if device is None:
                continue
            if (hand.until is not None and now >= hand.until) or self._is_over(device, hand):
                await self._end(device, hand)
            elif hand.at is not None and now >= hand.at and hand.action == "start_at":
                await self._start(device, hand)

    def _is_over(self, device: Device, hand: Hand) -> bool:
        """A job that was started by hand has come to its end."""
        if hand.action not in ("start_now", "start_at", "hot_water") or device.reading is None:
            return False
        return device.name in self._ran and device.reading.operating in ("finished", "idle", "off")

    async def _end(self, device: Device, hand: Hand) -> None:
        if await self._hold(device.name, None) is not None:
            return
        text = f"{device.name}: {in_words(hand)} is over, it runs by plan and limits again."
        self.bus.say(DisplayNotice(kind="info", text=text, device=device.name), home=True)
        if hand.action == "hot_water" and device.announce.device_class == "heatpump":
            await self._ask_device(device, TakeControl(user=hand.user, device=device.name, action="release"))

    async def _start(self, device: Device, hand: Hand) -> None:
        """Its time has come."""
        if await self._hold(device.name, replace(hand, at=None, action="start_now")) is not None:
            return
        word = TakeControl(user=hand.user, device=device.name, action="start_now")
        if self._asks_device(device, word):
            refusal = await self._ask_device(device, word)
            if refusal is not None:
                text = f"{device.name} did not start as {hand.user} wanted: {refusal.text}"
                self.bus.say(DisplayNotice(kind="warning", text=text, device=device.name), home=True)


def _doing(device: Device) -> str:
    reading = device.reading
    if reading is None:
        return "silent"
    if abs(reading.power_w) <= 50.0:
        return "off" if reading.operating in ("off", "paused", "idle") else reading.operating
    return f"{'generates' if reading.power_w < 0 else 'takes'} {abs(reading.power_w):.0f} W"
