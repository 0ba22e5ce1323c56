"""The consumer's display."""

from agents.app.push_message import PushMessage
from agents.app.settings import AppSettings
from agents.app.show import Show
from agents.kit.agent import Agent
from contracts.roles import APP

AGENT = Agent(role=APP, settings=AppSettings, skills=(Show, PushMessage))
