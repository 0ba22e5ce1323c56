"""A water heater's agent."""

from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.obey_hand import ObeyHand
from agents.kit.offer_heat import OfferHeat
from agents.kit.readings import AnswerStatus, SayReadings
from agents.waterheater.terminals import WaterHeaterSettings, WaterHeaterTerminals
from contracts.roles import WATERHEATER

AGENT = Agent(
    role=WATERHEATER,
    settings=WaterHeaterSettings,
    skills=(ObeyOrders, ObeyGateway, SayReadings, AnswerStatus, ObeyHand, JoinHome, OfferHeat, *NEGOTIATION),
    resources=hardware(WaterHeaterTerminals),
)
