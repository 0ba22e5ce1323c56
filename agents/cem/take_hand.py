"""The user's hand: it goes before plans and orders, and after safety, fuse, failsafe, grid limit and emergency.

IC-FR-PUC-6; IC-FR-PUC6-SC2; IC-GR-HLUC1-MAN; IEC-RG-CONSUMER-CONTROL. Every word is answered with what the device then
does; the newest holds. Choices where the sources are silent: decision 0033.
"""

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from msgspec.structs import replace

from agents.cem.allow_hand import AllowHand
from agents.cem.ask_device import ask_device
from agents.cem.hand import Hand, bound_by, goal_of, hand_of, in_words, rest_s
from agents.cem.hand_answers import done, held_back, later, not_yet, resting
from agents.cem.held_by_hand import HeldByHand
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.report_change import ReportChanges
from agents.cem.settings import CemSettings
from agents.cem.steer_devices import SteerDevices
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import answers, every, hears, settles, skill
from bus.bus import Bus, Heard
from bus.clock import WIRE_WALL_S, Clock
from bus.envelope import instant
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceReading
from contracts.emergency import DisplayNotice
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed, Message
from contracts.reasons import Reason
from contracts.roles import DEVICES

log = logging.getLogger("gridparley.cem")
AT_DEVICE = ("start_now", "pause", "resume", "abort")
"""What a machine with a programme of its own does by itself."""


