"""The head-end: collects what meters report and misses what they do not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from agents.hes.collect_load_curves import CollectLoadCurves
from agents.hes.collect_readings import CollectReadings
from agents.hes.collect_tou import CollectTou
from agents.hes.database import Database
from agents.hes.settings import HesSettings
from agents.hes.watch_reports import WatchReports
from agents.kit.agent import Agent
from bus.address import Address
from bus.clock import Clock
from contracts.roles import HES


@asynccontextmanager
async def open_database(
    settings: HesSettings, _address: Address, _clock: Clock
) -> AsyncIterator[Mapping[type, object]]:
    database = Database(settings.database)
    try:
        yield {Database: database}
    finally:
        database.close()


AGENT = Agent(
    role=HES,
    settings=HesSettings,
    skills=(CollectReadings, WatchReports, CollectLoadCurves, CollectTou),
    resources=open_database,
)
