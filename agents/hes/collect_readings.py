"""The connection points every 10 s, three phases apart, into the database. NG-04."""

from dataclasses import dataclass, field

from agents.hes.database import Database
from agents.kit.skill import every, hears, skill, stopping
from bus.bus import Heard
from contracts.metering import GcpReading
from contracts.roles import METER


@skill(use_cases=("metering.gcp-push",))
@dataclass
class CollectReadings:
    """Stored in batches: telemetry may lose its last seconds, the load curve may not."""

    database: Database
    latest: dict[str, GcpReading] = field(default_factory=dict)
    _waiting: list[tuple[str, GcpReading]] = field(default_factory=list)

    @hears(GcpReading, of=(METER,), where="grid")
    def take(self, reading: GcpReading, heard: Heard) -> None:
        meter = str(heard.sender)
        known = self.latest.get(meter)
        if known is None or reading.at > known.at:
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
