"""Whom this home lets ask something of it, and what the user's hand takes on top of what they may bound."""

from dataclasses import dataclass

from agents.cem.fit_wish import fit_unit
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wishes
from agents.kit.skill import skill
from bus.address import Address
from bus.clock import Clock
from contracts.reasons import Reason


@skill(use_cases=("home.precedence",))
@dataclass
class ThirdParties:
    """Contracts are settings; the user's consent is in the preferences and goes before them."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    preferences: Preferences

    def objection(self, peer: Address, partners: tuple[str, ...] | None) -> Reason | None:
        """Why this party may not act on the home, None if it may. ``partners`` None: whoever is in reach."""
        if partners is not None and str(peer) not in partners:
            text = f"{peer} has no contract for this here: conclude one and list it in the settings."
            return Reason(code="no_contract", text=text, binding="contract")
        if not self.preferences.flexibility or not self.preferences.service:
            text = "The user lets no third party act on this home: ask again when flexibility is allowed again."
            return Reason(code="flexibility_off", text=text, binding="consent")
        return None

    def controlled(self, device: Device) -> bool:
        """Whether the user lets this device be controlled at all."""
        return self.preferences.controlled(device.name, device.announce.device_class)

    @property
    def hand_w(self) -> float:
        """What devices take by the user's hand: it comes on top of what a third party allows, not of a limit."""
        if self.settings.order_beats_hand:
            return 0.0
        now, total = self.clock.now(), 0.0
        for device in self.premises.devices.values():
            wish = self.wishes.of(device.name)
            if device.steered and wish is not None and wish.source == "hand":
                total += max(0.0, fit_unit(device.unit(now, self.settings, 0.0), wish).wants_w)
        return total
