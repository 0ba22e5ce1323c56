"""Grid messages are signed, encrypted and bound to their sender; who is there is known; who may read may not write."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from bus.address import Address, say, to
from bus.bus import Bus
from bus.envelope import Envelope, encode, instant
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable, Connection
from contracts.kit import Lapsed
from contracts.metering import GcpReading
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.system import Hello
from deploy.identity.certificates import Certificates
from deploy.nats.places import Ports
from deploy.nats.servers import Servers, nats_server
from deploy.run.watch import Watch
from deploy.topology import HUB
from tests.cem.home import CEM, DSO, WHY, home
from tests.support.cem_puppet import reading
from tests.support.fleet import FleetServers
from tests.support.fortified import WebSocketServers
from tests.support.grid import Grid, Words, eventually, grid
from tests.support.tap import Tap, tap

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("ops.transport")]
METER = "h07.meter.main"
SITE_CEM = Address.parse(CEM)
GRID_COMMAND_S = 2.0  # ETSI-7.2, R7.2-9
HOME_COMMAND_S = 10.0  # ETSI-7.1, R7.1-9
READING_S = 300.0  # ETSI-7.1, R7.1-10
OFF = SetLimit(direction="consumption", active=False, reason=WHY)


# -------------------------------------------------------------------- who connects, and to whom


async def test_a_peer_without_credentials_is_refused_by_every_server() -> None:
    async with grid(DSO, CEM) as run:
        for server in run.servers.topology.servers:
            url, ca = run.servers.url_of(server), run.servers.ca_of(server)
            for keys in (None, KeyPair.new()):
                with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
                    await Connection(url, name="stranger", inbox="_R.x", keys=keys, ca=ca).open(within_s=10)


async def test_a_server_that_cannot_show_who_it_is_gets_no_word(tmp_path: Path) -> None:
    """Somebody else's authority has signed for the hub's address: an agent turns away before it says who it is."""
    async with grid(DSO, CEM) as run:
        foreign = Certificates(tmp_path / "foreign").authority
        who = Address.parse(DSO)
        url, keys = run.servers.url(who), run.servers.keys(who)
        with pytest.raises(BusUnavailable, match=r"(?i)certificate"):
            await Connection(url, name=DSO, inbox=who.inbox, keys=keys, ca=foreign).open(within_s=0.5)


async def test_a_leaf_without_a_certificate_of_the_street_gets_no_link(tmp_path: Path) -> None:
    """It has the site's stolen NKey, and a certificate, but of another authority."""
    certificate, key = Certificates(tmp_path / "foreign").client("h07.link")
    await refused_leaf(tmp_path, f'cert_file: "{certificate}", key_file: "{key}", ')


async def test_a_stolen_seed_of_a_link_opens_nothing_without_a_certificate(tmp_path: Path) -> None:
    await refused_leaf(tmp_path, "")


