"""What every agent does: show that it is there, and acknowledge what its groups are told."""

from dataclasses import dataclass, field

from agents.kit.skill import every, hears, skill, started, stopping
from bus.address import Address
from bus.bus import Bus, Heard
from contracts.roles import DSO, HES
from contracts.system import GroupAcknowledged, GroupMessage, Hello, Refusal

SOFTWARE = "gridparley 0.1.0"
HELLO_EVERY_S = 60.0


@skill(says_home=(Hello,), says_grid=(Hello,))
@dataclass
class ShowPresence:
    """Say hello, again and again, and goodbye. Who misses it asks the server, which knows better."""

    bus: Bus
    address: Address
    use_cases: tuple[str, ...] = ()
    lag_s: float = 0.0
    refusals: list[Refusal] = field(default_factory=list)

    def _hello(self, leaving: bool) -> None:
        hello = Hello(
            role=self.address.role,
            software=SOFTWARE,
            use_cases=self.use_cases,
            every_s=HELLO_EVERY_S,
            leaving=leaving,
            clock_lag_s=self.lag_s,
        )
        self.bus.say(hello, home=True)
        self.bus.say(hello, home=False)

    @started
    async def arrive(self) -> None:
        self._hello(leaving=False)

    @every(HELLO_EVERY_S)
    def stay(self) -> None:
        self._hello(leaving=False)

    @stopping
    async def leave(self) -> None:
        self._hello(leaving=True)

    @hears(Refusal, where="addressed")
    def refused(self, refusal: Refusal, _heard: Heard) -> None:
        """Our word changed nothing over there. Kept for the operator; never answered."""
        self.refusals.append(refusal)
        del self.refusals[:-50]


@skill(tells=((GroupAcknowledged, (DSO, HES)),), use_cases=("ops.group-message",))
@dataclass
class AcknowledgeGroups:
    """Every member has a group's word once and says so, also when it was away as it was said. ETSI-5.3.4."""

    bus: Bus
    latest: dict[str, GroupMessage] = field(default_factory=dict)

    @hears(GroupMessage, of=(DSO, HES), where="addressed")
    async def acknowledge(self, message: GroupMessage, heard: Heard) -> None:
        assert heard.group is not None  # the servers let nobody say it outside of a group
        self.latest[heard.group] = message
        await self.bus.tell_durably(heard.sender, GroupAcknowledged(group=heard.group, of=heard.id))
