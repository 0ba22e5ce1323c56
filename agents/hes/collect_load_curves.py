"""Near-real-time blocks from the stream into the database, in order, acknowledged once they are on the disk. NG-05."""

import logging
from dataclasses import dataclass, field

import anyio
import msgspec

from agents.hes.database import Database
from agents.hes.settings import HesSettings
from agents.hes.watch_reports import WatchReports
from agents.kit.skill import every, hears, rejoined, skill, started
from bus import store
from bus.address import parse
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import decoder
from bus.transport import NotStored
from contracts.kit import word_of
from contracts.metering import NearRealTime
from contracts.roles import METER

log = logging.getLogger("gridparley.hes")
_DAY_S = 86_400.0


@skill(use_cases=("metering.nrtd",))
@dataclass
class CollectLoadCurves:
    """Hearing a block live only says that there is something to read: the stream alone is believed."""

    bus: Bus
    clock: Clock
    settings: HesSettings
    database: Database
    watch: WatchReports
    unreadable: int = 0
    _news: anyio.Event = field(default_factory=anyio.Event)

    @hears(NearRealTime, of=(METER,), where="grid")
    def wake(self, _block: NearRealTime, _heard: Heard) -> None:
        self._news.set()

    @every("read_every_s")
    def wake_regularly(self) -> None:
        self._news.set()

    @rejoined
    async def wake_again(self) -> None:
        self._news.set()

    @started
    async def read_stream(self) -> None:
        """The only reader of our consumer."""
        while True:
            self._news = anyio.Event()
            try:
                await self.read_all()
            except NotStored as problem:
                log.warning("the load curves wait in their stream: %s", problem)
            await self._news.wait()

    async def read_all(self) -> None:
        """Take everything that is not acknowledged yet. Raises NotStored."""
        name = store.consumer_name(self.bus.address)
        async for subject, payload in store.missed(self.bus.connection, store.RECORDS, name, self.bus.hub):
            # The stream is told that we have it only when it is asked for the next one.
            self._take(subject, payload)

    def _take(self, subject: str, payload: bytes) -> None:
        parsed = parse(subject)
        if parsed is None or parsed.word != word_of(NearRealTime) or parsed.sender.role != METER.name:
            return
        try:
            block: NearRealTime = decoder(NearRealTime).decode(payload).body
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            # Kept as a dead letter: read again it would not become readable, and it must not hold up the others.
            self.unreadable += 1
            store.dead_letter(
                self.bus.connection,
                self.bus.address,
                self.clock.now(),
                subject,
                "undecodable",
                str(problem),
                payload,
            )
            return
        meter = str(parsed.sender)
        if self.database.add_block(meter, block):
            self.watch.block_stored(meter)

    @every(_DAY_S / 4)
    def forget(self) -> None:
        now = self.clock.now()
        self.database.forget(now - self.settings.keep_days * _DAY_S, now - self.settings.keep_readings_days * _DAY_S)