async def refused_leaf(tmp_path: Path, shows: str) -> None:
    async with grid(DSO, CEM) as run:
        servers = run.servers
        await servers.kill("h07")
        port, leaves = servers.ports["h07"].client, servers.ports[HUB].leaves
        config = tmp_path / "leaf.conf"
        config.write_text(
            f"server_name: h07\nlisten: 127.0.0.1:{port}\n"
            f'leafnodes {{ reconnect: 1, remotes: [ {{ urls: ["tls://127.0.0.1:{leaves}"], '
            f'nkey: {servers.key_ring("h07.link").seed}, tls {{ ca_file: "{servers.authority}", '
            f"{shows}handshake_first: true }} }} ] }}\n"
        )
        log = servers.folder / "hub.log"
        process = await asyncio.create_subprocess_exec(
            str(nats_server()), "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await eventually(lambda: "TLS leafnode handshake error" in log.read_text())
            assert await servers.linked_sites() == set()
        finally:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("port", ["client", "leaves"])
async def test_plain_text_is_not_listened_to_at_the_grid_side(port: str) -> None:
    async with grid(DSO, CEM) as run:
        ports: Ports = run.servers.ports[HUB]
        reader, writer = await asyncio.open_connection("127.0.0.1", getattr(ports, port))
        writer.write(
            b'CONNECT {"verbose":false}\r\nPUB to.h07.cem.main.grid.dso.north.power_limit.1.heartbeat 2\r\n{}\r\n'
        )
        said = await reader.read()
        writer.close()
        assert b"INFO" not in said, "the server does not even say who it is"
    async with grid(DSO, CEM) as run:
        who = Address.parse(DSO)
        plain = run.servers.url(who).replace("tls:", "nats:")
        with pytest.raises(BusUnavailable):
            await Connection(plain, name=DSO, inbox=who.inbox, keys=run.servers.keys(who)).open(within_s=0.5)


# -------------------------------------------------------------------- what a listener in between gets


async def ask(dso: Bus, limit: SetLimit) -> LimitAccepted | LimitRefused | Lapsed:
    async with dso.talk(limit_write, SITE_CEM) as talk:
        await talk.say(limit)
        return await talk.hear(LimitAccepted, LimitRefused, Lapsed)


@asynccontextmanager
async def tapped_link(run: Grid, site: str = "h07") -> AsyncIterator[Tap]:
    """The site's way to the hub leads through a listener."""
    await run.servers.links.stop()
    async with tap(run.servers.ports[HUB].leaves, run.servers.ports[site].link) as between:
        await eventually(lambda: between.connections)
        await run.servers.linked([site])
        yield between


async def test_nobody_on_the_way_can_read_a_limit() -> None:
    async with (
        grid(DSO, CEM, METER, speed=5.0) as run,
        tapped_link(run) as way,
        tap(run.servers.ports["h07"].client) as inside,
    ):
        await run.start(CEM)
        listener = Bus(
            Address.parse(METER),
            f"nats://127.0.0.1:{inside.port}",
            run.clock,
            keys=run.servers.keys(Address.parse(METER)),
        )
        await listener.open()
        run.closing(listener.connection)
        dso = await run.bus(DSO, lambda bus: bus.on(Heartbeat, lambda _m, _h: None))
        dso.tell(SITE_CEM, Heartbeat(every_s=60.0))
        assert isinstance(await ask(dso, OFF), LimitAccepted)
        await eventually(lambda: len(way.seen) > 2000)
        for text in (b"set_limit", b"limit_accepted", b"power_limit", b"h07.cem", b"direction", b"CONNECT {"):
            assert text not in way.seen
        assert b"CONNECT {" in inside.seen, "the listener can read what is not encrypted"


async def test_an_altered_word_is_never_heard_and_the_connection_that_carried_it_is_given_up() -> None:
    async with grid(DSO, CEM, speed=5.0) as run, tap(run.servers.ports[HUB].client) as between:
        words = await run.words()
        who = Address.parse(DSO)
        keys, ca = run.servers.keys(who), run.servers.ca_of(HUB)
        dso = Bus(who, f"tls://127.0.0.1:{between.port}", run.clock, keys=keys, ca=ca)
        await dso.open()
        run.closing(dso.connection)
        back = asyncio.Event()
        dso.connection.on_reconnect = back.set
        between.alter = True
        dso.tell(SITE_CEM, Heartbeat(every_s=41.0))
        await asyncio.wait_for(back.wait(), 60)
        assert between.altered == 1
        assert between.connections >= 2
        dso.tell(SITE_CEM, Heartbeat(every_s=42.0))
        await words.until(lambda heard: heard.of("heartbeat"))
        assert [envelope["body"]["every_s"] for _, envelope in words.of("heartbeat")] == [42.0]


# -------------------------------------------------------------------- where only port 443 is open


async def test_a_site_that_may_leave_by_websocket_alone_gets_its_limit_and_nobody_on_the_way_reads_it() -> None:
    async with grid(DSO, CEM, METER, speed=5.0, servers=WebSocketServers) as run:
        assert isinstance(run.servers, WebSocketServers)
        await run.servers.links.stop()
        async with tap(run.servers.websocket_port, run.servers.ports["h07"].link) as way:
            await eventually(lambda: way.connections)
            await run.servers.linked(["h07"])
            await run.start(CEM)
            dso = await run.bus(DSO, lambda bus: bus.on(Heartbeat, lambda _m, _h: None))
            dso.tell(SITE_CEM, Heartbeat(every_s=60.0))
            assert isinstance(await ask(dso, OFF), LimitAccepted)
            await eventually(lambda: len(way.seen) > 2000)
            for text in (b"set_limit", b"power_limit", b"h07.cem", b"Upgrade", b"websocket"):
                assert text not in way.seen
        log = (run.servers.folder / "hub.log").read_text()
        assert "lid_ws:" in log
        assert "lid:" not in log, "no link came by the other door"


async def test_a_websocket_without_a_certificate_of_the_street_is_not_opened() -> None:
    async with grid(DSO, CEM, servers=WebSocketServers) as run:
        assert isinstance(run.servers, WebSocketServers)
        assert await upgraded(run.servers, "h07.link") != b""
        assert await upgraded(run.servers, None) == b""


async def upgraded(servers: WebSocketServers, name: str | None) -> bytes:
    """What the WebSocket door says to who shows a certificate of this name, or none; empty when nothing."""
    context = ssl.create_default_context(cafile=servers.authority)
    if name is not None:
        context.load_cert_chain(*Certificates(servers.authority.parent).paths(name))
    try:
        # A TLS 1.3 client hears of a missing certificate when it reads.
        reader, writer = await asyncio.open_connection("127.0.0.1", servers.websocket_port, ssl=context)
        writer.write(b"GET /leafnode HTTP/1.1\r\nHost: hub\r\n\r\n")
        said = await reader.read(100)
    except (ssl.SSLError, ConnectionError):
        return b""
    writer.close()
    return said


# -------------------------------------------------------------------- outbound only, presence


def listening(pid: int) -> set[int]:
    """TCP ports that a process takes connections at."""
    sockets = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(each.readlink()))
        except OSError:
            continue  # closed meanwhile
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(int(fields[1].rsplit(":", 1)[1], 16))
    return found


