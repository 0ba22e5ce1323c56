"""A battery's agent."""

from agents.battery.offers import OfferStorage
from agents.battery.terminals import BatterySettings, BatteryTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import BATTERY

AGENT = Agent(
    role=BATTERY,
    settings=BatterySettings,
    skills=(ObeyOrders, SayReadings, AnswerStatus, JoinHome, OfferStorage, *NEGOTIATION),
    resources=hardware(BatteryTerminals),
)
