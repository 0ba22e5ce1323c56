"""What the people of a home want, per device and per class: kept, merged, and asked by whoever plans or steers.

IC-FR-PUC2; IC-PT-HLUC1-PUC3. Who may say what, and what no word may take from the household: decision 0033.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, get_args

import anyio
import msgspec
from msgspec.structs import asdict, replace

from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.local_day import local
from agents.kit.skill import answers, restores, skill
from bus.address import Address
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceClass
from contracts.preferences import (
    PURPOSES,
    DevicePreferences,
    OwnProductionLimit,
    PreferencesRefused,
    PreferencesTaken,
    Season,
    SetPreferences,
    preferences,
)
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, CEM

_MEANT_FOR: dict[str, tuple[DeviceClass, ...]] = {
    **dict.fromkeys(("lowest_c", "highest_c", "target_c"), ("heatpump", "waterheater", "hvac", "fuelcell")),
    **dict.fromkeys(("charge_lower_percent", "charge_upper_percent"), ("evse", "battery")),
    "reserve_percent": ("battery",),
    "set_points": ("heatpump", "waterheater", "hvac"),
}
"""Preferences that no device of another class can keep: taken in silence they would be a promise."""
HEATERS = ("heatpump", "waterheater", "hvac")
"""Not needed while everybody is away. IC-FR-PUC2 Inf.1."""
CLASSES: tuple[str, ...] = get_args(DeviceClass)
PREFERENCES = frozenset(DevicePreferences.__struct_fields__) - {"forget"}
KEPT_S = 86_400.0
"""A deal that a crash interrupted is carried out for so long afterwards."""
TALKS_KEPT = 16
_ORCHESTRATED = ("devices", "season", "vacation")
"""What a building's orchestrator may pass on; consents and the service are the household's own to give."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was ever set, over restarts."""

    devices: dict[str, DevicePreferences] = msgspec.field(default_factory=dict)
    season: Season | None = None
    vacation: tuple[date, date] | None = None
    own_production: OwnProductionLimit | None = None
    plans: Literal["automatic", "confirm", "off"] | None = None
    service: bool = True
    flexibility: bool = True
    consents: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    taken: tuple[str, ...] = ()
    """The last talks that made it so: none of them counts twice."""


def merged(under: DevicePreferences, over: DevicePreferences) -> DevicePreferences:
    """``over`` where it says something; what it forgets is gone."""
    said = {name: value for name, value in asdict(over).items() if value is not None and name != "forget"}
    return replace(under, **(dict.fromkeys(over.forget) | said))


def after(kept: Kept, word: SetPreferences) -> Kept:
    """What is kept once a word is taken: only what it names changes."""
    devices = dict(kept.devices)
    for name, wanted in word.devices.items():
        devices[name] = merged(devices.get(name, DevicePreferences()), wanted)
    named = {name: getattr(word, name) for name in ("season", "vacation", "own_production", "plans")}
    switches = {name: getattr(word, name) for name in ("service", "flexibility")}
    switches["consents"] = kept.consents | (word.consents or {})
    changed = {name: value for name, value in (named | switches).items() if value is not None}
    if word.own_production_off:
        changed["own_production"] = None
    if word.vacation_off:
        changed["vacation"] = None
    return replace(kept, devices=devices, **changed)


