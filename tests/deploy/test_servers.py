"""Servers, links, identities and rights of a topology, on real servers."""

import json
import os
import signal
from dataclasses import dataclass, field

import anyio
import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, hears, skill
from bus import store
from bus.address import Address, say
from bus.bus import Bus, Heard
from bus.nkeys import KeyPair
from bus.store import NotStored
from bus.talk import Talk
from bus.transport import BusUnavailable, Connection
from contracts.device import DeviceReading, power_control
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, LimitState, SetLimit, limit_write
from contracts.reasons import Reason
from contracts.roles import CEM, DSO, EVSE
from contracts.system import GroupAcknowledged, GroupMessage
from deploy.nats.provision import consumers, provision
from deploy.nats.servers import nats_server
from deploy.permissions import Permissions
from deploy.roster import Roster
from deploy.topology import HUB, load
from tests.support.grid import START, Grid, Words, eventually, grid

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
WHY = Reason(code="test", text="a test")
LIMIT = SetLimit(direction="consumption", active=True, limit_w=4200.0, reason=WHY)
STATE = LimitState(
    state="init", since=START, consumption_w=None, production_w=None, heartbeat_age_s=None, guard=None, reason=WHY
)
SPEED = 1.0
"""Slow enough that no talk lapses on a busy machine."""
DSO_AT, CEM_AT, EVSE_AT = "grid.dso.north", "h07.cem.main", "h07.evse.1"


class Nothing(Settings, frozen=True, kw_only=True):
    """No settings."""


@skill(opens=(limit_write,), tells=((Heartbeat, (CEM,)),), speaks_to_groups=True)
@dataclass
class Guard:
    states: list[Address] = field(default_factory=list)

    @hears(GroupAcknowledged, of=(CEM,), where="addressed")
    def acknowledged(self, _word: GroupAcknowledged, _heard: Heard) -> None: ...

    @hears(LimitState, of=(CEM,), where="grid")
    def state(self, _state: LimitState, heard: Heard) -> None:
        self.states.append(heard.sender)


@skill(opens=(power_control,), says_grid=(LimitState,))
@dataclass
class Obey:
    bus: Bus
    limits: list[float | None] = field(default_factory=list)

    @answers(limit_write)
    async def obey(self, talk: Talk, opening: SetLimit) -> None:
        self.limits.append(opening.limit_w)
        await self.bus.state.put("limit", opening.limit_w)
        await talk.say(LimitAccepted(direction=opening.direction, limit_w=opening.limit_w))

    @hears(DeviceReading, of=(EVSE,), where="home")
    def reading(self, _reading: DeviceReading, _heard: Heard) -> None: ...

    @hears(Heartbeat, of=(DSO,), where="addressed")
    def beat(self, _beat: Heartbeat, _heard: Heard) -> None: ...


@skill(says_home=(DeviceReading,))
@dataclass
class Charge:
    bus: Bus

    @answers(power_control)
    async def charge(self, _talk: Talk, _opening: object) -> None: ...


AGENTS = {
    "dso": Agent(role=DSO, settings=Nothing, skills=(Guard,)),
    "cem": Agent(role=CEM, settings=Nothing, skills=(Obey,)),
    "evse": Agent(role=EVSE, settings=Nothing, skills=(Charge,)),
}


async def ask(dso: Bus, limit: SetLimit = LIMIT, who: str = CEM_AT) -> object:
    async with dso.talk(limit_write, Address.parse(who)) as talk:
        await talk.say(limit)
        return await talk.hear(LimitAccepted, LimitRefused, Lapsed)


def refusals(run: Grid, *buses: Bus) -> list[str]:
    return [text for bus in buses for text in bus.connection.refused]


async def test_a_limit_reaches_the_site_and_its_answer_the_grid_side() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS, speed=SPEED) as run:
        dso, cem = await run.start(DSO_AT), await run.start(CEM_AT)
        words = await run.words()
        assert isinstance(await ask(dso), LimitAccepted)
        await words.until(lambda heard: heard.of("limit_accepted"))
        assert [s for s, _ in words.of("set_limit")] == [f"to.{CEM_AT}.{DSO_AT}.power_limit.1.set_limit"]
        assert refusals(run, dso, cem) == []


async def test_what_was_said_while_the_agent_was_down_is_read_once_when_it_is_back() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS, speed=SPEED) as run:
        dso = await run.start(DSO_AT)
        async with dso.talk(limit_write, Address.parse(CEM_AT)) as talk:
            await talk.say(LIMIT)
            cem = await run.start(CEM_AT)
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)
        with anyio.fail_after(60):
            while await unread(run, "hub", "TALKS", "h07-cem-main"):  # acknowledged at the hub, through the link
                await cem.catch_up()
        await run.stop(CEM_AT)
        words = await run.words()
        again = await run.start(CEM_AT)
        assert await again.state.get("limit", float) == 4200.0
        assert words.of("limit_accepted") == []
        assert refusals(run, dso, cem, again) == []


