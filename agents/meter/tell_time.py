"""The meter's time counts: told to the energy manager that asks, and to one that is out of step. IEC-WGSP2141."""

from dataclasses import dataclass, field

from agents.kit.skill import answers, hears, skill
from agents.meter.keep_bands import KeepBands
from agents.meter.settings import MeterSettings
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.roles import CEM
from contracts.system import Hello
from contracts.tariff import AskTime, SyncTime, TimeIs, time_request

WIRE_WALL_S = 0.25
"""A stamp may be so much older than its arrival without meaning anything; wires do not go faster with the clock."""


@skill(tells=((SyncTime, (CEM,)),), use_cases=("tariffs.sync",))
@dataclass
class TellTime:
    """Compares the stamps of the energy manager's regular words with our own clock."""

    bus: Bus
    clock: Clock
    address: Address
    settings: MeterSettings
    bands: KeepBands
    _pushed: dict[Address, tuple[float, float]] = field(default_factory=dict)
    """Energy manager -> how far it was off, and when it was told."""

    @answers(time_request)
    async def on_ask(self, talk: Talk, _ask: AskTime) -> None:
        await talk.say(TimeIs(meter_time=instant(self.clock.now()), register=self.bands.active))

    @hears(Hello, of=(CEM,), where="home")
    def compare(self, _hello: Hello, heard: Heard) -> None:
        """By the rule: beyond ``cem_off_by_s`` it is told, again only when that changes or after a while."""
        now = self.clock.now()
        off, wire = heard.at - now, WIRE_WALL_S * self.clock.speed
        rule = self.settings.cem_off_by_s
        if -(rule + wire) <= off <= rule:
            self._pushed.pop(heard.sender, None)
            return
        told_off, told_at = self._pushed.get(heard.sender, (float("inf"), float("-inf")))
        if abs(off - told_off) <= rule + wire and now - told_at < self.settings.sync_again_s:
            return
        self._pushed[heard.sender] = off, now
        self.bus.tell(heard.sender, SyncTime(meter_time=instant(now), cem_off_by_s=off))
