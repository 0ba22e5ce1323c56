"""Keys and certificates of a running deployment are changed without a cut, and taken back at once."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from typer.testing import CliRunner

from bus.address import Address
from bus.bus import Bus
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable, Connection
from bus.user_jwt import Credential
from contracts.power_limit import LimitAccepted, SetLimit
from deploy.identity.certificates import Certificates
from deploy.identity.keys import CannotChange, Keys, write_secret
from deploy.identity.rotation import NotReloaded, Rotation
from deploy.nats.servers import Servers, nats_server
from deploy.run.watch import Watch
from deploy.topology import HUB
from tests.cem.home import WHY
from tests.support.fortified import FieldServers
from tests.support.grid import Grid, eventually, grid

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
DSO, CEM, METER = "grid.dso.north", "h07.cem.main", "h07.meter.main"


@asynccontextmanager
async def deployed() -> AsyncIterator[tuple[Grid, Servers, Rotation]]:
    async with grid(DSO, CEM, METER, speed=1.0, servers=FieldServers) as run:
        yield run, run.servers, Rotation(run.servers.folder, run.servers.permissions)


async def done(change: object) -> None:
    assert await change is None, "every server was told"  # type: ignore[misc]


def holder(servers: Servers, name: str, seed: str, server: str = "h07") -> Connection:
    """Somebody who has a seed and does not look for another."""
    inbox = f"_R.{name}" if name.count(".") == 2 else "_R.admin"
    return Connection(
        servers.url_of(server), name=name, inbox=inbox, keys=KeyPair.from_seed(seed), ca=servers.ca_of(server)
    )


async def refused(connection: Connection) -> None:
    with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
        await connection.open()


def seed_of(rotation: Rotation, name: str) -> str:
    return rotation.keys.path(name).read_text().strip()


async def moved(bus: Bus, change: object) -> None:
    """The bus goes over to another connection and is not cut meanwhile."""
    before, cuts = bus.connection.client, []
    bus.connection.on_reconnect = lambda: cuts.append(1)
    await done(change)
    await eventually(lambda: bus.connection.client is not before)
    assert bus.connection.connected
    assert cuts == []


# -------------------------------------------------------------------- keys


@pytest.mark.parametrize(("name", "server"), [(CEM, "h07"), (DSO, HUB)])
async def test_an_agent_goes_over_to_its_new_key_without_a_cut_and_the_old_one_ends_with_finish(
    name: str, server: str
) -> None:
    async with deployed() as (run, servers, rotation):
        old = seed_of(rotation, name)
        bus = await run.bus(name)
        await moved(bus, rotation.begin(name))
        new = seed_of(rotation, name)
        assert new != old
        slow = holder(servers, name, old, server)
        await slow.open()  # the old key is good until the change is finished
        client = bus.connection.client
        await done(rotation.finish(name))
        await eventually(lambda: not slow.connected)
        await slow.close()
        await refused(holder(servers, name, old, server))
        assert bus.connection.client is client, "who uses the new one notices nothing"
        assert bus.connection.connected


async def test_who_watches_goes_on_seeing_an_agent_and_a_link_whose_keys_change() -> None:
    async with deployed() as (run, servers, rotation):
        links: list[tuple[str, bool]] = []
        watch = Watch(servers, lambda site, up: links.append((site, up)))
        async with anyio.create_task_group() as tasks:
            for server in servers.topology.servers:
                tasks.start_soon(watch.watch, server)
            cem = await run.bus(CEM)
            await eventually(lambda: Address.parse(CEM) in watch.agents and links == [("h07", True)])
            await moved(cem, rotation.begin(CEM))
            await done(rotation.begin("h07.link"))
            await servers.linked(["h07"])
            await eventually(lambda: Address.parse(CEM) in watch.agents and links[-1] == ("h07", True))
            await done(rotation.finish(CEM))
            await done(rotation.finish("h07.link"))
            await servers.cut("h07")
            await eventually(lambda: links[-1] == ("h07", False))
            assert Address.parse(CEM) in watch.agents
            tasks.cancel_scope.cancel()


async def test_an_agent_that_was_down_while_its_key_changed_comes_with_the_new_one() -> None:
    async with deployed() as (run, _, rotation):
        await done(rotation.begin(CEM))
        await done(rotation.finish(CEM))
        assert (await run.bus(CEM)).connection.connected


async def test_an_agent_that_is_cut_by_finish_comes_back_with_the_key_that_its_file_holds(tmp_path: Path) -> None:
    """It runs elsewhere, and its file is replaced late: the change was finished before."""
    async with deployed() as (_, servers, rotation):
        own = tmp_path / f"{CEM}.nk"
        write_secret(own, seed_of(rotation, CEM))
        url, ca, inbox = servers.url_of("h07"), servers.ca_of("h07"), Address.parse(CEM).inbox
        connection = Connection(url, name=CEM, inbox=inbox, keys=Credential(own), ca=ca)
        await connection.open()
        await done(rotation.begin(CEM))
        await done(rotation.finish(CEM))
        await eventually(lambda: not connection.connected)
        write_secret(own, seed_of(rotation, CEM))
        await eventually(lambda: connection.connected)
        await connection.close()


async def test_no_durable_word_is_lost_or_doubled_while_the_key_of_a_link_and_of_both_ends_change() -> None:
    async with deployed() as (run, _, rotation):
        at_home: list[float | None] = []
        at_hub: list[float | None] = []
        dso = await run.bus(DSO, lambda bus: bus.on(LimitAccepted, lambda word, _heard: at_hub.append(word.limit_w)))
        cem = await run.bus(CEM, lambda bus: bus.on(SetLimit, lambda word, _heard: at_home.append(word.limit_w)))
        changed = anyio.Event()

        async def change() -> None:
            for name in ("h07.link", CEM, DSO, f"{HUB}.admin", f"{HUB}.sys", "h07.sys"):
                await done(rotation.begin(name))
                await done(rotation.finish(name))
            changed.set()

        said = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change)
            while not changed.is_set() or said < 20:
                said += 1
                await dso.tell_durably(Address.parse(CEM), limit(said))
                await cem.tell_durably(Address.parse(DSO), LimitAccepted(direction="consumption", limit_w=float(said)))
        await eventually(lambda: len(set(at_home)) == said and len(set(at_hub)) == said)
        wanted = {float(number) for number in range(1, said + 1)}
        assert (set(at_home), set(at_hub)) == (wanted, wanted)
        assert (len(at_home), len(at_hub)) == (said, said)


def limit(number: int) -> SetLimit:
    return SetLimit(direction="consumption", active=True, limit_w=float(number), reason=WHY)


async def test_the_old_key_of_a_link_opens_nothing_after_finish() -> None:
    async with deployed() as (_, servers, rotation):
        old = seed_of(rotation, "h07.link")
        await done(rotation.begin("h07.link"))
        await done(rotation.finish("h07.link"))
        await servers.linked(["h07"])
        async with leaf(servers, old):
            await eventually(lambda: "authentication error" in (servers.folder / "hub.log").read_text().lower())
            assert await servers.linked_sites() == set()


@asynccontextmanager
async def leaf(servers: Servers, seed: str, tls: Path | None = None) -> AsyncIterator[None]:
    """A server of h07 with this seed of its link; the site's own is ended."""
    await servers.kill("h07")
    certificate, key = Certificates(tls or servers.authority.parent).client("h07.link")
    config = servers.folder / "leaf.conf"
    config.write_text(
        f"server_name: h07\nlisten: 127.0.0.1:{servers.ports['h07'].client}\n"
        f'leafnodes {{ reconnect: "1s", remotes: [ {{ urls: ["tls://127.0.0.1:{servers.ports[HUB].leaves}"], '
        f'nkey: {seed}, tls {{ ca_file: "{servers.authority}", cert_file: "{certificate}", key_file: "{key}", '
        f"handshake_first: true }} }} ] }}\n"
    )
    process = await anyio.open_process([str(nats_server()), "-c", str(config), "-l", str(servers.folder / "leaf.log")])
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def test_a_change_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    old = keys(CEM).public
    keys.prepare(CEM)
    [_, new] = keys.publics(CEM)
    again = Keys(tmp_path)  # killed before servers were told
    again.prepare(CEM)
    assert again.publics(CEM) == [old, new]
    again.promote(CEM)
    assert again.publics(CEM) == [new, old]
    with pytest.raises(CannotChange, match="finish that change first"):
        again.prepare(CEM)
    again.retire(CEM)
    assert again.publics(CEM) == [new]
    with pytest.raises(CannotChange, match="no old key"):
        again.retire(CEM)