async def test_a_site_takes_no_connection_from_outside_and_is_still_addressed() -> None:
    async with grid(DSO, CEM, speed=5.0) as run:
        await run.start(CEM)
        assert listening(run.servers.pid("h07")) == {run.servers.ports["h07"].client}, "only its own home's agents"
        for address in (
            line for line in (run.servers.folder / "h07.conf").read_text().splitlines() if "listen:" in line
        ):
            assert "127.0.0.1" in address
        dso = await run.bus(DSO, lambda bus: bus.on(Heartbeat, lambda _m, _h: None))
        dso.tell(SITE_CEM, Heartbeat(every_s=60.0))
        assert isinstance(await ask(dso, OFF), LimitAccepted)


@pytest.mark.parametrize("way", [Servers, FleetServers])
async def test_who_is_connected_is_known_from_the_servers_and_who_is_gone_too(way: type[Servers]) -> None:
    async with grid(DSO, CEM, METER, speed=5.0, servers=way) as run, asyncio.TaskGroup() as tasks:
        words = await run.words()
        links: list[tuple[str, bool]] = []
        watch = Watch(run.servers, lambda site, up: links.append((site, up)))
        watching = [tasks.create_task(watch.watch(server)) for server in run.servers.topology.servers]
        cem, meter = SITE_CEM, Address.parse(METER)
        await eventually(lambda: links == [("h07", True)])
        await run.start(CEM)
        await run.bus(METER)
        await eventually(lambda: {cem, meter} <= watch.agents)
        hello = await words.until(lambda heard: [s for s, _ in heard.of("hello") if s.startswith(f"say.{CEM}.")])
        assert hello, "and what it can do it says itself"
        await run.stop(CEM)
        await eventually(lambda: cem not in watch.agents)
        assert meter in watch.agents
        await run.servers.cut("h07")
        await eventually(lambda: links[-1] == ("h07", False))
        assert meter in watch.agents, "inside, the home goes on"
        await run.servers.mend("h07")
        await eventually(lambda: links[-1] == ("h07", True))
        for task in watching:
            task.cancel()


# -------------------------------------------------------------------- selective reading and writing


async def test_who_reads_a_table_gets_its_changes_and_no_other_and_may_not_write_it() -> None:
    async with grid(DSO, CEM, METER, "h08.cem.main", "h08.meter.main", speed=5.0) as run:
        heard: list[tuple[str, bytes]] = []
        dso = await run.bus(DSO)
        table = say(Address.parse(METER), GcpReading, home=False)
        await dso.connection.subscribe(table, lambda subject, payload: heard.append((subject, payload)))
        await dso.connection.barrier()
        everything = await run.words()
        meter, other = await run.bus(METER), await run.bus("h08.meter.main")
        now = run.clock.now()
        other.say(reading(now, 1.0), home=False)
        for power_w in (100.0, 200.0):
            meter.say(Hello(role="meter", software="test"), home=False)
            meter.say(reading(now, power_w), home=False)
        await everything.until(lambda words: len(words.of("gcp_reading")) == 3 and len(words.of("hello")) == 2)
        await eventually(lambda: len(heard) == 2)
        assert {subject for subject, _ in heard} == {table}
        assert [msgspec.json.decode(p)["body"]["power_w"] for _, p in heard] == [100.0, 200.0]

        forged = encode(_envelope(run, reading(now, -9999.0)))
        dso.connection.publish(table, forged)
        await dso.connection.barrier()
        assert any(table in text for text in dso.connection.refused)
        meter.say(reading(now, 300.0), home=False)
        await eventually(lambda: len(heard) == 3)
        assert [e["body"]["power_w"] for _, e in everything.of("gcp_reading")].count(-9999.0) == 0


