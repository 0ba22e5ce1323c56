"""A missing report is flagged, looked into, and cleared when it is back. ENA-07, alternative flow."""

from dataclasses import dataclass, field

import anyio

from agents.hes.database import Database, Flag
from agents.hes.settings import HesSettings
from agents.kit.agent import Peers
from agents.kit.instants import AHEAD_S
from agents.kit.skill import every, restores, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.metering import CheckMeter, MeterStatus, ReportMissing, meter_check
from contracts.roles import METER


def gap_text(gaps: list[tuple[int, int, float]]) -> str:
    """Which blocks are missing, for people."""
    parts = [str(first) if first == last else f"{first} to {last}" for first, last, _ in gaps]
    return f"missing blocks: {', '.join(parts)}"


def status_text(status: MeterStatus) -> str:
    """What the meter says of itself, for people."""
    device = "its device answers" if status.device_answers else "its device does not answer"
    seen = "never" if status.last_reading_at is None else status.last_reading_at.isoformat()
    return f"the meter answers, {device}; last reading {seen}; next block {status.next_sequence}. {status.reason.text}"


@skill(says_grid=(ReportMissing,), opens=(meter_check,), use_cases=("metering.nrtd",))
@dataclass
class WatchReports:
    """Overdue: no block for too long. Gap: a number was left out. Both are one flag per meter."""

    bus: Bus
    clock: Clock
    settings: HesSettings
    peers: Peers
    database: Database
    flags: dict[str, Flag] = field(default_factory=dict)
    _since: float = 0.0
    _checked: dict[str, float] = field(default_factory=dict)
    _dirty: dict[str, None] = field(default_factory=dict)
    _gaps: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)

    @restores
    async def take_up(self) -> None:
        self.flags = self.database.flags()
        # While we were away nobody could report to us: what waits in the stream gets the time to be read.
        self._since = self.clock.now()

    def block_stored(self, meter: str) -> None:
        """A new block is on the disk; its meter is judged in the next round."""
        self._dirty[meter] = None

    @every("store_every_s")
    def judge_news(self) -> None:
        """Gaps need not wait for the next check."""
        dirty, self._dirty = self._dirty, {}
        for meter in dirty:
            self._gaps[meter] = self.database.gaps(meter)
            self._judge(meter, self.clock.now())

    @every("check_every_s")
    async def check(self) -> None:
        """Every known meter; those that are flagged are asked what the matter is."""
        now = self.clock.now()
        for meter in {*map(str, self.peers.of(METER)), *self.database.meters()}:
            self._judge(meter, now)
        due = [m for m in self.flags if now - self._checked.get(m, -1e18) >= self.settings.check_again_s]
        async with anyio.create_task_group() as group:
            for meter in due:
                self._checked[meter] = now
                group.start_soon(self._look_into, meter)

    def _judge(self, meter: str, now: float) -> None:
        last = self.database.last_block(meter, now + AHEAD_S)
        if meter not in self._gaps:
            self._gaps[meter] = self.database.gaps(meter)
        gaps = self._gaps[meter]
        last_end = last.end if last is not None else self._since
        overdue = now - max(last_end, self._since) > self.settings.overdue_after_s
        finding = "; ".join([*(["no report"] if overdue else []), *([gap_text(gaps)] if gaps else [])])
        known = self.flags.get(meter)
        if finding:
            if known is None or known.finding != finding:
                self._raise(Flag(meter, last_end if overdue else gaps[0][2], finding))
        elif known is not None and last_end > known.missing_since:
            # Only a block clears a flag: a head-end that was just started has not missed anything yet.
            self._clear(known)

    def _raise(self, flag: Flag) -> None:
        self.flags[flag.meter] = flag
        self.database.raise_flag(flag)
        self._say(flag, cleared=False)

    def _clear(self, flag: Flag) -> None:
        del self.flags[flag.meter]
        self._checked.pop(flag.meter, None)
        self.database.clear_flag(flag.meter)
        self._say(flag, cleared=True)

    def _say(self, flag: Flag, *, cleared: bool) -> None:
        self.bus.say(
            ReportMissing(
                meter=flag.meter,
                missing_since=instant(flag.missing_since),
                cleared=cleared,
                finding="the reports are complete again" if cleared else flag.finding,
            ),
            home=False,
        )

    async def _look_into(self, meter: str) -> None:
        flag = self.flags.get(meter)
        if flag is None:
            return
        try:
            async with self.bus.talk(meter_check, Address.parse(meter)) as talk:
                await talk.say(CheckMeter(missing_since=instant(flag.missing_since)))
                match await talk.hear(MeterStatus, Lapsed):
                    case MeterStatus() as status:
                        finding = status_text(status)
                    case Lapsed():
                        finding = "the meter does not answer: its agent, its server or the link to it is down"
        except NotStored as problem:
            finding = str(problem)
        if self.flags.get(meter) == flag:
            self._say(Flag(meter, flag.missing_since, f"{flag.finding}; {finding}"), cleared=False)
