"""What households offer after their users agreed to a plan. IC-PT-HLUC1-PUC2."""

from dataclasses import dataclass, field

from agents.aggregator.settings import AggregatorSettings
from agents.kit.skill import answers, restores, skill
from bus.address import Address
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.reasons import Reason
from contracts.site_power import OfferDeclined, OfferNoted, OfferToProvider, provider_offer


@skill(use_cases=("home.propose-confirm",))
@dataclass
class NoteOffers:
    """The newest offer of each home, over restarts."""

    state: State
    settings: AggregatorSettings
    offers: dict[str, OfferToProvider] = field(default_factory=dict)

    @restores
    async def restore(self) -> None:
        self.offers = await self.state.get("offers", dict[str, OfferToProvider]) or {}

    @answers(provider_offer)
    async def on_offer(self, talk: Talk, offer: OfferToProvider) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        wrong = self._objection(offer) or await self._keep(peer, offer)
        await talk.say(OfferNoted() if wrong is None else OfferDeclined(reason=wrong))

    def _objection(self, offer: OfferToProvider) -> Reason | None:
        most, price = self.settings.buys_up_to_eur_per_kwh, offer.price_eur_per_kwh
        if not offer.less and not offer.more:
            return Reason(code="nothing_offered", text="The offer names nothing that could be less or more.")
        if most is not None and price is not None and price > most:
            text = f"{price:.2f} EUR/kWh is above what is paid here: offer at most {most:.2f}."
            return Reason(code="too_dear", text=text, inputs={"price_eur_per_kwh": price, "most_eur_per_kwh": most})
        return None

    async def _keep(self, peer: Address, offer: OfferToProvider) -> Reason | None:
        offers = {**self.offers, str(peer): offer}
        try:
            await self.state.put("offers", offers)
        except NotStored as problem:
            return Reason(code="not_stored", text=f"{problem}: offer it again.")
        self.offers = offers
        return None