READING = DeviceReading(
    at=START, power_w=0.0, power_by_phase_w=(0.0, 0.0, 0.0), operating="idle", lower_w=0.0, upper_w=0.0
)


async def test_words_of_the_home_never_cross_the_link() -> None:
    async with grid(DSO_AT, CEM_AT, EVSE_AT, agents=AGENTS, speed=SPEED) as run:
        cem, evse = await run.start(CEM_AT), await run.start(EVSE_AT)
        at_home = await run.words("h07")
        at_hub = await everything_at_the_hub(run)
        evse.say(READING, home=True)
        await cem.state.put("limit", 1.0)
        await at_home.until(lambda heard: heard.of("device_reading"))
        cem.say(STATE, home=False)
        await at_hub.until(lambda heard: heard.of("limit_state"))  # the link is up, and order holds on it
        assert [s for s, _ in at_hub.all if s.startswith(("home.", "$KV."))] == []


async def test_a_link_that_is_cut_leaves_the_home_going_on_and_mends_by_itself() -> None:
    async with grid(DSO_AT, CEM_AT, EVSE_AT, agents=AGENTS, speed=SPEED) as run:
        dso, cem, evse = await run.start(DSO_AT), await run.start(CEM_AT), await run.start(EVSE_AT)
        at_home = await run.words("h07")
        await run.servers.cut("h07")
        evse.say(READING, home=True)
        await at_home.until(lambda heard: heard.of("device_reading"))
        await cem.state.put("limit", 17.0)
        assert await cem.state.get("limit", float) == 17.0
        with pytest.raises(NotStored):
            await store.store(cem.connection, say(Address.parse(CEM_AT), LimitState, home=False), b"{}", "lost-1")
        await run.servers.mend("h07")
        await run.servers.linked(["h07"])
        assert isinstance(await ask(dso), LimitAccepted)


async def test_a_limit_that_was_said_while_the_link_was_cut_is_heard_after_it_mends() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS, speed=SPEED) as run:
        dso, cem = await run.start(DSO_AT), await run.start(CEM_AT)
        await run.servers.cut("h07")
        async with dso.talk(limit_write, Address.parse(CEM_AT)) as talk:
            await talk.say(LIMIT)
            await run.servers.mend("h07")
            await run.servers.linked(["h07"])
            await cem.catch_up()
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)


@pytest.mark.parametrize("server", ["hub", "h07"])
async def test_a_server_that_is_killed_comes_back_with_all_that_was_stored(server: str) -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS, speed=SPEED) as run:
        dso, cem = await run.start(DSO_AT), await run.start(CEM_AT)
        assert isinstance(await ask(dso), LimitAccepted)
        await run.servers.kill(server)
        await run.servers.start(server)
        await run.servers.linked()
        await eventually(lambda: dso.connection.connected and cem.connection.connected)
        assert await cem.state.get("limit", float) == 4200.0
        assert isinstance(await ask(dso), LimitAccepted)


async def test_who_joins_late_finds_the_last_value() -> None:
    async with grid(DSO_AT, CEM_AT, EVSE_AT, agents=AGENTS, speed=SPEED) as run:
        cem, evse = await run.start(CEM_AT), await run.start(EVSE_AT)
        evse.say(READING, home=True)
        await cem.record(STATE)
        await eventually(lambda: cem.outbox.waiting == 0)
        dso = await run.start(DSO_AT)
        at_home, at_grid = Address.parse(EVSE_AT), Address.parse(CEM_AT)
        assert await cem.last(DeviceReading, at_home, home=True) == READING
        assert await dso.last(LimitState, at_grid, home=False) == STATE
        assert refusals(run, dso, cem, evse) == []


async def test_a_group_s_word_reaches_members_that_are_there_and_those_that_come_later() -> None:
    async with grid(DSO_AT, CEM_AT, "h08.cem.main", agents=AGENTS, speed=SPEED, groups=("street",)) as run:
        dso, cem = await run.start(DSO_AT), await run.start(CEM_AT)
        words = await run.words()
        said = await dso.tell_group("street", GroupMessage(kind="notice", text="works on Monday"))
        late = await run.start("h08.cem.main")

        def sites(heard: Words) -> set[str]:
            """Who acknowledged: the sender's site in ``to.grid.dso.north.<site>...``."""
            return {s.split(".")[4] for s, e in heard.of("group_acknowledged") if e["body"]["of"] == said}

        await words.until(lambda heard: sites(heard) == {"h07", "h08"})
        assert refusals(run, dso, cem, late) == []