def objection(
    kept: Kept, word: SetPreferences, known: tuple[str, ...], classes: Mapping[str, str] | None = None
) -> Reason | None:
    """Why a word cannot be kept as it is. ``known``: devices at this home, ``classes`` what they are."""
    for name in word.devices:
        if name not in known and name not in CLASSES:
            text = f"There is no {name} here: name one of {', '.join(known) or 'no device yet'}, or a class."
            return Reason(code="unknown_device", text=text)
    for party, purposes in (word.consents or {}).items():
        unknown = [one for one in purposes if one not in PURPOSES]
        if unknown:
            text = f"{party} is given nothing for {unknown[0]!r}: the purposes are {', '.join(PURPOSES)}."
            return Reason(code="unknown_purpose", text=text)
    if word.vacation is not None and word.vacation[1] < word.vacation[0]:
        return Reason(code="bad_vacation", text="The vacation ends before it begins: swap the dates.")
    for name, wants in word.devices.items():
        unknown = [one for one in wants.forget if one not in PREFERENCES]
        if unknown:
            return Reason(code="unknown_preference", text=f"{name} has no preference {unknown[0]} to forget.")
        wrong = _meaningless(name, (classes or {}).get(name, name), wants)
        if wrong is not None:
            return wrong
    wanted = after(kept, word).devices
    return next((wrong for name in word.devices if (wrong := _crossed(name, wanted[name])) is not None), None)


def _meaningless(name: str, kind: str, wants: DevicePreferences) -> Reason | None:
    for what, kinds in _MEANT_FOR.items():
        if getattr(wants, what) is not None and kind in CLASSES and kind not in kinds:
            text = f"{name} can do nothing about {what}: that is for {', '.join(kinds)}."
            return Reason(code="no_such_wish", text=text)
    return None


def _crossed(name: str, wanted: DevicePreferences) -> Reason | None:
    for low, high, unit in (
        ("lowest_c", "highest_c", "degC"),
        ("charge_lower_percent", "charge_upper_percent", "%"),
    ):
        lower, upper = getattr(wanted, low), getattr(wanted, high)
        if lower is not None and upper is not None and lower > upper:
            text = f"{name}: at least {lower:g} {unit} and at most {upper:g} {unit} exclude each other: change one."
            return Reason(code="crossed", text=text, inputs={low: lower, high: upper})
    for percent in ("charge_lower_percent", "charge_upper_percent", "reserve_percent", "green_above_percent"):
        value = getattr(wanted, percent)
        if value is not None and not 0 <= value <= 100:
            return Reason(code="bad_percent", text=f"{name}: {percent} is {value:g}: write 0 to 100.")
    target, lowest, highest = wanted.target_c, wanted.lowest_c, wanted.highest_c
    if target is not None and not (lowest or -100.0) <= target <= (300.0 if highest is None else highest):
        text = f"{name}: {target:g} degC is outside of what you allow: change the bounds or the target."
        return Reason(code="crossed", text=text, inputs={"target_c": target})
    return None


