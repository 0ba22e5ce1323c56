"""Nobody can speak as somebody else: every credential of a topology tries, and the servers refuse."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product

import anyio
import pytest

from bus.address import Address, tail
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable, Connection
from contracts.kit import vocabulary
from contracts.power_limit import SetLimit
from contracts.roles import ALL, APP, BUILDING, CEM, DSO, METER, OPS
from deploy.identity.certificates import Certificates
from deploy.nats import places
from deploy.nats.servers import Servers, nats_server
from deploy.permissions import Permissions
from deploy.roster import Roster
from deploy.topology import GRID, HUB
from tests.cem.home import WHY
from tests.support.fleet import FleetServers
from tests.support.fortified import WebSocketServers
from tests.support.grid import Grid, grid, topology
from tests.support.puppets import GRID_SIDE

pytestmark = pytest.mark.anyio
DSO_NORTH = "grid.dso.north"
NAMES = {DSO: "north", METER: "main", APP: "display"}
EVERYBODY = (
    *(f"grid.{role.name}.{NAMES.get(role, 'main')}" for role in ALL if role in (*GRID_SIDE, BUILDING)),
    "grid.meter.substation",
    *(f"h07.{role.name}.{NAMES.get(role, '1')}" for role in ALL if role not in (*GRID_SIDE, BUILDING, CEM, OPS)),
    "h07.cem.main",
    "h08.cem.main",
    "h08.meter.main",
)
"""One agent of every role, and a neighbour's home."""
BATCH = 500
FLUSH_WALL_S = 60


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


WAYS = {"one machine": Servers, "TLS on every door, links by WebSocket": WebSocketServers, "a fleet": FleetServers}


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
async def run(request: pytest.FixtureRequest) -> AsyncIterator[Grid]:
    async with grid(*EVERYBODY, groups=("street",), servers=request.param) as running:
        yield running


def lawful(permissions: Permissions, sender: Address) -> set[str]:
    """Every subject that a sender's own declarations give it, one per receiver."""
    subjects = set()
    for receiver in permissions.agents():
        home = "home." if receiver.site == sender.site else ""
        subjects |= {f"{home}to.{receiver}.{sender}.{tail(kind)}" for kind in permissions.may_address(sender, receiver)}
    said = permissions.vocabularies[sender.role]
    subjects |= {f"home.say.{sender}.{tail(kind)}" for kind in said.says_home}
    return subjects | {f"say.{sender}.{tail(kind)}" for kind in said.says_grid}


def tries(permissions: Permissions, sender: Address) -> set[str]:
    """What one credential tries: each word to each role as itself, and whatever anybody may say as everybody else.

    The servers' rights name sender and word and leave open at most who plays the receiving role, so one agent of a role
    stands for all of it. What it may say itself is also tried on the other side of the border and in everybody's name.
    """
    words, agents, mine = [tail(kind) for kind in vocabulary().values()], permissions.agents(), str(sender)
    subjects = {f"{home}say.{sender}.{word}" for home, word in product(("", "home."), words)}
    for receiver, word in product(agents, words):
        home = "home." if receiver.site == sender.site else ""
        subjects.add(f"{home}to.{receiver}.{sender}.{word}")
    own = lawful(permissions, sender)
    subjects |= {_other_root(subject) for subject in own}
    for other in agents:
        if other == sender:
            continue
        subjects |= lawful(permissions, other)
        subjects |= {subject.replace(f".{mine}.", f".{other}.") for subject in own}
        subjects |= {f"{home}say.{other}.{words[0]}" for home in ("", "home.")}
        subjects |= {f"{home}to.{receiver}.{other}.{words[0]}" for home, receiver in product(("", "home."), agents)}
    return subjects


def _other_root(subject: str) -> str:
    return subject.removeprefix("home.") if subject.startswith("home.") else f"home.{subject}"


def _one_root(subject: str) -> str:
    """A right to address a role at all sites covers the grid side's own by the root that nobody derives: the same word
    to the same receiver."""
    return f"home.{subject}" if re.match(r"to\.grid\.[^.]+\.[^.]+\.grid\.", subject) else subject


async def refused(connection: Connection, servers: Servers, server: str, subjects: list[str]) -> set[str]:
    """Which of these publications the server refused, by its own log (the client's copy is in lower case)."""
    log = servers.folder / f"{server}.log"
    before = log.stat().st_size
    for start in range(0, len(subjects), BATCH):
        for subject in subjects[start : start + BATCH]:
            connection.publish(subject, b"{}")
        for _ in range(2):  # a barrier, with the patience that a thousand refusals need
            await connection.client.flush(FLUSH_WALL_S)
    with log.open("rb") as file:
        file.seek(before)
        text = file.read().decode()
    return {
        line.split('Subject "', 1)[1].rstrip('"\n').removesuffix('"')
        for line in text.splitlines()
        if "Publish Violation" in line
    }