def _envelope(run: Grid, body: object, **fields: object) -> Envelope:  # type: ignore[type-arg]
    at = run.clock.now()
    values = {"id": "forged-1", "at": instant(at), "deadline": instant(at + 60), "talk": None, "trace": None}
    return Envelope(**(values | fields), body=body)  # type: ignore[arg-type]


async def test_a_consumer_reads_only_the_home_it_belongs_to() -> None:
    async with grid(DSO, CEM, "h08.cem.main", "h08.meter.main", speed=5.0) as run:
        cem = await run.bus(CEM)
        for subject in (
            "home.say.h08.>",
            "say.h08.>",
            to(Address.parse("h08.cem.main"), Address.parse(DSO), Heartbeat),
        ):
            await cem.connection.subscribe(subject, lambda _s, _p: None)
        await cem.connection.barrier()
        assert len(cem.connection.refused) == 3


# -------------------------------------------------------------------- what receivers do with what they do not know


async def test_fields_that_a_receiver_does_not_know_are_ignored_wherever_they_are() -> None:
    async with home("evse.1", speed=30.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        limit = SetLimit(direction="consumption", active=True, limit_w=6000.0, reason=WHY)
        raw = msgspec.json.decode(encode(_envelope(h.run, limit, talk="talk-of-a-later-edition")))
        raw["of_edition_9"] = {"any": ["thing"]}
        raw["body"]["colour"] = "blue"
        raw["body"]["reason"]["picture"] = None
        h.dso.connection.publish(to(SITE_CEM, Address.parse(DSO), SetLimit), msgspec.json.encode(raw))
        await h.metered(below_w=6000)
        answer = await h.until(lambda: [e for _, e in h.beyond.of("limit_accepted") if e["talk"] == raw["talk"]])
        assert answer[0]["body"]["limit_w"] == 6000.0


# -------------------------------------------------------------------- transfer times


def at(envelope: dict[str, object]) -> float:
    return datetime.fromisoformat(str(envelope["at"])).timestamp()


async def test_commands_and_readings_arrive_within_their_times_by_their_own_stamps() -> None:
    """In real time. The stamps are of run time: from what was said to what the receiver then said."""
    async with home("evse.1", speed=20.0, failsafe_consumption_w=20_000.0) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900, times=1)
        h.run.clock_file.set_speed(1.0)
        asked = len(h.words.of("set_power"))
        assert isinstance(await h.limit(limit_w=6000.0), LimitAccepted)
        command = h.beyond.of("set_limit")[-1][1]
        answer = (await h.until(lambda: [e for _, e in h.beyond.of("limit_accepted") if e["talk"] == command["talk"]]))[
            0
        ]
        assert at(answer) - at(command) <= GRID_COMMAND_S
        order = (
            await h.until(
                lambda: [
                    e
                    for _, e in h.words.of("set_power")[asked:]
                    if e["body"]["upper_w"] is not None and e["body"]["upper_w"] <= 6000
                ]
            )
        )[0]
        applied = (await h.until(lambda: [e for _, e in h.words.of("power_applied") if e["talk"] == order["talk"]]))[0]
        assert at(applied) - at(order) <= HOME_COMMAND_S
        assert car.power_w <= 6000
        arrived: list[float] = []
        table = say(Address.parse(METER), GcpReading, home=False)
        now = h.run.clock.now()
        await h.dso.connection.subscribe(table, lambda _s, _p: arrived.append(h.run.clock.now()))
        await h.dso.connection.barrier()
        h.meter.say(reading(now, 6000.0), home=False)
        await eventually(lambda: arrived)
        assert arrived[0] - now <= READING_S


async def test_a_word_that_comes_after_its_time_changes_nothing() -> None:
    async with home("evse.1", speed=30.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        now = h.run.clock.now()
        limit = SetLimit(direction="consumption", active=True, limit_w=6000.0, reason=WHY)
        stamped = {"at": instant(now - 120), "deadline": instant(now - 60), "talk": "late-1", "id": "late-1"}
        late = encode(_envelope(h.run, limit, **stamped))
        h.dso.connection.publish(to(SITE_CEM, Address.parse(DSO), SetLimit), late)
        letters = await h.until(lambda: [e for _, e in dead(h.beyond) if e["code"] == "expired"])
        assert "deadline" in letters[0]["error"]
        assert not [e for _, e in h.beyond.of("limit_accepted") if e["talk"] == "late-1"]
        await h.metered(above_w=11_900)


def dead(words: Words) -> list[tuple[str, dict[str, object]]]:
    return [(s, msgspec.json.decode(p)) for s, p in words.all if s.startswith("dead.")]
