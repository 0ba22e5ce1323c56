"""A micro-CHP's or another generator's agent."""

from agents.fuelcell.terminals import FuelCellSettings, FuelCellTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.obey import ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import FUELCELL

AGENT = Agent(
    role=FUELCELL,
    settings=FuelCellSettings,
    skills=(ObeyOrders, SayReadings, AnswerStatus, JoinHome),
    resources=hardware(FuelCellTerminals),
)
