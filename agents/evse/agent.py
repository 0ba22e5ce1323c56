"""A charging station's agent."""

from agents.evse.offers import OfferCharge
from agents.evse.terminals import EvseSettings, EvseTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import EVSE

AGENT = Agent(
    role=EVSE,
    settings=EvseSettings,
    skills=(ObeyOrders, ObeyGateway, SayReadings, AnswerStatus, JoinHome, OfferCharge, *NEGOTIATION),
    resources=hardware(EvseTerminals),
)
