"""A micro-CHP's or another generator's agent."""

from agents.fuelcell.offers import OfferModes
from agents.fuelcell.terminals import FuelCellSettings, FuelCellTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import FUELCELL

AGENT = Agent(
    role=FUELCELL,
    settings=FuelCellSettings,
    skills=(ObeyOrders, SayReadings, AnswerStatus, JoinHome, OfferModes, *NEGOTIATION),
    resources=hardware(FuelCellTerminals),
)
