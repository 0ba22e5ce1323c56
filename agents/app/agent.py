"""The consumer's display, and the consumer's own word."""

from agents.app.accept_runs import AcceptRuns
from agents.app.alert_price import AlertPrice
from agents.app.answer_proposal import AnswerProposal
from agents.app.ask_home import AskHome
from agents.app.push_message import PushMessage
from agents.app.settings import AppSettings
from agents.app.show import Show
from agents.app.show_schedule import ShowJobs
from agents.app.take_tariff import ShowTariff
from agents.kit.agent import Agent
from agents.kit.hold_tariffs import HoldTariffs
from contracts.roles import APP

AGENT = Agent(
    role=APP,
    settings=AppSettings,
    skills=(Show, ShowJobs, PushMessage, AskHome, AnswerProposal, AcceptRuns, HoldTariffs, ShowTariff, AlertPrice),
)
