"""Near-real-time blocks into the database. NG-05.

The bus acknowledges a block to its stream when ``take`` returns, and gives back after a crash what was not
acknowledged: so nothing is lost, and the database's key lets nothing in twice.
"""

import logging
import sqlite3
from dataclasses import dataclass

from agents.hes.database import Database
from agents.hes.settings import HesSettings
from agents.hes.watch_reports import WatchReports
from agents.kit.skill import every, hears, skill
from bus.bus import Heard
from bus.clock import Clock
from contracts.metering import NearRealTime
from contracts.roles import METER

log = logging.getLogger("gridparley.hes")
_DAY_S = 86_400.0


@skill(use_cases=("metering.nrtd",))
@dataclass
class CollectLoadCurves:
    """A database that does not take a block (disk full, locked) is tried until it does; the stream keeps it so long."""

    clock: Clock
    settings: HesSettings
    database: Database
    watch: WatchReports

    @hears(NearRealTime, of=(METER,), where="grid")
    async def take(self, block: NearRealTime, heard: Heard) -> None:
        meter = str(heard.sender)
        while True:
            try:
                added = self.database.add_block(meter, block)
                break
            except sqlite3.OperationalError as problem:
                log.error("block %d of %s waits: the database says %s", block.sequence, meter, problem)
                await self.clock.sleep(self.settings.store_every_s)
        if added:
            self.watch.block_stored(meter)

    @every(_DAY_S / 4)
    def forget(self) -> None:
        now = self.clock.now()
        self.database.forget(now - self.settings.keep_days * _DAY_S, now - self.settings.keep_readings_days * _DAY_S)
