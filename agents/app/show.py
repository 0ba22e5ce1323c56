"""The display: it keeps and shows what is said at home. IEC-JWG3032 steps 4b and 8b, IEC-JWG2113-S2, IEC-JWG11.

Prices, the plan and what became of it are shown as they come: IC-PT-HLUC1-PUC2, IC-FR-HLUC1-STORIES.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agents.app.settings import AppSettings
from agents.kit.local_day import shown
from agents.kit.skill import every, hears, skill, started
from bus.bus import Bus, Heard
from bus.clock import Clock
from contracts.device import DeviceEvent, DeviceReading, DeviceWarning, Inventory
from contracts.emergency import DisplayNotice
from contracts.home_plan import Balance, PlanItem, PlanShown, ProposePlan
from contracts.metering import ContractNotice, GcpReading
from contracts.profiles import PriceSlot
from contracts.roles import CEM, DEVICES, GATEWAY, METER
from contracts.system import Shown, ShownJob
from contracts.tariff import PriceInfo

_NOT_TOLD = ("fault",)
"""Events of devices that reach the user as the CEM's warning, once it has looked into them."""
LOOKS_AT_PRICES_S = 60.0
PRICES_LAST_S = 3600.0
"""So long after the CEM's last word on prices the meter's do not count."""


@skill(
    says_home=(Shown,),
    use_cases=(
        "limits.near-limit",
        "limits.congestion-direct",
        "metering.gcp-to-cem",
        "ops.device-watch",
        "home.propose-confirm",
        "tariffs.price-info",
        "tariffs.user-choice",
        "mobility.monitor",
    ),
)
@dataclass
class Show:
    """One picture, said whenever it changes."""

    bus: Bus
    clock: Clock
    settings: AppSettings
    picture: Shown = field(default_factory=Shown)
    on_prices: list[Callable[[], None]] = field(default_factory=list)
    _summed_at: float = float("-inf")

    @started
    async def first(self) -> None:
        self.bus.say(self.picture, home=True)

    @hears(GcpReading, of=(METER,), where="home")
    def power(self, reading: GcpReading, _heard: Heard) -> None:
        self._change(power_w=reading.power_w, metered_at=reading.at)

    @hears(ContractNotice, of=(METER, CEM), where="home")
    def contract(self, notice: ContractNotice, _heard: Heard) -> None:
        direction = "production" if notice.contract_w < 0 else "consumption"
        self._change(contract={**self.picture.contract, direction: notice.level})

    @hears(DisplayNotice, of=(CEM, GATEWAY), where="home")
    def notice(self, notice: DisplayNotice, _heard: Heard) -> None:
        match notice.kind:
            case "emergency":
                self._change(emergency=notice.text, text=notice.text)
            case "clearance":
                self._change(emergency=None, text=notice.text)
            case _:
                self._change(text=notice.text)

    @hears(DeviceWarning, of=(CEM,), where="home")
    def warning(self, warning: DeviceWarning, _heard: Heard) -> None:
        others = {name: text for name, text in self.picture.warnings.items() if name != warning.device}
        if warning.cleared:
            self._change(warnings=others, text=f"{warning.device} is back")
        else:
            text = f"{warning.device}: {warning.reason.text}"
            self._change(warnings={**others, warning.device: warning.reason.text}, text=text)

    @hears(Inventory, of=(CEM,), where="home")
    def inventory(self, inventory: Inventory, _heard: Heard) -> None:
        self._change(devices=tuple(sorted(inventory.devices)))

    @hears(DeviceEvent, of=DEVICES, where="home")
    def event(self, event: DeviceEvent, heard: Heard) -> None:
        if event.kind not in _NOT_TOLD:
            self._change(text=f"{heard.sender} was {event.kind} by {event.by}: {event.reason.text}")

    # ---------------------------------------------------------------- what devices do

    @hears(DeviceReading, of=DEVICES, where="home")
    def device(self, reading: DeviceReading, heard: Heard) -> None:
        """On or off, how far the car is, and a notice when something has finished."""
        name = f"{heard.sender.role}.{heard.sender.name}"
        before = self.picture.states.get(name)
        states = {**self.picture.states, name: reading.operating}
        charged = self.picture.charged_wh
        if reading.session_wh is not None:
            charged = {**charged, name: reading.session_wh}
        done = reading.operating == "finished" and before not in (None, "finished")
        energy = f", {reading.session_wh / 1000:.1f} kWh" if reading.session_wh else ""
        self._change(text=f"{name} has finished{energy}." if done else None, states=states, charged_wh=charged)

    def job(self, device: str, job: ShownJob, text: str) -> None:
        self._change(text=text, jobs={**self.picture.jobs, device: job})

    # ---------------------------------------------------------------- prices and plans

    @hears(PriceInfo, of=(CEM, GATEWAY, METER), where="addressed")
    def prices(self, info: PriceInfo, heard: Heard) -> None:
        """What the CEM says is the sum of all components; the meter's counts where the CEM is silent."""
        if heard.sender.role == CEM.name:
            self._summed_at = self.clock.now()
        elif self.summed_within(PRICES_LAST_S):
            return
        self.show_prices(info)

    def summed_within(self, seconds: float) -> bool:
        """Whether the CEM has told prices in the last time."""
        return self.clock.now() - self._summed_at < seconds

    def show_prices(self, info: PriceInfo) -> None:
        text = info.warning if info.warning and info.warning not in self.picture.notices else None
        self._change(
            text=text,
            prices=_joined(info.slots),
            price_eur_per_kwh=self._price(info.slots),
            green_percent=self._green(info.slots),
        )
        for act in self.on_prices:
            act()

    def _price(self, slots: tuple[PriceSlot, ...]) -> float | None:
        now = self.clock.now()
        return next(
            (s.price_eur_per_kwh for s in slots if s.start.timestamp() <= now < s.start.timestamp() + s.duration_s),
            None,
        )

    def _green(self, slots: tuple[PriceSlot, ...]) -> float | None:
        now = self.clock.now()
        return next(
            (s.green_percent for s in slots if s.start.timestamp() <= now < s.start.timestamp() + s.duration_s), None
        )

    @every(LOOKS_AT_PRICES_S)
    def time_passes(self) -> None:
        prices = self.picture.prices
        self._change(price_eur_per_kwh=self._price(prices), green_percent=self._green(prices))
        due = self.picture.confirm_by
        if due is not None and due.timestamp() <= self.clock.now():
            self.decided()

    @hears(PlanShown, of=(CEM,), where="home")
    def plan(self, plan: PlanShown, _heard: Heard) -> None:
        self._change(plan=_brief(plan.items))

    @hears(Balance, of=(CEM,), where="home")
    def balance(self, balance: Balance, _heard: Heard) -> None:
        """What the day's energy went into."""
        self._change(used_by_kind_wh=balance.used_by_kind_wh)

    def proposal(self, proposal: ProposePlan) -> None:
        """A plan waits for the user's word."""
        until = shown(proposal.confirm_by.timestamp(), self.settings.time_zone)
        text = f"A plan waits for your word until {until}: it costs {proposal.cost_eur:.2f} EUR."
        self._change(text=text, proposal=proposal.plan, proposed=proposal.items, confirm_by=proposal.confirm_by)

    def decided(self) -> None:
        """The user has spoken, or his time is over."""
        self._change(proposal=None, proposed=(), confirm_by=None)

    def tell(self, text: str) -> None:
        """A notice of the app's own."""
        self._change(text=text)

    def _change(self, text: str | None = None, **changes: object) -> None:
        if text is not None:
            changes["notices"] = (text, *self.picture.notices)[: self.settings.keep_notices]
        picture = msgspec.structs.replace(self.picture, **changes)
        if picture != self.picture:
            self.picture = picture
            self.bus.say(picture, home=True)


def _brief(items: tuple[PlanItem, ...]) -> tuple[PlanItem, ...]:
    """Starts, costs and reasons: the powers stay in the plan's own word, this picture is said often."""
    return tuple(msgspec.structs.replace(item, power=()) for item in items)


def _joined(slots: tuple[PriceSlot, ...]) -> tuple[PriceSlot, ...]:
    """Neighbours of one price as one."""
    joined: list[PriceSlot] = []
    for slot in slots:
        last = joined[-1] if joined else None
        if last is not None and _same(last, slot):
            joined[-1] = msgspec.structs.replace(last, duration_s=last.duration_s + slot.duration_s)
        else:
            joined.append(slot)
    return tuple(joined)


def _same(one: PriceSlot, other: PriceSlot) -> bool:
    if one.start.timestamp() + one.duration_s != other.start.timestamp():
        return False
    return msgspec.structs.replace(one, start=other.start, duration_s=other.duration_s) == other
