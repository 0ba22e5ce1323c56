"""The aggregator: orders flexibility under contracts, and notes what homes offer."""

from agents.aggregator.give_orders import GiveOrders
from agents.aggregator.note_offers import NoteOffers
from agents.aggregator.settings import AggregatorSettings
from agents.kit.agent import Agent
from agents.kit.order_flexibility import OrderFlexibly
from contracts.roles import AGGREGATOR

AGENT = Agent(role=AGGREGATOR, settings=AggregatorSettings, skills=(OrderFlexibly, GiveOrders, NoteOffers))