@skill(
    opens=(take_control,),
    says_home=(DisplayNotice,),
    use_cases=("customer.override", "customer.manual-switch", "home.hot-water"),
)
@dataclass
class TakeHand:
    """Every word is weighed, held, and answered once the device has shown it."""

    bus: Bus
    clock: Clock
    deals: Deals
    settings: CemSettings
    premises: Premises
    preferences: Preferences
    steer: SteerDevices
    changes: ReportChanges
    held: HeldByHand
    allow: AllowHand
    _turn: Counter[str] = field(default_factory=Counter)
    _news: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.changes.give_back.append(self._give_back)

    # ---------------------------------------------------------------- said by people

    @answers(take_control)
    async def on_word(self, talk: Talk, word: TakeControl) -> None:
        names = self.allow.named(word)
        if isinstance(names, Reason):
            await talk.say(ControlRefused(reason=names))
            return
        refusal = self.allow.forbidden(talk, word, names)
        if refusal is not None:
            await talk.say(ControlRefused(reason=refusal))
            return
        if len(names) == 1:
            await self._one(talk, word, names[0])
        else:
            await self._several(talk, word, names)

    # ---------------------------------------------------------------- one device

    async def _one(self, talk: Talk, word: TakeControl, device: Device) -> None:
        name = device.name
        self._turn[name] += 1
        turn, before = self._turn[name], self.held.of(name)
        outcome: ControlTaken | Reason | None
        if word.action == "overrule":
            outcome = await self._overrule(name)
        else:
            hand = hand_of(word, device, before, talk.id, self.clock.now(), self.settings)
            outcome = await self.held.hold(name, hand)
            if outcome is None:
                outcome = await self._until_done(device, hand, word, turn)
        if isinstance(outcome, ControlTaken):
            outcome = await self._conclude(talk, outcome)
        if isinstance(outcome, Reason):
            if self._turn[name] == turn and self.held.of(name) != before:
                await self.held.hold(name, before)
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

    async def _overrule(self, device: str) -> ControlTaken | Reason:
        try:
            await self.held.overrule(device)
        except NotStored as problem:
            return Reason(code="not_stored", text=f"{problem}: say it again.")
        text = f"The next start of {device} happens in spite of a warning; the fuse and the grid's limits still hold."
        return ControlTaken(state="its next start is free", reason=Reason(code="overruled", text=text))

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
            return later(device, hand, instant(hand.at), self.preferences.local(hand.at), until)
        bound = bound_by(device.told, goal)
        rest = rest_s(device, goal, self.settings, now) if bound is None else 0.0
        if rest > 0:
            return resting(device, rest, goal, now, until)
        began = now
        deadline = now + max(self.settings.hand_waits_s, WIRE_WALL_S / 2 * self.clock.speed)
        while self.clock.now() < deadline:
            if self._turn[device.name] != turn:
                return Reason(code="superseded", text="Something newer was said about this device: that holds.")
            bound = bound_by(device.told, goal)
            if bound is not None:
                return held_back(device, bound, until)
            refused = self.steer.refusals.get(device.name)
            if refused is not None:
                if hand is None:  # it is let go all the same, and is told again until it takes it
                    return not_yet(device, until)
                left = refused.inputs.get("remaining_s")
                return refused if left is None else resting(device, left, goal, self.clock.now(), until)
            if self.steer.busy(device.address):
                began = self.clock.now()  # what was measured before it was told says nothing
            elif device.read_at > began and device.reading is not None and goal.reached(device.reading.power_w):
                return done(device, hand, until)
            await self._until_news(deadline)
        return not_yet(device, until)

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
            self.held.ran.add(device.name)

    # ---------------------------------------------------------------- what the device does by itself

    def _asks_device(self, device: Device, word: TakeControl) -> bool:
        if word.action == "hot_water":
            return device.announce.device_class == "heatpump"
        if word.target_c is not None:
            return True
        return device.announce.device_class == "whitegoods" and word.action in AT_DEVICE

    async def _ask_device(self, device: Device, word: TakeControl) -> Reason | None:
        match await ask_device(self.bus, self.deals, device, replace(word, device=device.name)):
            case ControlTaken():
                return None
            case ControlRefused(reason=reason):
                return reason
            case Lapsed():
                return Reason(code="no_answer", text=f"{device.name} did not answer: check its link.")

    @settles(take_control)
    async def done_by_device(self, word: Message, heard: Heard) -> None:
        """Also when it comes late: then its readings have shown it already."""
        await self.deals.honour(word, heard)

    # ---------------------------------------------------------------- all of them

    async def _several(self, talk: Talk, word: TakeControl, devices: list[Device]) -> None:
        told: list[str] = []
        for device in devices:
            self._turn[device.name] += 1
            if word.action != "release" and self.allow.impossible(device, word) is not None:
                continue
            before = self.held.of(device.name)
            hand = hand_of(word, device, before, talk.id, self.clock.now(), self.settings)
            refusal = await self.held.hold(device.name, hand)
            if refusal is not None:
                await talk.say(ControlRefused(reason=refusal))
                return
            told.append(device.name)
        if not told:
            reason = Reason(code="nothing_to_do", text="None of the devices can do that now: ask for one of them.")
            await talk.say(ControlRefused(reason=reason))
            return
        first = self.held.of(told[0])
        until = first.until if first is not None else None
        text = f"{', '.join(told)}: {word.action.replace('_', ' ')}."
        reason = Reason(code="hand", text=text, binding="hand")
        taken = ControlTaken(state=text, until=instant(until) if until is not None else None, reason=reason)
        refusal = await self._conclude(talk, taken)
        if refusal is not None:
            await talk.say(ControlRefused(reason=refusal))

    # ---------------------------------------------------------------- ends

    async def _give_back(self, device: str, reason: Reason) -> None:
        """The building could not bear it: the plan before holds again. IC-FR-PUC7-SC1 Inf.6, 7."""
        if self.held.of(device) is not None:
            log.info("%s: the hand lets go of %s: %s", self.bus.address, device, reason.text)
            self._turn[device] += 1
            await self.held.hold(device, None)

    @every("tick_s")
    async def watch_time(self) -> None:
        now = self.clock.now()
        for name, hand in list(self.held.kept.devices.items()):
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
        return device.name in self.held.ran and device.reading.operating in ("finished", "idle", "off")

    async def _end(self, device: Device, hand: Hand) -> None:
        if await self.held.hold(device.name, None) is not None:
            return
        text = f"{device.name}: {in_words(hand)} is over, it runs by plan and limits again."
        self.bus.say(DisplayNotice(kind="info", text=text, device=device.name), home=True)
        if hand.action == "hot_water" and device.announce.device_class == "heatpump":
            await self._ask_device(device, TakeControl(user=hand.user, device=device.name, action="release"))

    async def _start(self, device: Device, hand: Hand) -> None:
        """Its time has come."""
        if await self.held.hold(device.name, replace(hand, at=None, action="start_now")) is not None:
            return
        word = TakeControl(user=hand.user, device=device.name, action="start_now")
        if self._asks_device(device, word):
            refusal = await self._ask_device(device, word)
            if refusal is not None:
                text = f"{device.name} did not start as {hand.user} wanted: {refusal.text}"
                self.bus.say(DisplayNotice(kind="warning", text=text, device=device.name), home=True)
