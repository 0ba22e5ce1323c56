"""Whether a hand may do what a person wants, and whether the device can: before anything is stored or told."""

from dataclasses import dataclass

from agents.cem.hand import PLAIN, power_of
from agents.cem.held_by_hand import HeldByHand
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wishes
from bus.clock import Clock
from bus.talk import Talk
from contracts.hand import TakeControl
from contracts.reasons import Reason


@dataclass
class AllowHand:
    """Which devices a word means, and the reason why not, if there is one. Changes nothing."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    preferences: Preferences
    held: HeldByHand

    def named(self, word: TakeControl) -> list[Device] | Reason:
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
                found = [d for d in known if d.name in self.held.kept.devices]
            case "off":
                found = [d for d in known if d.announce.nominal_upper_w > 0 and d.announce.nominal_lower_w >= 0]
            case _:
                return Reason(code="no_device", text="Name a device: this cannot be done with all of them.")
        return found or Reason(code="nothing_to_do", text=f"No device here is meant by {word.action}.")

    def forbidden(self, talk: Talk, word: TakeControl, devices: list[Device]) -> Reason | None:
        """Why this person may not, by that app, at this moment; of a single device also why it cannot."""
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
        return self.impossible(devices[0], word)

    def impossible(self, device: Device, word: TakeControl) -> Reason | None:
        """Why the device cannot, or is not to be switched."""
        name, now = device.name, self.clock.now()
        if not self.preferences.controlled(name, device.announce.device_class):
            text = f"{name} is not controlled: consent to its control first, or switch it where it stands."
            return Reason(code="no_consent", text=text, binding="consent")
        if not device.steered:
            return Reason(code="cannot_steer", text=f"{name} is only measured: switch it where it stands.")
        if now - max(device.read_at, device.known_since) > self.settings.missing_after_s:
            text = f"{name} has not said anything for a while: check its power and its link."
            return Reason(code="missing", text=text)
        if word.action == "resume" and not self.held.paused(name) and device.announce.device_class != "whitegoods":
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
