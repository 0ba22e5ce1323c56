"""The CEM's tariff clock follows the meter's, never the reverse. IEC-WGSP2141, IEC-WGSP2142.

Way here is not instant: a stamp is at least as old as it took to arrive, so of several stamps the one that puts us the
furthest ahead is the truest, and nothing is corrected by less than what wires take.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.skill import every, hears, rejoined, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from contracts.kit import Lapsed
from contracts.metering import GcpReading
from contracts.reasons import Reason
from contracts.roles import METER
from contracts.tariff import AskTime, ClockAlarm, SyncTime, TimeIs, time_request

STAMPS = 6
"""Ordinary readings of the meter that a passive correction is made from."""
WIRE_WALL_S = 0.25
CHECK_EVERY_S = 60.0


@skill(opens=(time_request,), says_grid=(ClockAlarm,), use_cases=("tariffs.sync",))
@dataclass
class KeepTime:
    """``offset_s`` is what this clock was set by; ``on_set`` is called when it was."""

    bus: Bus
    clock: Clock
    address: Address
    settings: CemSettings
    peers: Peers
    offset_s: float = 0.0
    on_set: list[Callable[[], None]] = field(default_factory=list)
    _stamps: deque[float] = field(default_factory=lambda: deque(maxlen=STAMPS))
    _synced_at: float = float("-inf")
    _meter: Address | None = None

    def __post_init__(self) -> None:
        self._meter = next((peer for peer in self.peers.of(METER) if peer.site == self.address.site), None)

    def now(self) -> float:
        """The tariff's time."""
        return self.tariff_time(self.clock.now())

    def tariff_time(self, at: float) -> float:
        """An instant of our process's clock as the meter would say it."""
        return at + self.settings.clock_off_by_s + self.offset_s

    def own_time(self, tariff_at: float) -> float:
        """The reverse: when our process's clock will show it."""
        return tariff_at - self.settings.clock_off_by_s - self.offset_s

    @property
    def _tolerance_s(self) -> float:
        return max(self.settings.sync_tolerance_s, WIRE_WALL_S * self.clock.speed)

    @hears(GcpReading, of=(METER,), where="home")
    async def read_stamp(self, _reading: GcpReading, heard: Heard) -> None:
        """Passively: the meter's ordinary words carry its time. IEC-WGSP2141-0."""
        if heard.sender != self._meter:
            return
        self._stamps.append(heard.at - self.now())
        if len(self._stamps) == STAMPS:
            await self._correct(max(self._stamps))

    @hears(SyncTime, of=(METER,), where="addressed")
    async def be_set(self, word: SyncTime, heard: Heard) -> None:
        """The meter saw that we are out of step. IEC-WGSP2141-2."""
        if heard.sender == self._meter:
            await self._correct(word.meter_time.timestamp() - self.now())

    @started
    async def ask_at_start(self) -> None:
        """We may have been off for long. IEC-WGSP2141-1."""
        await self.ask()

    @rejoined
    async def ask_after_outage(self) -> None:
        await self.ask()

    @every(CHECK_EVERY_S)
    async def ask_when_due(self) -> None:
        if self.clock.now() - self._synced_at >= self.settings.sync_every_s:
            await self.ask()

    async def ask(self) -> None:
        """Ask the meter and set our clock by its answer. Silence changes nothing; we ask again when it is due."""
        if self._meter is None:
            return
        asked_at = self.clock.now()
        async with self.bus.talk(time_request, self._meter) as talk:
            await talk.say(AskTime(cem_time=instant(self.now())))
            match await talk.hear(TimeIs, Lapsed):
                case TimeIs(meter_time=meter_time):
                    middle = self.tariff_time((asked_at + self.clock.now()) / 2)
                    await self._correct(meter_time.timestamp() - middle)
                case Lapsed():
                    pass

    async def _correct(self, behind_s: float) -> None:
        """``behind_s``: how far the meter's clock is ahead of ours."""
        self._synced_at = self.clock.now()
        self._stamps.clear()
        if abs(behind_s) <= self._tolerance_s:
            return
        cem_time = self.now()
        self.offset_s += behind_s
        for act in self.on_set:
            act()
        if abs(behind_s) > max(self.settings.clock_alarm_s, self._tolerance_s):
            text = (
                f"The clock of {self.address} was {-behind_s:+.1f} s off the meter's, more than "
                f"{self.settings.clock_alarm_s:g} s; it was set. If this comes again, have the clock looked at."
            )
            inputs = {"off_by_s": -behind_s, "alarm_above_s": self.settings.clock_alarm_s}
            await self.bus.record(
                ClockAlarm(
                    meter_time=instant(cem_time + behind_s),
                    cem_time=instant(cem_time),
                    off_by_s=-behind_s,
                    reason=Reason(code="clock_off", text=text, binding="clock", inputs=inputs),
                )
            )
