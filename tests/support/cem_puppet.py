"""A scripted CEM that speaks lawfully and obeys at once, and a feeder of such sites for the control room to guard.

The puppet is a real agent on the bus with its own rights; what it holds is in ``HELD`` so that a test's feeder can let
its site obey. What it said is on the bus.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from agents.kit.agent import Agent, Peers, Settings
from agents.kit.skill import answers, every, hears, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.emergency import (
    BeginEmergency,
    CommandTaken,
    ControlCommand,
    EmergencyConfirmed,
    EndEmergency,
    direct_control,
    emergency_begin,
    emergency_end,
)
from contracts.grid_state import AdjustmentAgreed, AdjustmentDeclined, AskAdjustment, load_request
from contracts.metering import AskPower, GcpReading, PowerIs, power_query
from contracts.power_limit import (
    Constraints,
    FailsafeAccepted,
    Heartbeat,
    LimitAccepted,
    LimitRefused,
    LimitState,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from contracts.roles import CEM, DSO
from tests.support.grid import Grid

HELD: dict[str, dict[str, float | None]] = defaultdict(dict)
"""Site -> direction -> the signed limit that it holds, None when lifted."""
WHY = Reason(code="puppet", text="A scripted partner says so.")


class PuppetSettings(Settings, frozen=True, kw_only=True):
    """``least_w``: consumption limits below are refused. ``helps``: agrees to what yellow asks for."""

    contract_w: float = 14_500.0
    nominal_production_w: float = 0.0
    minimum_w: float = 4_200.0
    least_w: float = 0.0
    helps: bool = False
    mute: bool = False
    heartbeat_s: float = 30.0


@skill(
    says_grid=(Constraints, LimitState),
    tells=((Heartbeat, (DSO,)),),
    use_cases=("limits.lpc",),
)
@dataclass
class Obey:
    bus: Bus
    clock: Clock
    settings: PuppetSettings
    peers: Peers
    address: Address
    held: dict[str, float | None] = field(init=False)

    def __post_init__(self) -> None:
        self.held = HELD[self.address.site]

    @started
    async def introduce(self) -> None:
        if self.settings.mute:
            return
        self.bus.say(
            Constraints(
                nominal_consumption_w=self.settings.contract_w,
                nominal_production_w=self.settings.nominal_production_w,
                contract_consumption_w=self.settings.contract_w,
                contract_production_w=self.settings.nominal_production_w,
                minimum_consumption_w=self.settings.minimum_w,
            ),
            home=False,
        )

    @every("heartbeat_s")
    def beat(self) -> None:
        if not self.settings.mute:
            for dso in self.peers.of(DSO):
                self.bus.tell(dso, Heartbeat(every_s=self.settings.heartbeat_s))

    @hears(Heartbeat, of=(DSO,), where="addressed")
    def hear(self, _beat: Heartbeat, _heard: Heard) -> None:
        """Real CEMs count these; the tests read them on the bus."""

    @answers(limit_write)
    async def limit(self, talk: Talk, asked: SetLimit) -> None:
        if asked.active and asked.limit_w is not None and 0 <= asked.limit_w < self.settings.least_w:
            reason = Reason(code="below_floor", text="Too low.", inputs={"floor_w": self.settings.least_w})
            await talk.say(LimitRefused(direction=asked.direction, reason=reason))
            return
        self.held[asked.direction] = asked.limit_w if asked.active else None
        await talk.say(LimitAccepted(direction=asked.direction, limit_w=self.held[asked.direction]))

    @answers(failsafe_write)
    async def failsafe(self, talk: Talk, _asked: SetFailsafe) -> None:
        await talk.say(FailsafeAccepted())

    @answers(load_request)
    async def help(self, talk: Talk, asked: AskAdjustment) -> None:
        if self.settings.helps:
            await talk.say(AdjustmentAgreed(change_w=asked.change_w / 2, reason=WHY))
        else:
            await talk.say(AdjustmentDeclined(reason=WHY))

    @answers(emergency_begin)
    async def begin(self, talk: Talk, _word: BeginEmergency) -> None:
        await talk.say(EmergencyConfirmed(change_w=-1000.0, exempt=("gas boiler",)))

    @answers(emergency_end)
    async def end(self, talk: Talk, _word: EndEmergency) -> None:
        await talk.say(EmergencyConfirmed())

    @answers(direct_control)
    async def command(self, talk: Talk, _word: ControlCommand) -> None:
        await talk.say(CommandTaken(reason=WHY))

    @answers(power_query)
    async def power(self, talk: Talk, _word: AskPower) -> None:
        await talk.say(PowerIs(at=instant(self.clock.now()), power_w=1234.0, quality="measured"))


PUPPET = Agent(role=CEM, settings=PuppetSettings, skills=(Obey,))


def reading(now: float, power_w: float, voltage_v: float = 230.0) -> GcpReading:
    """A balanced reading."""
    third = power_w / 3
    return GcpReading(
        at=instant(now),
        power_w=power_w,
        power_by_phase_w=(third, third, third),
        current_by_phase_a=(third / voltage_v,) * 3,
        voltage_by_phase_v=(voltage_v, 230.0, 230.0),
        frequency_hz=50.0,
        reactive_power_var=0.0,
        import_wh=0.0,
        export_wh=0.0,
    )


class Feeder:
    """Meters of sites and substation that push every 10 s of run time what the sites do under the limits they hold.

    ``wishes_w`` is what each site would do, signed; ``base_w`` what the substation sees besides.
    """

    def __init__(self, run: Grid) -> None:
        self.run = run
        self.wishes_w: dict[str, float] = {}
        self.base_w = 0.0
        self.voltage_v: dict[str, float] = {}
        self.measures = True
        self.peak_w = 0.0
        self._meters: dict[str, Bus] = {}

    async def connect(self, sites: tuple[str, ...]) -> None:
        for site in sites:
            self._meters[site] = await self.run.bus(f"{site}.meter.main")
        self._meters["grid"] = await self.run.bus("grid.meter.substation")

    def power_of(self, site: str) -> float:
        wish, held = self.wishes_w.get(site, 0.0), HELD[site]
        upper, lower = held.get("consumption"), held.get("production")
        wish = wish if upper is None else min(wish, upper)
        return wish if lower is None else max(wish, lower)

    @property
    def total_w(self) -> float:
        return self.base_w + sum(self.power_of(site) for site in self._meters if site != "grid")

    def push(self) -> None:
        now = self.run.clock.now()
        for site, meter in self._meters.items():
            if site == "grid" and not self.measures:
                continue
            power_w = self.total_w if site == "grid" else self.power_of(site)
            meter.say(reading(now, power_w, self.voltage_v.get(site, 230.0)), home=False)

    async def __call__(self) -> None:
        while True:
            self.push()
            await self.run.clock.sleep(10.0)


def forget_limits() -> None:
    """Puppets of an earlier test held something."""
    HELD.clear()
