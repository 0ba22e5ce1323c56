"""Readings of time-of-use registers into the database. ENA-08-01 step 3: the operator receives and loads them."""

import logging
import sqlite3
from dataclasses import dataclass

from agents.hes.database import Database
from agents.hes.settings import HesSettings
from agents.kit.skill import hears, skill
from bus.bus import Heard
from bus.clock import Clock
from contracts.roles import METER
from contracts.tariff import TouReading

log = logging.getLogger("gridparley.hes")


@skill(use_cases=("tariffs.tou-registers",))
@dataclass
class CollectTou:
    """As load curves: what the database does not take yet is tried until it does, and the stream keeps it so long."""

    clock: Clock
    settings: HesSettings
    database: Database

    @hears(TouReading, of=(METER,), where="grid")
    async def take(self, reading: TouReading, heard: Heard) -> None:
        while True:
            try:
                self.database.add_tou(str(heard.sender), reading)
                return
            except sqlite3.OperationalError as problem:
                log.error("reading %d of %s waits: the database says %s", reading.sequence, heard.sender, problem)
                await self.clock.sleep(self.settings.store_every_s)
