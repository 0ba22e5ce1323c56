"""The forecaster: tells whoever asks what sun, wind, households and temperature will probably do."""

from agents.forecaster.answer_forecast import AnswerForecast
from agents.forecaster.settings import ForecasterSettings
from agents.kit.agent import Agent
from contracts.roles import FORECASTER

AGENT = Agent(role=FORECASTER, settings=ForecasterSettings, skills=(AnswerForecast,))