# -------------------------------------------------------------------- revocation


async def test_a_revoked_agent_is_cut_at_once_refused_after_and_left_out_of_later_configurations() -> None:
    async with deployed() as (run, servers, rotation):
        cem, meter = await run.bus(CEM), await run.bus(METER)
        await done(rotation.revoke(METER))
        await eventually(lambda: not meter.connection.connected)
        await refused(holder(servers, METER, seed_of(rotation, METER)))
        assert cem.connection.connected
        servers.configure()
        await servers.kill("h07")
        await servers.start("h07")
        await eventually(lambda: cem.connection.connected)
        await refused(holder(servers, METER, seed_of(rotation, METER)))
        await done(rotation.take_back(METER))
        await eventually(lambda: meter.connection.connected)


async def test_a_revoked_agent_is_let_in_again_with_a_new_key_and_not_with_the_stolen_one() -> None:
    async with deployed() as (run, servers, rotation):
        stolen = seed_of(rotation, METER)
        await done(rotation.revoke(METER))
        await done(rotation.begin(METER))
        meter = await run.bus(METER)
        assert meter.connection.connected
        await refused(holder(servers, METER, stolen))
        with pytest.raises(CannotChange, match="is not revoked"):
            await rotation.take_back(METER)


async def test_a_revoked_link_is_cut_at_once_and_the_home_goes_on_inside() -> None:
    async with deployed() as (run, servers, rotation):
        cem, meter = await run.bus(CEM), await run.bus(METER)
        await done(rotation.revoke("h07.link"))
        with anyio.fail_after(60):
            while await servers.linked_sites():  # noqa: ASYNC110  the hub is asked
                await anyio.sleep(0.02)
        assert cem.connection.connected
        assert meter.connection.connected
        await done(rotation.take_back("h07.link"))
        await servers.linked(["h07"])


