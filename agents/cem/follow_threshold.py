"""Devices that run by a price threshold, or in a window: one command per interval or new price. IEC-JWG1111 to 16."""

import logging
from dataclasses import dataclass, field

from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.know_prices import KnowPrices
from agents.cem.own_plans import OwnPlans
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.threshold import Command, Limits, State, for_generator, for_heat, for_storage
from agents.cem.wishes import Wish, Wishes
from agents.kit.bargain import slot_at
from agents.kit.skill import every, skill
from bus.bus import Bus
from bus.clock import Clock
from contracts.emergency import DisplayNotice
from contracts.flexibility import ModesFlexibility
from contracts.profiles import SLOT_S
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
HEATS = ("heatpump", "waterheater", "hvac")
LOOKS_AFTER_S = 60.0
"""So long after a command its effect is looked at."""


@skill(says_home=(DisplayNotice,), use_cases=("home.price-threshold",))
@dataclass
class FollowThreshold:
    """The command is a wish: limits, emergencies and the user's hand go before it, and the device may refuse it.

    ``results`` says of each device whether the last command was carried out.
    """

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    prices: KnowPrices
    preferences: Preferences
    flexibility: KnowFlexibility
    wishes: Wishes
    own: OwnPlans
    commands: dict[str, Command] = field(default_factory=dict)
    results: dict[str, tuple[bool, Reason]] = field(default_factory=dict)
    _at: dict[str, tuple[float, float | None, bool]] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prices.on_change.append(self.look)
        self.preferences.on_change.append(self._at.clear)

    @every("reading_every_s")
    def look(self) -> None:
        """A new interval, another price, or the edge of a window: then exactly one command goes out."""
        now = self.clock.now()
        for device in self.premises.devices.values():
            limits = self._limits(device)
            if limits is None or not self.preferences.controlled(device.name, device.announce.device_class):
                if device.name in self.commands:
                    self._forget(device.name)
                continue
            price = self._price(device, now)
            moment = (now - now % SLOT_S, price, self._in_window(limits))
            if self._at.get(device.name) != moment and device.reading is not None:
                self._at[device.name] = moment
                self._command(device, limits, price, now)
        for name in [name for name, at in self._due.items() if now >= at]:
            self._judge(name)

    def _limits(self, device: Device) -> Limits | None:
        kind = device.announce.device_class
        said = self.preferences.of(device.name, kind)
        above = said.start_above_eur_per_kwh
        if kind == "battery" and above is None:
            above = self.settings.sell_above_eur_per_kwh
        if above is None and said.start_below_eur_per_kwh is None and said.peak_window is None:
            return None
        if kind not in ("fuelcell", "battery", *HEATS):
            return None
        return Limits(
            above=above,
            below=said.start_below_eur_per_kwh,
            step_w=said.step_w,
            reserve_percent=said.reserve_percent,
            window=said.peak_window if kind == "fuelcell" else None,
            starts_at=device.name in self.settings.generators,
        )

    def _price(self, device: Device, now: float) -> float | None:
        """What is paid for what is fed in, for what feeds in; what energy costs else."""
        if device.announce.device_class == "battery":
            sold = self.prices.sell(now - now % SLOT_S, 1)[0]
            return sold if sold else self.prices.price_now()
        return self.prices.price_now()

    def _in_window(self, limits: Limits) -> bool:
        if limits.window is None:
            return False
        (start, end), at = limits.window, self.preferences.local(self.clock.now()).time()
        return start <= at < end if start <= end else at >= start or at < end

    # ------------------------------------------------------------ deciding

    def _command(self, device: Device, limits: Limits, price: float | None, now: float) -> None:
        state, kind = self._state(device), device.announce.device_class
        command: Command | None
        if kind == "fuelcell":
            command = for_generator(limits, state, price, self.preferences.local(now).time())
        elif kind == "battery":
            command = for_storage(limits, state, price)
        else:
            command = for_heat(limits, state, price)
        if command is None:
            self._forget(device.name)
            return
        self.commands[device.name] = command
        self._due[device.name] = now + LOOKS_AFTER_S
        wish = Wish(source="price", reason=command.reason, setpoint_w=command.setpoint_w, off=command.off)
        self.wishes.put(device.name, None if command.action == "hold" else wish, "price")

    def _state(self, device: Device) -> State:
        reading, announce = device.reading, device.announce
        assert reading is not None  # looked at before
        feeds = announce.device_class in ("fuelcell", "battery")
        offer = self.flexibility.offers.get(device.address)
        modes = offer.flexibility if offer is not None else None
        return State(
            power_w=reading.power_w,
            on=device.on,
            most_w=announce.nominal_lower_w if feeds else announce.nominal_upper_w,
            least_w=announce.minimum_run_w,
            ready=reading.operating != "fault" and not (isinstance(modes, ModesFlexibility) and not modes.ready),
            level_percent=reading.soc_percent,
            conflict=self._conflict(device),
        )

    def _conflict(self, device: Device) -> str:
        """What a battery's selling would work against. IEC-JWG13."""
        now = self.clock.now()
        if any(claim.lower_w > -1e6 for claim in self.premises.claims.values()):
            return "less may be fed in now"
        leading = self.wishes.of(device.name)
        if leading is not None and leading.source in ("hand", "order"):
            return "it is wanted for something else"
        agreed = self.flexibility.agreed.get(device.address)
        if agreed is not None and slot_at(agreed.power, now) is not None:
            return "it has agreed to something else"
        for other in self.premises.devices.values():
            slot = slot_at(self.own.of(other.name), now)
            if other.announce.device_class == "evse" and slot is not None and slot.power_w > 0:
                return "a car is due and needs it"
        return ""

    # ------------------------------------------------------------ what came of it

    def _judge(self, name: str) -> None:
        """Carried out, or overridden by the device's own controller."""
        del self._due[name]
        device, command = self.premises.by_name(name), self.commands.get(name)
        if device is None or command is None:
            return
        refused = self.clock.now() < device.stubborn_until
        if refused:
            text = f"{name} did not do it: {command.reason.text}"
            self.results[name] = (False, Reason(code="unsuccessful", text=text))
            self.bus.say(DisplayNotice(kind="info", text=text, device=name), home=True)
        else:
            self.results[name] = (True, Reason(code="successful", text=command.reason.text))

    def _forget(self, name: str) -> None:
        self.commands.pop(name, None)
        self._due.pop(name, None)
        self.wishes.put(name, None, "price")