async def test_each_agent_speaks_as_itself_what_it_declares_and_nothing_else(
    run: Grid, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "gridparley.bus")  # each refusal is a warning, and here they are many
    servers = run.servers
    for address in servers.permissions.agents():
        tried = sorted(tries(servers.permissions, address))
        bus = servers.bus(address, run.clock)
        await bus.connection.open()
        server = servers.topology.server_of(address)
        no = await refused(bus.connection, servers, server, tried)
        may = {_one_root(subject) for subject in set(tried) - no}
        mine = lawful(servers.permissions, address)
        assert mine <= may, f"{address} may not say what it declares: {sorted(mine - may)[:5]}"
        foreign = {s for s in may if f".{address}." not in s.removeprefix("home.").replace("to.", "to..", 1)}
        assert foreign == set(), f"{address} may speak as somebody else: {sorted(foreign)[:5]}"
        assert may <= mine, f"{address} may say what it never declared: {sorted(may - mine)[:5]}"
        await bus.close()


async def test_nobody_reads_what_is_not_meant_for_it(run: Grid) -> None:
    servers = run.servers
    for address in servers.permissions.agents():
        bus = servers.bus(address, run.clock)
        await bus.connection.open()
        others = [other for other in servers.permissions.agents() if other != address]
        wanted = [box for other in others for box in (*other.mailboxes, f"{other.inbox}.>")]
        wanted += [">", "to.>", "home.>", "home.to.>", "say.>", "group.>", "group.*.>", "_R.>", "$SYS.>", "$JS.>"]
        wanted += ["$KV.>", "dead.>", "$JS.API.>"]
        for subject in wanted:
            await bus.connection.subscribe(subject, lambda _subject, _payload: None)
        await bus.connection.barrier()
        text = "\n".join(bus.connection.refused).lower()
        # The library keeps the last hundred refusals; all of these are fewer.
        assert len(wanted) <= 100
        open_to_it = [subject for subject in wanted if f'"{subject.lower()}"' not in text]
        assert open_to_it == [], f"{address} may read {open_to_it}"
        await bus.close()


async def test_nobody_touches_the_stores_of_others(run: Grid) -> None:
    servers = run.servers
    for address in servers.permissions.agents():
        bus = servers.bus(address, run.clock)
        await bus.connection.open()
        others = [other for other in servers.permissions.agents() if other != address]
        tries = [f"$KV.STATE.{other}.limit" for other in others]
        tries += [f"$JS.API.DIRECT.GET.KV_STATE.$KV.STATE.{other}.limit" for other in others]
        for domain, other in product(("$JS.API", f"$JS.{HUB}.API", "$JS.h08.API"), others):
            name = str(other).replace(".", "-")
            tries += [f"{domain}.CONSUMER.MSG.NEXT.{stream}.{name}" for stream in ("TALKS", "GROUPS", "RECORDS")]
        tries += [f"$JS.ACK.TALKS.{str(other).replace('.', '-')}.1.1.1.1.0" for other in others]
        tries += ["$JS.API.STREAM.DELETE.TALKS", "$JS.API.STREAM.PURGE.TALKS", "$JS.API.STREAM.MSG.GET.TALKS"]
        tries += ["$JS.API.CONSUMER.CREATE.TALKS", "$JS.API.DIRECT.GET.TALKS", f"dead.{others[0]}", "$SRV.PING", "_R.x"]
        tries += [f"{other.inbox}.x" for other in others]
        server = servers.topology.server_of(address)
        # A server takes its own domain's name for its plain API before it asks for rights, and logs it so.
        tries = [subject.replace(f"$JS.{server}.API", "$JS.API") for subject in tries]
        no = await refused(bus.connection, servers, server, tries)
        assert set(tries) - no == set(), f"{address} may {sorted(set(tries) - no)[:5]}"
        await bus.close()


@pytest.mark.parametrize("way", [Servers, WebSocketServers])
async def test_the_hub_lets_a_site_speak_only_as_itself_whoever_forges_inside(way: type[Servers]) -> None:
    """A hostile site: its own server, without any rights inside, behind the site's link."""
    async with grid(*EVERYBODY, servers=way) as run:
        await forged(run)