async def test_who_tells_the_servers_is_rotated_and_never_revoked() -> None:
    async with deployed() as (_, _servers, rotation):
        with pytest.raises(CannotChange, match="rotate it"):
            await rotation.revoke(f"{HUB}.sys")
        with pytest.raises(CannotChange, match="nobody is called"):
            await rotation.revoke("h07.cem.mian")


# -------------------------------------------------------------------- certificates


def shown(servers: Servers, port: int) -> bytes:
    """The certificate that a server shows."""
    context = ssl.create_default_context(cafile=servers.authority)
    certificate, key = Certificates(servers.authority.parent).client("h07.link")
    context.load_cert_chain(certificate, key)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as way,
    ):
        found = way.getpeercert(True)
        assert found is not None
        return found


async def test_a_servers_certificate_is_changed_and_nobody_is_cut() -> None:
    async with deployed() as (run, servers, rotation):
        dso = await run.bus(DSO)
        client, ports = dso.connection.client, servers.ports[HUB]
        before = shown(servers, ports.client)
        await done(rotation.renew_certificate(HUB))
        for port in (ports.client, ports.leaves):
            assert await anyio.to_thread.run_sync(shown, servers, port) != before
        assert dso.connection.client is client
        assert dso.connection.connected
        await servers.linked(["h07"])


async def test_a_links_certificate_is_changed_and_the_link_comes_up_with_it() -> None:
    async with deployed() as (_, servers, rotation):
        await done(rotation.renew_certificate("h07.link"))
        await servers.cut("h07")
        await servers.mend("h07")
        await servers.linked(["h07"])