@skill(use_cases=("customer.preferences",))
@dataclass
class Preferences:
    """One place that knows what people want; ``on_change`` is called when it has changed."""

    address: Address
    clock: Clock
    state: State
    deals: Deals
    settings: CemSettings
    premises: Premises
    peers: Peers
    kept: Kept = field(default_factory=Kept)
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _restored: bool = False
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self.deals.on_settled(preferences, self._settled)
        self.premises.on_fleet.insert(0, self._mark)

    # ---------------------------------------------------------------- asked by others

    def of(self, device: str, device_class: str) -> DevicePreferences:
        """Device over class, what was said over the settings."""
        made = DevicePreferences()
        for source in (self.settings.preferences, self.kept.devices):
            for name in (device_class, device):
                if name in source:
                    made = merged(made, source[name])
        return made

    def controlled(self, device: str, device_class: str) -> bool:
        """Consent. Without it the device is never told anything; a class without consent is not controlled."""
        said = self.of(device, device_class).controlled
        return self.settings.consent_assumed if said is None else said

    @property
    def service(self) -> bool:
        return self.kept.service

    @property
    def flexibility(self) -> bool:
        return self.kept.flexibility

    @property
    def plans(self) -> Literal["automatic", "confirm", "off"]:
        return self.kept.plans or self.settings.plans

    @property
    def season(self) -> Season:
        """As it is felt; the calendar's only as long as nobody has said."""
        return self.kept.season or _calendar(self.local(self.clock.now()).month)

    @property
    def heats(self) -> bool:
        """Rooms are heated: in a felt autumn or winter, and in a felt spring."""
        return self.season != "summer"

    @property
    def vacation(self) -> tuple[date, date] | None:
        return self.kept.vacation

    @property
    def own_production(self) -> OwnProductionLimit | None:
        return self.kept.own_production

    @property
    def consents(self) -> dict[str, tuple[str, ...]]:
        """Party -> purposes for which it may have personal data, or do something here."""
        return self.settings.consents | self.kept.consents

    def consented(self, party: Address, purpose: str) -> bool:
        """To this party and this purpose only. ETSI-5.3.2."""
        return purpose in self.consents.get(str(party), ())

    def away(self, at: float) -> bool:
        """On the first and last day of a vacation, and between."""
        if self.kept.vacation is None:
            return False
        first, last = self.kept.vacation
        return first <= self.local(at).date() <= last

    def local(self, at: float) -> datetime:
        """Run seconds as the household's wall clock shows them."""
        return local(at, self.settings.time_zone)

    def allowed(self, app: Address, user: str, what: str) -> bool:
        """Whether this user of this app may. ``what``: ``hand``, ``preferences``, ``plans``, ``rules``, also for one
        device as ``hand:evse.1``.

        An app of the own home that the settings do not name may do everything; a building what consents say.
        """
        if app.role == BUILDING.name:
            return self.consented(app, what.partition(":")[0])
        if app.site != self.address.site:
            return self.consented(app, what.partition(":")[0])
        if app.role != APP.name or str(app) not in self.settings.users:
            return True
        may = self.settings.users[str(app)].get(user, ())
        return "*" in may or what in may or what.partition(":")[0] in may

    def _mark(self) -> None:
        for device in self.premises.devices.values():
            device.consented = self.controlled(device.name, device.announce.device_class)

    # ---------------------------------------------------------------- said by people

    @restores
    async def restore(self) -> None:
        self.kept = await self.state.get("preferences", Kept) or Kept()
        self._restored = True
        self._mark()
        for deal in self.deals.standing(preferences):
            await self._settled(deal)

    @answers(preferences)
    async def on_word(self, talk: Talk, word: SetPreferences) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        refusal = self._forbidden(peer, word) or objection(self.kept, word, self._known(word), self._classes())
        if refusal is None:
            refusal = await self._take(talk, word)
        if refusal is not None:
            await talk.say(PreferencesRefused(reason=refusal))

    async def _take(self, talk: Talk, word: SetPreferences) -> Reason | None:
        effect = dict(self._effects(after(self.kept, word), word))
        try:
            taken = PreferencesTaken(effect=effect)
            deal = await self.deals.close(talk, taken, word, until=self.clock.now() + KEPT_S)
        except (NotStored, TooManyDeals) as problem:
            return Reason(code="not_stored", text=f"{problem}: nothing has changed, say it again.")
        if deal.phase == "on":
            await self._settled(deal)
        return None

    async def _settled(self, deal: Deal) -> None:
        """The word that says so is there: from now on it holds. Done again after a crash it changes nothing."""
        if not self._restored or deal.phase != "on":
            return
        async with self._lock:
            if deal.id not in self.kept.taken:
                taken = (deal.id, *self.kept.taken)[:TALKS_KEPT]
                kept = replace(after(self.kept, deal.read(SetPreferences)), taken=taken)
                await self.state.put("preferences", kept)
                self.kept = kept
                self._mark()
                for act in self.on_change:
                    act()
                self.premises.changed()
        await self.deals.end(deal)

    def _forbidden(self, peer: Address, word: SetPreferences) -> Reason | None:
        for what in [f"preferences:{name}" for name in word.devices] or ["preferences"]:
            if not self.allowed(peer, word.user, what):
                text = f"{word.user} may not set {what} by {peer}: the household has to allow it first."
                return Reason(code="not_allowed", text=text, binding="access_control")
        if peer.role != BUILDING.name:
            return None
        empty = SetPreferences(user=word.user)
        own = [name for name in msgspec.structs.asdict(word) if name not in ("user", *_ORCHESTRATED)]
        if any(getattr(word, name) != getattr(empty, name) for name in own) or any(
            one.controlled is not None for one in word.devices.values()
        ):
            text = "Consents and the service are the household's own: it gives them at its own app."
            return Reason(code="not_allowed", text=text, binding="consent")
        return None

    def _known(self, word: SetPreferences) -> tuple[str, ...]:
        """Where another manager is at home, what we do not know may be its own."""
        others = tuple(word.devices) if self.peers.of(CEM) else ()
        return (*sorted(device.name for device in self.premises.devices.values()), *others)

    def _classes(self) -> dict[str, str]:
        return {device.name: device.announce.device_class for device in self.premises.devices.values()}

    # ---------------------------------------------------------------- what devices do about it

    def _effects(self, kept: Kept, word: SetPreferences) -> Iterator[tuple[str, str]]:
        """One sentence per device or party that the word reaches; a word that names nothing asks for all."""
        before, self.kept = self.kept, kept
        try:
            named = bool(word.devices or word.consents)
            for party, purposes in (self.consents if not named else word.consents or {}).items():
                yield party, f"may act for {', '.join(purposes)}" if purposes else "has no consent of yours any more"
            everybody = not named or any(
                value is not None for value in (word.season, word.vacation, word.service, word.plans)
            )
            for device in self.premises.devices.values():
                kind = device.announce.device_class
                if everybody or device.name in word.devices or kind in word.devices:
                    yield device.name, self._effect(device.name, kind)
        finally:
            self.kept = before

    def _effect(self, device: str, kind: str) -> str:
        if not self.controlled(device, kind):
            return "is not controlled: it is told nothing and does as it likes"
        if not self.service:
            return "the service is stopped: nothing automatic acts on it"
        parts = list(_in_words(self.of(device, kind)))
        if kind in HEATERS:
            if self.kept.vacation is not None:
                first, last = self.kept.vacation
                parts.append(f"not needed from {first} to {last}")
            if self.kept.season is not None:
                parts.append(f"runs as in {self.kept.season}, whatever the calendar says")
        if not parts:
            return "as the plan finds best"
        return ", ".join(parts)


