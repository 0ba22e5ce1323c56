"""An air conditioner's agent."""

from agents.hvac.terminals import HvacSettings, HvacTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.obey_hand import ObeyHand
from agents.kit.offer_heat import OfferHeat
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import HVAC

AGENT = Agent(
    role=HVAC,
    settings=HvacSettings,
    skills=(ObeyOrders, ObeyGateway, SayReadings, AnswerStatus, ObeyHand, JoinHome, OfferHeat, *NEGOTIATION),
    resources=hardware(HvacTerminals),
)
