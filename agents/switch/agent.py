"""The agent of a relay channel, a smart plug or a light."""

from agents.kit.agent import Agent
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.readings import AnswerStatus, SayReadings
from agents.switch.give_back import GiveBack
from agents.switch.offers import OfferSwitching
from agents.switch.terminals import SwitchSettings, SwitchTerminals
from contracts.roles import SWITCH

AGENT = Agent(
    role=SWITCH,
    settings=SwitchSettings,
    skills=(ObeyOrders, ObeyGateway, SayReadings, GiveBack, AnswerStatus, JoinHome, OfferSwitching, *NEGOTIATION),
    resources=hardware(SwitchTerminals),
)
