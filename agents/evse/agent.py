"""A charging station's agent."""

from agents.evse.terminals import EvseSettings, EvseTerminals
from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from contracts.roles import EVSE

AGENT = Agent(
    role=EVSE,
    settings=EvseSettings,
    skills=(ObeyOrders, ObeyGateway, SayReadings, AnswerStatus, JoinHome),
    resources=hardware(EvseTerminals),
)