async def test_an_operator_s_tool_sees_all_agents_by_the_service_protocol_and_nobody_else_does() -> None:
    async with grid(DSO_AT, CEM_AT, EVSE_AT, agents=AGENTS, speed=SPEED) as run:
        buses = [await run.start(address) for address in (DSO_AT, CEM_AT, EVSE_AT)]
        probe = await run.words("grid", "_R.grid.ops.probe.services")
        tool = run.servers.bus(Address.parse("grid.ops.probe"), run.clock)
        await tool.connection.open()
        run.closing(tool.connection)
        for verb in ("PING", "INFO", "STATS"):
            await tool.connection.client.publish(f"$SRV.{verb}", b"", reply="_R.grid.ops.probe.services")
        await probe.until(lambda heard: len(heard.all) == 9)
        answers = [json.loads(payload) for _, payload in probe.all]
        assert sorted(answer["id"] for answer in answers if "ping" in answer["type"]) == [
            "grid-dso-north",
            "h07-cem-main",
            "h07-evse-1",
        ]
        assert all(answer["endpoints"] for answer in answers if "ping" not in answer["type"])
        await tool.connection.client.publish(
            "$SRV.PING", b"", reply="to.grid.dso.north.h07.cem.main.power_limit.1.heartbeat"
        )
        await tool.connection.client.publish("$SRV.PING.cem", b"", reply="_R.grid.ops.probe.services")
        await probe.until(lambda heard: len(heard.all) == 10)
        assert all(bus.counts["dead_letters"] == 0 for bus in buses)
        assert refusals(run, *buses) == []


async def test_every_configuration_is_taken_by_the_server_and_kept_from_others() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS, speed=SPEED) as run:
        for server in run.servers.topology.servers:
            path = run.servers.folder / f"{server}.conf"
            done = await anyio.run_process([str(nats_server()), "-t", "-c", str(path)], check=False)
            assert done.returncode == 0, done.stderr.decode()
            assert path.stat().st_mode & 0o077 == 0
        seeds = list((run.servers.folder / "keys").iterdir())
        assert seeds
        assert all(seed.stat().st_mode & 0o077 == 0 for seed in seeds)


async def test_provisioning_again_changes_nothing() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS, speed=SPEED) as run:
        dso, cem = await run.start(DSO_AT), await run.start(CEM_AT)
        assert isinstance(await ask(dso), LimitAccepted)
        for server in run.servers.topology.servers:
            await provision(
                run.servers.permissions,
                server,
                run.servers.url_of(server),
                run.servers.key_ring(f"{server}.admin"),
                run.servers.ca_of(server),
            )
        assert await cem.state.get("limit", float) == 4200.0
        assert isinstance(await ask(dso), LimitAccepted)


async def unread(run: Grid, server: str, stream: str, consumer: str) -> int:
    """Words that a consumer has not had acknowledged yet."""
    admin = run.servers.connection(server, f"{server}.admin", "_R.admin")
    await admin.open()
    info = json.loads(await admin.request(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}", b""))
    await admin.close()
    return int(info["num_pending"] + info["num_ack_pending"])


async def everything_at_the_hub(run: Grid) -> Words:
    """All that the hub's account carries, as only its administrator could listen: the hub is given such a user."""
    listener = KeyPair.new()
    config = run.servers.folder / "hub.conf"
    text = config.read_text()
    assert "    users: [\n" in text
    config.write_text(text.replace("    users: [\n", f"    users: [\n {{ nkey: {listener.public} }}\n", 1))
    os.kill(run.servers.pid("hub"), signal.SIGHUP)
    heard = Words()
    url, ca = run.servers.url_of("hub"), run.servers.ca_of("hub")
    connection = Connection(url, name="listener", inbox="_R.listener", keys=listener, ca=ca)
    with anyio.fail_after(60):
        while True:
            try:
                await connection.open(within_s=0.5)
                break
            except BusUnavailable:
                await anyio.sleep(0.05)
    run.closing(connection)
    await connection.subscribe(">", heard.take)
    await connection.barrier()
    return heard


def test_no_consumer_of_a_home_is_called_like_one_at_the_hub() -> None:
    """An acknowledgement names stream and consumer, not the server: it would count at both."""
    permissions = Permissions(load("street"), Roster())
    at_hub = {(stream, each["durable_name"]) for stream, each in consumers(permissions, HUB)}
    for site in permissions.topology.sites:
        at_home = {(stream, each["durable_name"]) for stream, each in consumers(permissions, site)}
        assert at_home
        assert not at_home & at_hub
