"""Object models of appliance types for the adapters of the homes. ETSI-5.3.1."""

import logging
from dataclasses import dataclass

import anyio

from agents.esp.settings import EspSettings, Model
from agents.kit.agent import Peers
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import settles, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.own_plans import ModelRefused, ModelTaken, PublishModel, model_download
from contracts.roles import GATEWAY

log = logging.getLogger("gridparley.esp")
KEPT_S = 365 * 86_400.0


@skill(opens=(model_download,), use_cases=("home.dr-adapter",))
@dataclass
class PublishModels:
    """Each adapter gets each model once; a new version is published anew."""

    bus: Bus
    clock: Clock
    settings: EspSettings
    peers: Peers
    deals: Deals

    @started
    async def publish(self) -> None:
        async with anyio.create_task_group() as group:
            for gateway in self.peers.of(GATEWAY):
                if not self.settings.sites or gateway.site in self.settings.sites:
                    for model in self.settings.models:
                        group.start_soon(self._until_taken, gateway, model)

    def _has(self, gateway: Address, model: Model) -> bool:
        taken = (d.read(PublishModel) for d in self.deals.standing(model_download) if d.peer == gateway)
        return any((word.kind, word.version) == (model.kind, model.version) for word in taken)

    async def _until_taken(self, gateway: Address, model: Model) -> None:
        while not self._has(gateway, model):
            if await self._publish(gateway, model):
                return
            await self.clock.sleep(self.settings.retry_s)

    async def _publish(self, gateway: Address, model: Model) -> bool:
        """False: nobody answered, so it is tried again. A refusal is an answer."""
        word = PublishModel(kind=model.kind, version=model.version, sequences=model.sequences, avoid=model.avoid)
        async with self.bus.talk(model_download, gateway) as talk:
            try:
                await self.deals.open(talk, word, until=self.clock.now() + KEPT_S)
                await talk.say(word)
            except (NotStored, TooManyDeals) as problem:
                log.info("%s was not told of %s: %s", gateway, model.kind, problem)
                return False
            match await talk.hear(ModelTaken, ModelRefused, Lapsed):
                case ModelTaken():
                    return True
                case ModelRefused(reason=reason):
                    log.info("%s does not take %s: %s", gateway, model.kind, reason.text)
                    await self.deals.end(talk)
                    return True
                case Lapsed():
                    return False

    @settles(model_download)
    async def on_taken(self, word: ModelTaken, heard: Heard) -> None:
        deal = await self.deals.honour(word, heard)
        published = deal.read(PublishModel)
        for earlier in self.deals.standing(model_download):
            same = earlier.peer == deal.peer and earlier.read(PublishModel).kind == published.kind
            if same and earlier.id != deal.id:
                await self.deals.end(earlier)