def _in_words(wanted: DevicePreferences) -> Iterator[str]:
    w = wanted
    for value, text in (
        (w.ready_by, f"ready by {w.ready_by:%H:%M}" if w.ready_by else ""),
        (w.not_before, f"not before {w.not_before:%H:%M}" if w.not_before else ""),
        (w.target_c, f"kept at {w.target_c} degC"),
        (w.lowest_c, f"at least {w.lowest_c} degC"),
        (w.highest_c, f"at most {w.highest_c} degC"),
        (w.charge_lower_percent, f"charged to at least {w.charge_lower_percent} %"),
        (w.charge_upper_percent, f"charged to at most {w.charge_upper_percent} %"),
        (w.reserve_percent, f"{w.reserve_percent} % are kept in reserve"),
        (w.delay_at_most_s, f"delayed by at most {(w.delay_at_most_s or 0) / 3600:.1f} h"),
        (w.start_below_eur_per_kwh, f"starts below {w.start_below_eur_per_kwh} EUR/kWh"),
        (w.start_above_eur_per_kwh, f"starts above {w.start_above_eur_per_kwh} EUR/kWh"),
        (w.green_above_percent, f"starts above {w.green_above_percent} % of green power"),
        (w.incentive, f"follows what is {w.incentive}"),
        (w.from_grid, "may be filled from the grid" if w.from_grid else "is filled with own generation only"),
        (w.set_points, f"follows {len(w.set_points or ())} set points"),
        (w.plans_itself, "plans by itself" if w.plans_itself else "is planned for"),
    ):
        if value is not None:
            yield text


def _calendar(month: int) -> Season:
    """Meteorological seasons of the northern hemisphere: three whole months each."""
    seasons: tuple[Season, ...] = ("winter", "spring", "summer", "autumn")
    return seasons[month % 12 // 3]