async def test_the_authority_is_changed_while_words_pass_and_the_old_one_is_believed_no_more(tmp_path: Path) -> None:
    async with deployed() as (run, servers, rotation):
        heard: list[float | None] = []
        dso = await run.bus(DSO)
        cem = await run.bus(CEM, lambda bus: bus.on(SetLimit, lambda word, _heard: heard.append(word.limit_w)))
        old = tmp_path / "old"
        old.mkdir()
        for path in servers.authority.parent.iterdir():
            (old / path.name).write_bytes(path.read_bytes())
        await moved(dso, rotation.begin_authority())
        await moved(dso, rotation.finish_authority())
        [now] = x509.load_pem_x509_certificates(servers.authority.read_bytes())
        mine = x509.load_der_x509_certificate(await anyio.to_thread.run_sync(shown, servers, servers.ports[HUB].client))
        mine.verify_directly_issued_by(now)
        await servers.cut("h07")
        await servers.mend("h07")
        await servers.linked(["h07"])
        assert cem.connection.connected
        await dso.tell_durably(Address.parse(CEM), limit(41))
        await eventually(lambda: heard == [41.0])
        async with leaf(servers, seed_of(rotation, "h07.link"), old):
            await eventually(lambda: "TLS leafnode handshake error" in (servers.folder / "hub.log").read_text())
            assert await servers.linked_sites() == set()


def test_the_change_of_an_authority_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificate, _ = certificates.server(HUB)
    first = certificate.read_bytes()
    with pytest.raises(CannotChange, match="begin with"):
        certificates.forget()
    certificates.follow()
    assert certificates.server(HUB)[0].read_bytes() == first, "still believed, still good"
    with pytest.raises(CannotChange, match="--finish` first"):
        certificates.follow()
    certificates.renew_all()
    second = certificate.read_bytes()
    assert second != first
    certificates.forget()
    assert certificates.server(HUB)[0].read_bytes() == second
    certificate.write_bytes(first)
    assert certificates.server(HUB)[0].read_bytes() != first, "what no authority here has signed is made anew"


# -------------------------------------------------------------------- the command


async def test_a_server_that_is_not_reached_is_named_and_what_to_do() -> None:
    async with deployed() as (_, servers, rotation):
        await servers.kill("h07")
        late = await rotation.begin(CEM)
        assert isinstance(late, NotReloaded)
        assert set(late.servers) == {"h07"}
        assert "kill -s HUP" in str(late)


async def test_rotate_and_revoke_as_commands() -> None:
    from deploy.cli import app
    from deploy.identity.cli import keys, revoke, rotate

    runner = CliRunner()
    for command in (keys, rotate, revoke):
        app.command()(command)
    async with grid(speed=1.0, shape=_evening()) as run:
        folder = str(run.servers.folder)

        async def say(*words: str) -> tuple[int, str]:
            more = ["--topology", "evening", "--keys", folder]
            result = await anyio.to_thread.run_sync(lambda: runner.invoke(app, [*words, *more]))
            return result.exit_code, result.output

        assert await say("rotate", "h07.cem.main") == (0, "h07.cem.main: the new one is good\n")
        assert await say("rotate", "h07.cem.main", "--finish") == (0, "h07.cem.main: changed\n")
        code, text = await say("rotate", "h07.cem.main", "--finish")
        assert (code, "begin with" in text) == (2, True)
        assert await say("revoke", "h07.cem.main") == (0, "h07.cem.main: revoked\n")
        assert await say("revoke", "h07.cem.main", "--undo") == (0, "h07.cem.main: good again\n")
        assert (await say("rotate", "hub"))[0] == 0
        assert (await say("revoke", "nobody"))[0] == 2
        await run.servers.kill("h07")
        code, text = await say("rotate", "h07.cem.main")
        assert (code, "kill -HUP" in text) == (1, True)
        for more, why in (
            (["--topology", "evening", "--folder", "/nowhere"], "is no deployment"),
            (["--topology", "pair", "--folder", folder], "is of another topology"),
        ):
            result = runner.invoke(app, ["revoke", "h07.cem.main", *more])
            assert (result.exit_code, why in result.output.replace("\n", " ")) == (2, True)


def _evening():  # type: ignore[no-untyped-def]
    from deploy.topology import load

    return load("evening")