async def forged(run: Grid) -> None:
    servers, site = run.servers, "h07"
    heard = await run.words()
    words = [tail(kind) for kind in vocabulary().values()]
    agents = servers.permissions.agents()
    own, foreign = [a for a in agents if a.site == site], [a for a in agents if a.site != site]
    lies = [f"say.{one}.{word}" for one, word in product(foreign, words)]
    lies += [f"to.{receiver}.{one}.{word}" for receiver, one, word in product(agents, foreign, words)]
    lies += [f"home.{plane}.{one}.{words[0]}" for plane, one in product(("say", "to.grid.meter.substation"), agents)]
    true = [f"to.grid.dso.north.{own[0]}.{words[0]}", f"say.{own[0]}.{words[0]}"]
    await servers.kill(site)
    async with hostile_leaf(servers, site) as connection:
        await servers.linked([site])
        for subject in (*lies, *true):
            connection.publish(subject, b"{}")
        await connection.barrier()
        await heard.until(lambda got: set(true) <= {subject for subject, _ in got.all})
    assert {subject for subject, _ in heard.all} - set(true) == set()


@asynccontextmanager
async def hostile_leaf(servers: Servers, site: str) -> AsyncIterator[Connection]:
    config = servers.folder / "hostile.conf"
    port = servers.ports[site].client
    [hub] = next(place.hubs for place in places.read(servers.folder) if place.server == site)
    seed, ca = servers.key_ring(f"{site}.link").seed, servers.authority
    certificate, key = Certificates(ca.parent).client(f"{site}.link")
    config.write_text(
        f"server_name: {site}\nlisten: 127.0.0.1:{port}\n"
        f'leafnodes {{ remotes: [ {{ urls: ["{hub}"], nkey: {seed}, tls {{ ca_file: "{ca}", '
        f'cert_file: "{certificate}", key_file: "{key}", handshake_first: true }} }} ] }}\n'
    )
    process = await anyio.open_process(
        [str(nats_server()), "-c", str(config), "-l", str(servers.folder / "hostile.log")]
    )
    connection = Connection(f"nats://127.0.0.1:{port}", name="forger", inbox="_R.forger")
    try:
        await connection.open()
        yield connection
        await connection.close()
    finally:
        process.kill()
        await process.wait()


async def test_a_credential_of_nobody_is_refused(run: Grid) -> None:
    for server in run.servers.topology.servers:
        url, ca = run.servers.url_of(server), run.servers.ca_of(server)
        stranger = Connection(url, name="x", inbox="_R.x", keys=KeyPair.new(), ca=ca)
        with pytest.raises(BusUnavailable):
            await stranger.open()


@pytest.mark.parametrize("name", ["h07.cem.main", "h07.evse.1", "h07.admin", "h07.sys"])
async def test_an_agent_of_one_site_is_unknown_at_the_server_of_another(run: Grid, name: str) -> None:
    for server in ("h08", HUB):
        url, ca = run.servers.url_of(server), run.servers.ca_of(server)
        connection = Connection(url, name=name, inbox=f"_R.{name}", keys=run.servers.key_ring(name), ca=ca)
        with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
            await connection.open()


async def test_who_provisions_a_server_and_who_watches_it_can_say_no_word(run: Grid) -> None:
    servers, subjects = run.servers, [f"to.{DSO_NORTH}.h07.cem.main.power_limit.1.limit_accepted", "home.say.x", "_R.x"]
    for server in (HUB, "h07"):
        admin = servers.connection(server, f"{server}.admin", "_R.admin")
        await admin.open()
        assert await refused(admin, servers, server, subjects) == set(subjects)
        await admin.close()
        # The system user's account carries no word of ours: what it says reaches nobody, what it hears is the server's.
        heard = await run.words(GRID if server == HUB else server)
        watcher = servers.connection(server, f"{server}.sys", "_R.sys")
        await watcher.open()
        for subject in subjects:
            watcher.publish(subject, b"{}")
        await watcher.barrier()
        await watcher.close()
        assert heard.all == []


async def test_the_key_of_a_link_opens_no_client_connection(run: Grid) -> None:
    connection = run.servers.connection(HUB, "h07.link", "_R.h07")
    with pytest.raises(BusUnavailable):
        await connection.open()


async def test_who_provisions_reads_what_is_stored(run: Grid) -> None:
    """What the security page says of this key, so that nobody takes it for harmless."""
    dso = await run.bus(DSO_NORTH)
    await dso.tell_durably(Address.parse("h07.cem.main"), SetLimit(direction="consumption", active=False, reason=WHY))
    admin = run.servers.connection(HUB, f"{HUB}.admin", "_R.admin")
    await admin.open()
    try:
        asked = b'{"last_by_subj": "to.h07.cem.main.grid.dso.north.power_limit.1.set_limit"}'
        answer = await admin.request("$JS.API.STREAM.MSG.GET.TALKS", asked)
    finally:
        await admin.close()
    assert b'"message"' in answer


def test_homes_do_not_speak_to_each_other() -> None:
    permissions = Permissions(topology(EVERYBODY), Roster())
    for one, other in product(permissions.agents(), repeat=2):
        if one.site != other.site and GRID not in (one.site, other.site):
            assert permissions.may_address(one, other) == set()
