"""The agent of a washing machine, a dishwasher or a dryer."""

from agents.kit.agent import Agent
from agents.kit.ask_adapter import AskAdapter
from agents.kit.hardware import hardware
from agents.kit.join import JoinHome
from agents.kit.negotiation import NEGOTIATION
from agents.kit.obey import ObeyGateway, ObeyOrders
from agents.kit.obey_hand import ObeyHand
from agents.kit.readings import AnswerStatus, SayReadings
from agents.whitegoods.offers import OfferProgramme
from agents.whitegoods.run_programme import RunProgramme
from agents.whitegoods.terminals import WhitegoodsSettings, WhitegoodsTerminals
from contracts.roles import WHITEGOODS

AGENT = Agent(
    role=WHITEGOODS,
    settings=WhitegoodsSettings,
    skills=(
        ObeyOrders,
        ObeyGateway,
        SayReadings,
        RunProgramme,
        AnswerStatus,
        ObeyHand,
        JoinHome,
        OfferProgramme,
        *NEGOTIATION,
        AskAdapter,
    ),
    resources=hardware(WhitegoodsTerminals),
)
