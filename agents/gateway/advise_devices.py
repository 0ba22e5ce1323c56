"""The adapter between supplier and appliances: it stores prices, and tells appliances when to run. ETSI-5.3.1.

Its control software (object models and the offline profile) is changed by the energy service provider alone: no device
has a word for it, and what comes from elsewhere is not answered.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from agents.gateway.options import options
from agents.gateway.relay_emergency import GatewaySettings
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.offered_tariffs import Offer, OfferedTariffs
from agents.kit.skill import answers, restores, skill
from bus.address import Address
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.own_plans import (
    AskOptions,
    ModelRefused,
    ModelTaken,
    NoOptions,
    OptionChosen,
    OptionsAre,
    OptionsDeclined,
    PublishModel,
    RunOption,
    device_options,
    model_download,
)
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, TariffRefused, tariff_notice

KEPT_S = 3600.0
PRICED = ("energy", "grid_fee", "levy")


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """All that the adapter knows, over restarts. ``tariffs`` by issuer and component."""

    tariffs: dict[str, tuple[PriceSlot, ...]] = msgspec.field(default_factory=dict)
    models: dict[str, PublishModel] = msgspec.field(default_factory=dict)
    chosen: dict[str, OptionChosen] = msgspec.field(default_factory=dict)


def merged(before: tuple[PriceSlot, ...], word: AnnounceTariff, now: float) -> tuple[PriceSlot, ...]:
    """The issuer's own earlier slots give way where they overlap; what is over is dropped."""
    first = min((s.start.timestamp() for s in word.slots), default=now)
    last = max((s.start.timestamp() + s.duration_s for s in word.slots), default=now)
    kept = [
        s
        for s in before
        if s.start.timestamp() + s.duration_s > now
        and (s.start.timestamp() + s.duration_s <= first or s.start.timestamp() >= last)
    ]
    return tuple(sorted((*kept, *word.slots), key=lambda s: s.start))


