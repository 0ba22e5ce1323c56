"""The forecaster: tells whoever asks what sun, wind, households and temperature will probably do."""

import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from agents.forecaster.answer_forecast import AnswerForecast
from agents.forecaster.settings import ForecasterSettings
from agents.kit.agent import Agent
from bus.address import Address
from bus.clock import Clock
from contracts.roles import FORECASTER


class NoSunModel(LookupError):
    """pvlib, which it computes with, is not installed."""

    def __init__(self, address: Address) -> None:
        super().__init__(
            f"{address} computes with pvlib, which is not installed here: run it in the image gridparley-world, or "
            "install gridparley[forecast]"
        )
        self.address = address


@asynccontextmanager
async def sun_model(
    _settings: ForecasterSettings, address: Address, _clock: Clock
) -> AsyncIterator[Mapping[type, object]]:
    """Fails at the start rather than at the first question. Raises NoSunModel."""
    if importlib.util.find_spec("pvlib") is None:
        raise NoSunModel(address)
    yield {}


AGENT = Agent(role=FORECASTER, settings=ForecasterSettings, skills=(AnswerForecast,), resources=sun_model)
