"""Why does it do what it does, and why not? In plain words, newest reason first. NG-08; IC-FR-PUC7-SC2.

Everything that moves a device's power has left its reason somewhere: the limits, the order that was told, the wishes by
precedence, the plan. What keeps a device from running at all comes first.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agents.cem.held_by_hand import HeldByHand
from agents.cem.plan_home import PlanHome
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.steer_devices import SteerDevices
from agents.cem.wishes import Wishes
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.clock import Clock
from bus.talk import Talk
from contracts.device import DeviceReading
from contracts.questions import AskWhy, Because, NothingKnown, why
from contracts.reasons import Reason

LINES = 6
"""More reasons than that explain nothing."""
ROUTINE = ("free",)


@skill(use_cases=("tariffs.user-choice",))
@dataclass
class Explain:
    """Answers from what is in force now; it keeps nothing of its own."""

    address: Address
    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    preferences: Preferences
    hand: HeldByHand
    steer: SteerDevices
    planning: PlanHome

    @answers(why)
    async def on_ask(self, talk: Talk, asked: AskWhy) -> None:
        if asked.device is None or asked.device == "site":
            await talk.say(self.site())
            return
        device = self.premises.by_name(asked.device)
        if device is None:
            known = ", ".join(sorted(d.name for d in self.premises.devices.values())) or "none yet"
            text = f"There is no {asked.device} here: the devices are {known}."
            await talk.say(NothingKnown(reason=Reason(code="unknown_device", text=text)))
            return
        await talk.say(self.device(device))

    def site(self) -> Because:
        """What the home as a whole does and what binds it."""
        gcp = self.premises.gcp
        power = gcp.power_w if gcp is not None else None
        doing = "does not know: its meter is silent" if gcp is None else _flow(gcp.power_w)
        reasons = [*self._limits(), *self.planning.reasons("connection")[:1]]
        shown = self.planning.shown
        if not reasons:
            reasons = [Reason(code="free", text="Nothing binds the connection point now.")]
        return Because(
            device=self.address.site,
            doing=doing,
            power_w=power,
            reasons=tuple(reasons[:LINES]),
            next=shown.gcp[:8] if shown is not None else (),
            plan=shown.plan if shown is not None else None,
        )

    def device(self, device: Device) -> Because:
        """One device: what it does, why, what is next."""
        told = list(_once(self._of(device)))
        reading = device.reading
        if not told:
            text = f"Nobody wants anything of {device.name}: it does as it likes."
            told = [Reason(code="free", text=text)]
        shown = self.planning.shown
        return Because(
            device=device.name,
            doing=_doing(reading),
            power_w=reading.power_w if reading is not None else None,
            reasons=tuple(told[:LINES]),
            next=self.planning.next(device.name)[:8],
            plan=shown.plan if shown is not None else None,
        )

    def _of(self, device: Device) -> Iterator[Reason]:
        name, kind = device.name, device.announce.device_class
        yield from self._why_not(device)
        if name in self.premises.standby:
            yield self.premises.standby[name]
        told = device.told
        if told is not None and told.reason.code not in ROUTINE:
            yield told.reason
        for wish in self.wishes.all_of(name):
            yield wish.reason
        held = self.hand.of(name)
        if held is not None and held.at is not None and held.at > self.clock.now():
            text = f"It starts at {self.preferences.local(held.at):%H:%M}, as {held.user} wants it."
            yield Reason(code="hand", text=text, binding="hand", talk=held.talk)
        if self.preferences.controlled(name, kind):
            yield from unsaid(self.planning.reasons(name), by_hand=held is not None)
        if told is not None and told.upper_w is not None:
            yield from self._limits()

    def _why_not(self, device: Device) -> Iterator[Reason]:
        """What keeps it from doing anything at all."""
        name, now = device.name, self.clock.now()
        if not self.preferences.controlled(name, device.announce.device_class):
            text = f"You have not consented to control of {name}: it is told nothing."
            yield Reason(code="no_consent", text=text, binding="consent")
        elif not self.preferences.service:
            text = "You have stopped the service: nothing automatic acts until it is on again."
            yield Reason(code="service_off", text=text, binding="consent")
        reading = device.reading
        if reading is None:
            yield Reason(code="silent", text=f"{name} has never said anything: check its power and its link.")
        elif now - device.read_at > self.settings.stale_after_s:
            text = (
                f"{name} was last heard {self.preferences.local(device.read_at):%H:%M}: check its power and its link."
            )
            yield Reason(code="stale", text=text, inputs={"silent_s": now - device.read_at})
        elif reading.operating == "fault":
            yield Reason(code="fault", text=f"{name} reports a fault of its own: look at its display.")
        elif device.announce.device_class == "evse" and reading.operating == "idle":
            yield Reason(code="unplugged", text="No car is plugged in.")
        elif reading.operating == "finished":
            yield Reason(code="finished", text=f"{name} has finished.")
        elif reading.operating == "off" and device.told is None:
            yield Reason(code="off", text=f"{name} is switched off where it stands.")
        refused = self.steer.refusals.get(name)
        if refused is not None:
            yield Reason(code=refused.code, text=f"It did not take its order: {refused.text}", inputs=refused.inputs)

    def _limits(self) -> Iterator[Reason]:
        for claim in self.premises.claims.values():
            inputs = {}
            words = []
            if claim.upper_w < float("inf"):
                inputs["upper_w"] = claim.upper_w
                words.append(f"at most {claim.upper_w:.0f} W drawn")
            if claim.lower_w > float("-inf"):
                inputs["lower_w"] = claim.lower_w
                words.append(f"at most {-claim.lower_w:.0f} W fed in" if claim.lower_w < 0 else "no feed-in")
            if words:
                what = claim.why.replace("_", " ")
                text = f"The connection point is bound by {what}: {', '.join(words)}."
                yield Reason(code=claim.why, text=text, binding=claim.why, inputs=inputs)


def unsaid(planned: tuple[Reason, ...], *, by_hand: bool) -> tuple[Reason, ...]:
    """What a plan adds: that the user wants it so is told by the hand itself, with who and how.

    What the plan cannot keep of it stays.
    """
    return planned[1:] if by_hand and planned and planned[0].code == "fixed_by_user" else planned


def _once(reasons: Iterator[Reason]) -> Iterator[Reason]:
    seen: set[str] = set()
    for reason in reasons:
        if reason.text not in seen:
            seen.add(reason.text)
            yield reason


def _doing(reading: DeviceReading | None) -> str:
    if reading is None:
        return "is silent"
    if abs(reading.power_w) > 50.0:
        return "generates" if reading.power_w < 0 else "runs"
    return {
        "off": "is off",
        "idle": "is idle",
        "waiting": "waits",
        "running": "is on, and takes next to nothing",
        "paused": "is paused",
        "finished": "has finished",
        "fault": "has a fault",
    }[reading.operating]


def _flow(power_w: float) -> str:
    return f"{'feeds in' if power_w < 0 else 'draws'} {abs(power_w):.0f} W"
