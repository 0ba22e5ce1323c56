"""The retailer: prices energy and tells its customers, nobody else."""

from agents.kit.agent import Agent
from agents.kit.announce_tariffs import AnnounceTariffs
from agents.retailer.announce_day_ahead import AnnounceDayAhead
from agents.retailer.announce_real_time import AnnounceRealTime
from agents.retailer.ask_export import AskExportLess
from agents.retailer.compute_prices import ComputePrices
from agents.retailer.settings import RetailerSettings
from contracts.roles import RETAILER

AGENT = Agent(
    role=RETAILER,
    settings=RetailerSettings,
    skills=(ComputePrices, AnnounceTariffs, AnnounceDayAhead, AnnounceRealTime, AskExportLess),
)