@skill(use_cases=("home.dr-adapter",))
@dataclass
class AdviseDevices:
    """Prices in, options out."""

    address: Address
    clock: Clock
    state: State
    settings: GatewaySettings
    deals: Deals
    stored: Stored = field(default_factory=Stored)
    _restored: bool = False

    def __post_init__(self) -> None:
        self._offered = OfferedTariffs(self.state, self.deals, self.clock)
        self.deals.on_settled(tariff_notice, self._tariff_settled)
        self.deals.on_settled(model_download, self._model_settled)

    @restores
    async def restore(self) -> None:
        self.stored = await self.state.get("adapter", Stored) or Stored()
        self._restored = True
        for offer in await self._offered.restore():
            await self._use(offer)
        for deal in self.deals.standing(model_download):
            await self._model_settled(deal)

    async def _keep(self, stored: Stored) -> None:
        await self.state.put("adapter", stored)
        self.stored = stored

    # ------------------------------------------------------------ prices

    async def on_tariff(self, talk: Talk, word: AnnounceTariff) -> None:
        """Called by who relays prices, where there is nobody to relay them to."""
        if any(slot.duration_s <= 0 for slot in word.slots):
            reason = Reason(code="no_duration", text="every slot has to last: give each a duration above 0")
            await talk.say(TariffRefused(tariff=word.tariff, reason=reason))
            return
        made = await self._offered.take(talk, word, word.issuer or str(talk.peer))
        if isinstance(made, Reason):
            await talk.say(TariffRefused(tariff=word.tariff, reason=made))
            return
        await self._tariff_settled(made)

    async def _tariff_settled(self, deal: Deal) -> None:
        offer = self._offered.settled(deal)
        if offer is not None:
            await self._use(offer)

    async def _use(self, offer: Offer) -> None:
        await self.keep_prices(offer.word, offer.issuer)
        await self._offered.forget()

    async def keep_prices(self, word: AnnounceTariff, issuer: str) -> None:
        """Raises NotStored."""
        if word.component in PRICED:
            key = f"{issuer}/{word.component}"
            slots = merged(self.stored.tariffs.get(key, ()), word, self.clock.now())
            await self._keep(msgspec.structs.replace(self.stored, tariffs={**self.stored.tariffs, key: slots}))

    def prices(self) -> tuple[PriceSlot, ...]:
        """The stack, where every component that is known says something; cut at every edge."""
        stack = [slots for slots in self.stored.tariffs.values() if slots]
        edges = sorted({t for slots in stack for s in slots for t in _edges(s)})
        made = []
        for start, end in pairwise(edges):
            parts = [next((s for s in slots if _edges(s)[0] <= start < _edges(s)[1]), None) for slots in stack]
            there = [part for part in parts if part is not None]
            if len(there) == len(stack):
                green = next((part.green_percent for part in there if part.green_percent is not None), None)
                price = sum(part.price_eur_per_kwh for part in there)
                made.append(
                    msgspec.structs.replace(
                        there[0],
                        start=instant(start),
                        duration_s=end - start,
                        price_eur_per_kwh=price,
                        green_percent=green,
                    )
                )
        return tuple(made)

    # ------------------------------------------------------------ appliances

    @answers(device_options)
    async def on_question(self, talk: Talk, asked: AskOptions) -> None:
        found = self._options(asked)
        if isinstance(found, Reason):
            await talk.say(NoOptions(reason=found))
            return
        choices, offline = found
        await talk.say(OptionsAre(options=choices, offline=offline))
        match await talk.hear(OptionChosen, OptionsDeclined, Lapsed):
            case OptionChosen() as chosen:
                with suppress(NotStored):
                    taken = {**self.stored.chosen, str(talk.peer): chosen}
                    await self._keep(msgspec.structs.replace(self.stored, chosen=taken))
            case OptionsDeclined() | Lapsed():
                pass

    def _options(self, asked: AskOptions) -> tuple[tuple[RunOption, ...], bool] | Reason:
        model = self.stored.models.get(asked.kind)
        if asked.kind and model is None and asked.kind not in self.settings.known_kinds:
            text = f"{asked.kind} is no type that this adapter knows: its object model has to be published first"
            return Reason(code="unknown_kind", text=text)
        avoid = model.avoid if model is not None and model.avoid else self.settings.avoid_hours
        sequence = asked.sequence
        if not sequence.slots and model is not None:
            sequence = next((s for s in model.sequences if s.name == asked.job), sequence)
        if not sequence.slots:
            return Reason(code="no_profile", text=f"{asked.job} has no profile, neither from it nor from its model")
        question = msgspec.structs.replace(asked, sequence=sequence)
        now, most = self.clock.now(), self.settings.options_at_most
        return options(question, self.prices(), avoid, self.settings.time_zone, now, most)

    # ------------------------------------------------------------ its own software

    @answers(model_download)
    async def on_model(self, talk: Talk, word: PublishModel) -> None:
        before = self.stored.models.get(word.kind)
        if before is not None and word.version < before.version:
            text = f"version {before.version} of {word.kind} is in use: {word.version} is older"
            await talk.say(ModelRefused(reason=Reason(code="older", text=text)))
            return
        if any(not 0 <= hour < 24 for hour in word.avoid):
            await talk.say(ModelRefused(reason=Reason(code="bad_hours", text="hours to avoid are 0 to 23")))
            return
        taken = ModelTaken(kind=word.kind, version=word.version)
        try:
            deal = await self.deals.close(talk, taken, word, until=self.clock.now() + KEPT_S)
        except (NotStored, TooManyDeals) as problem:
            await talk.say(ModelRefused(reason=Reason(code="not_stored", text=str(problem))))
            return
        await self._model_settled(deal)

    async def _model_settled(self, deal: Deal) -> None:
        if deal.phase != "on" or not self._restored:
            return
        word = deal.read(PublishModel)
        before = self.stored.models.get(word.kind)
        if before is None or before.version <= word.version:
            await self._keep(msgspec.structs.replace(self.stored, models={**self.stored.models, word.kind: word}))
        await self.deals.end(deal)


def _edges(slot: PriceSlot) -> tuple[float, float]:
    start = slot.start.timestamp()
    return start, start + slot.duration_s
