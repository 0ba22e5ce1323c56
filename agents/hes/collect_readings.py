"""The connection points every 10 s, three phases apart, into the database. NG-04."""

import logging
from dataclasses import dataclass, field
from math import inf

from agents.hes.database import Database
from agents.kit.instants import believable, newer
from agents.kit.skill import every, hears, skill, stopping
from bus.bus import Heard
from bus.clock import Clock
from contracts.metering import GcpReading
from contracts.roles import METER

log = logging.getLogger("gridparley.hes")


@skill(use_cases=("metering.gcp-push",))
@dataclass
class CollectReadings:
    """Stored in batches: telemetry may lose its last seconds, the load curve may not.

    ``latest`` is the youngest of each meter. A reading of the future is no measurement: it counts for nothing, and does
    not take the place of the one that is really measured then. ``ahead``: meters whose last reading was one.
    """

    clock: Clock
    database: Database
    latest: dict[str, GcpReading] = field(default_factory=dict)
    ahead: set[str] = field(default_factory=set)
    _waiting: list[tuple[str, GcpReading]] = field(default_factory=list)

    @hears(GcpReading, of=(METER,), where="grid")
    def take(self, reading: GcpReading, heard: Heard) -> None:
        meter, at, now = str(heard.sender), reading.at.timestamp(), self.clock.now()
        if not believable(at, now):
            if meter not in self.ahead:  # once: whose clock is wrong says so every 10 s
                text = "%s dates its readings %.0f s ahead: none counts until its clock is right"
                log.warning(text, meter, at - now)
            self.ahead.add(meter)
            return
        self.ahead.discard(meter)
        known = self.latest.get(meter)
        if newer(at, -inf if known is None else known.at.timestamp(), now):
            self.latest[meter] = reading
        self._waiting.append((meter, reading))

    @every("store_every_s")
    def store(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.database.add_readings(waiting)

    @stopping
    async def store_the_rest(self) -> None:
        self.store()
