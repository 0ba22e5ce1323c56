"""The energy service provider: shapes tariffs and the power that is possible at connection points."""

from agents.esp.answer_questions import AnswerQuestions
from agents.esp.ask_sites import AskSites
from agents.esp.make_tariff import MakeTariff
from agents.esp.publish_models import PublishModels
from agents.esp.send_envelope import SendEnvelope
from agents.esp.settings import EspSettings
from agents.esp.shave_peaks import ShavePeaks
from agents.kit.agent import Agent
from agents.kit.announce_tariffs import AnnounceTariffs
from agents.kit.order_flexibility import OrderFlexibly
from contracts.roles import ESP

AGENT = Agent(
    role=ESP,
    settings=EspSettings,
    skills=(
        AskSites,
        SendEnvelope,
        OrderFlexibly,
        AnnounceTariffs,
        MakeTariff,
        ShavePeaks,
        AnswerQuestions,
        PublishModels,
    ),
)
