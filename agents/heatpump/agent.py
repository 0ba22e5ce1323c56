"""A heat pump's agent."""

from agents.heatpump.offers import OfferHeatPump
from agents.heatpump.terminals import HeatPumpSettings, HeatPumpTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.obey_hand import ObeyHand
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import HEATPUMP

AGENT = Agent(
    role=HEATPUMP,
    settings=HeatPumpSettings,
    skills=(ObeyOrders, ObeyGateway, SayReadings, AnswerStatus, ObeyHand, JoinHome, OfferHeatPump, *NEGOTIATION),
    resources=hardware(HeatPumpTerminals),
)
