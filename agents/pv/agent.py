"""A PV inverter's agent."""

from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from agents.pv.offers import OfferLess
from agents.pv.terminals import PvSettings, PvTerminals
from contracts.roles import PV

AGENT = Agent(
    role=PV,
    settings=PvSettings,
    skills=(ObeyOrders, SayReadings, AnswerStatus, JoinHome, OfferLess, *NEGOTIATION),
    resources=hardware(PvTerminals),
)
