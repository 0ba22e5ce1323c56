"""A submeter's agent."""

from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.obey import ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from agents.submeter.terminals import SubmeterSettings, SubmeterTerminals
from contracts.roles import SUBMETER

AGENT = Agent(
    role=SUBMETER,
    settings=SubmeterSettings,
    skills=(ObeyOrders, SayReadings, AnswerStatus, JoinHome),
    resources=hardware(SubmeterTerminals),
)
