"""A fleet on real servers: a site is held to its name by a template, a JWT ends when it ends or is taken back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import product
from pathlib import Path

import anyio
import msgspec
import pytest

from bus.address import Address, tail
from bus.bus import Bus
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable, Connection
from bus.user_jwt import Credential
from contracts.kit import vocabulary
from contracts.power_limit import Heartbeat, LimitAccepted, SetLimit
from contracts.system import Hello
from deploy.fleet.config import NotPushed
from deploy.fleet.fleet import Fleet, creds
from deploy.identity.certificates import Certificates
from deploy.identity.keys import write_secret
from deploy.nats.servers import nats_server
from deploy.topology import HUB
from tests.support.fleet import FleetServers
from tests.support.grid import Grid, eventually, grid

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
DSO, CEM, OTHER = "grid.dso.north", "h07.cem.main", "h08.cem.main"
EVERYBODY = (DSO, CEM, "h07.meter.main", OTHER)
LONG = timedelta(hours=1)


@asynccontextmanager
async def fleet_grid(speed: float = 5.0) -> AsyncIterator[tuple[Grid, FleetServers]]:
    async with grid(*EVERYBODY, groups=("street",), speed=speed, servers=FleetServers) as run:
        assert isinstance(run.servers, FleetServers)
        yield run, run.servers


@asynccontextmanager
async def server_of_a_thief(servers: FleetServers, credentials: Path, site: str = "h07") -> AsyncIterator[Connection]:
    """A server without any rights of its own behind a site's link, and who speaks there. The site's own is ended."""
    await servers.kill(site)
    config = servers.folder / "thief.conf"
    port, leaves = servers.ports[site].client, servers.ports[HUB].leaves
    certificate, key = Certificates(servers.authority.parent).client(f"{site}.link")
    config.write_text(
        f"server_name: {site}\nlisten: 127.0.0.1:{port}\n"
        f'leafnodes {{ reconnect: "1s", remotes: [ {{ urls: ["tls://127.0.0.1:{leaves}"], '
        f'credentials: "{credentials}", tls {{ ca_file: "{servers.authority}", '
        f'cert_file: "{certificate}", key_file: "{key}", handshake_first: true }} }} ] }}\n'
    )
    process = await anyio.open_process([str(nats_server()), "-c", str(config), "-l", str(servers.folder / "thief.log")])
    connection = Connection(f"nats://127.0.0.1:{port}", name="thief", inbox="_R.h07.thief")
    try:
        await connection.open()
        yield connection
        await connection.close()
    finally:
        process.kill()
        await process.wait()


def hub_log(servers: FleetServers) -> str:
    return (servers.folder / f"{HUB}.log").read_text()


async def site_linked(servers: FleetServers, site: str, there: bool = True) -> None:
    with anyio.fail_after(60):
        while (site in await servers.linked_sites()) != there:  # noqa: ASYNC110  the hub is asked
            await anyio.sleep(0.02)


# -------------------------------------------------------------------- the template binds


async def test_lawful_words_pass_both_ways_and_what_was_missed_is_read() -> None:
    async with fleet_grid() as (run, servers):
        at_hub, at_home = [], []
        dso = await run.bus(DSO, lambda bus: bus.on(LimitAccepted, lambda word, heard: at_hub.append(heard.sender)))
        await run.bus(CEM, lambda bus: bus.on(SetLimit, lambda word, heard: at_home.append(word.limit_w)))
        await dso.tell_durably(Address.parse(CEM), _limit(1.0))
        await eventually(lambda: at_home == [1.0])
        await servers.cut("h07")
        await dso.tell_durably(Address.parse(CEM), _limit(2.0))
        await servers.mend("h07")
        await eventually(lambda: at_home == [1.0, 2.0])


async def test_a_site_with_a_jwt_speaks_as_itself_and_nobody_else_whoever_forges_inside() -> None:
    async with fleet_grid() as (run, servers):
        heard = await run.words()
        words = [tail(kind) for kind in vocabulary().values()]
        agents = servers.permissions.agents()
        own, foreign = [a for a in agents if a.site == "h07"], [a for a in agents if a.site != "h07"]
        lies = [f"say.{one}.{word}" for one, word in product(foreign, words)]
        lies += [f"to.{receiver}.{one}.{word}" for receiver, one, word in product(agents, foreign, words)]
        lies += [f"home.{plane}.{one}.{words[0]}" for plane, one in product(("say", f"to.{DSO}"), agents)]
        lies += ["dead.h08.cem.main", "dead.grid.dso.north", "group.street.grid.dso.north.x.1.y"]
        true = [f"to.{DSO}.{own[0]}.{words[0]}", f"say.{own[0]}.{words[0]}"]
        async with server_of_a_thief(servers, servers.creds_of("h07")) as thief:
            await servers.linked(["h07"])
            for subject in (*lies, *true):
                thief.publish(subject, b"{}")
            await thief.barrier()
            await heard.until(lambda got: set(true) <= {subject for subject, _ in got.all})
        assert {subject for subject, _ in heard.all} - set(true) == set()


async def test_a_stolen_link_reads_no_other_sites_mail_consumer_or_last_values() -> None:
    async with fleet_grid() as (run, servers):
        dso = await run.bus(DSO)
        await dso.tell_durably(Address.parse(OTHER), _limit(1.0))
        await dso.tell_durably(Address.parse(CEM), _limit(2.0))
        read: list[str] = []
        async with server_of_a_thief(servers, servers.creds_of("h07")) as thief:
            for subject in ("to.>", "say.>", "dead.>", "home.>", "_R.h07.>", "_R.h08.>", "$KV.>"):
                # An empty answer is the server's way to say: nothing there.
                await thief.subscribe(subject, lambda subject, payload: read.append(subject) if payload else None)

            def ask(subject: str) -> None:
                thief.client.post(f"PUB {subject} _R.h07.thief ".encode(), b'{"batch":1,"expires":1000000000}')

            await servers.linked(["h07"])
            next_of, own = f"$JS.{HUB}.API.CONSUMER.MSG.NEXT.TALKS", f"to.{CEM}.{DSO}.{tail(SetLimit)}"
            with anyio.fail_after(60):
                while own not in read:  # its own mail it gets, as soon as the link carries what it asks
                    ask(f"{next_of}.h07-cem-main")
                    await anyio.sleep(0.1)
            for subject in (
                f"{next_of}.h08-cem-main",
                f"{next_of}.grid-dso-north",
                f"$JS.{HUB}.API.CONSUMER.CREATE.TALKS",
                f"$JS.{HUB}.API.STREAM.MSG.GET.TALKS",
                f"$JS.{HUB}.API.STREAM.INFO.TALKS",
                f"$JS.{HUB}.API.DIRECT.GET.TALKS.to.{OTHER}.{DSO}.{tail(SetLimit)}",
                f"$JS.{HUB}.API.DIRECT.GET.KV_STATE.$KV.STATE.{DSO}.x",
            ):
                ask(subject)
            await thief.barrier()
            dso.tell(Address.parse(OTHER), Heartbeat(every_s=60.0))
            dso.say(Hello(role="dso", software="test"), home=True)
            await dso.tell_durably(Address.parse(OTHER), _limit(3.0))
            dso.tell(Address.parse(CEM), Heartbeat(every_s=60.0))
            await eventually(lambda: any(subject.endswith("heartbeat") for subject in read))
        assert {subject.split(".")[1] for subject in read if subject.startswith("to.")} == {"h07"}
        assert not [subject for subject in read if subject.startswith(("home.", "dead.", "$KV.", "_R."))]


async def test_the_jwt_of_a_link_opens_no_client_connection() -> None:
    async with fleet_grid() as (_, servers):
        token = servers.fleet.site("h07", servers.key_ring("h07.link").public)
        write_secret(servers.key_ring.credential("h07.link").jwt, token)
        with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
            await servers.connection(HUB, "h07.link", "_R.h07").open()


async def test_a_jwt_without_its_seed_opens_nothing(tmp_path: Path) -> None:
    async with fleet_grid() as (_, servers):
        stolen = servers.key_ring.credential(DSO).jwt.read_text()
        write_secret(tmp_path / "x.nk", KeyPair.new().seed)

        class Blind(Credential):
            def present(self):  # type: ignore[no-untyped-def]
                return KeyPair.from_file(self.seed), _Text(stolen.strip())

        with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
            await Connection(
                servers.url_of(HUB), name="x", inbox="_R.x", keys=Blind(tmp_path / "x.nk"), ca=servers.authority
            ).open()


class _Text:
    def __init__(self, text: str) -> None:
        self.text = text


# -------------------------------------------------------------------- foreign, expired, revoked


async def test_a_site_of_another_operator_gets_no_link(tmp_path: Path) -> None:
    async with fleet_grid() as (_, servers):
        foreign = Fleet.found(tmp_path / "foreign", servers.permissions)
        pair = KeyPair.new()
        write_secret(tmp_path / "x.creds", creds(foreign.site("h07", pair.public), pair))
        async with server_of_a_thief(servers, tmp_path / "x.creds"):
            await eventually(lambda: "authentication error" in hub_log(servers).lower())
            assert "h07" not in await servers.linked_sites()


async def test_an_agent_of_another_operator_is_refused(tmp_path: Path) -> None:
    async with fleet_grid() as (_, servers):
        foreign = Fleet.found(tmp_path / "foreign", servers.permissions)
        pair, who = KeyPair.new(), Address.parse(DSO)
        write_secret(tmp_path / "x.nk", pair.seed)
        write_secret(tmp_path / "x.jwt", foreign.agent(who, pair.public, servers.permissions))
        with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
            await stranger(servers, tmp_path / "x.nk").open()


def stranger(servers: FleetServers, seed: Path) -> Connection:
    return Connection(
        servers.url_of(HUB),
        name=DSO,
        inbox=Address.parse(DSO).inbox,
        keys=Credential(seed),
        ca=servers.ca_of(HUB),
    )


async def test_an_expired_link_is_cut_and_refused_until_it_has_a_new_jwt() -> None:
    async with fleet_grid() as (_, servers):
        servers.give("h07", timedelta(seconds=2))
        await servers.kill("h07")
        await servers.start("h07")
        await site_linked(servers, "h07", True)
        await site_linked(servers, "h07", False)
        before = len(hub_log(servers))
        await eventually(lambda: "authentication error" in hub_log(servers)[before:])  # it tries again, and is refused
        assert "h07" not in await servers.linked_sites()
        servers.give("h07", LONG)
        await site_linked(servers, "h07", True)


async def test_an_expired_agent_is_cut_and_comes_back_with_the_jwt_that_its_file_holds_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fleet_grid() as (run, servers):
        credential, who = servers.key_ring.credential(DSO), Address.parse(DSO)
        keys, _ = credential.present()
        issue = servers.fleet.agent
        write_secret(credential.jwt, issue(who, keys.public, servers.permissions, valid=timedelta(seconds=2)))
        dso = await run.bus(DSO)
        back = asyncio.Event()
        dso.connection.on_reconnect = back.set
        await eventually(lambda: not dso.connection.connected)
        await eventually(lambda: "authentication expired" in caplog.text)
        write_secret(credential.jwt, issue(who, keys.public, servers.permissions))
        await asyncio.wait_for(back.wait(), 60)
        assert dso.connection.connected


async def test_a_revoked_link_is_cut_at_once_and_stays_out_over_a_restart_of_the_hub() -> None:
    async with fleet_grid() as (_, servers):
        servers.fleet.revoke("h07")
        await servers.push()
        await site_linked(servers, "h07", False)
        assert "h08" in await servers.linked_sites(), "nobody else is disturbed"
        before = len(hub_log(servers))
        await eventually(lambda: "authentication error" in hub_log(servers)[before:])
        await servers.kill(HUB)  # its configuration still holds the account as it was before
        await servers.start(HUB)
        await site_linked(servers, "h08", True)
        assert "h07" not in await servers.linked_sites()
        servers.fleet.take_back("h07")
        await servers.push()
        await site_linked(servers, "h07", True)


async def test_a_revoked_agent_is_cut_at_once_and_refused() -> None:
    async with fleet_grid() as (run, servers):
        dso = await run.bus(DSO)
        servers.fleet.revoke(DSO)
        await servers.push()
        await eventually(lambda: not dso.connection.connected)
        with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
            await stranger(servers, servers.key_ring.path(DSO)).open()


async def test_a_retired_signing_key_takes_its_sites_with_it_and_a_rotation_loses_nobody() -> None:
    async with fleet_grid() as (_, servers):
        servers.fleet.rotate("sites")
        await servers.push()
        servers.give("h08", LONG)  # renewed in time: signed by the new key
        assert {"h07", "h08"} <= await servers.linked_sites()
        servers.fleet.finish("sites")
        await servers.push()
        await site_linked(servers, "h07", False)
        await site_linked(servers, "h08", True)
        servers.give("h07", LONG)
        await site_linked(servers, "h07", True)


async def test_an_account_that_another_operator_signed_lets_nobody_in_and_is_healed_by_a_push(tmp_path: Path) -> None:
    """nats-server 2.15 stores what its system user pushes before it looks who signed it; it never acts upon it."""
    async with fleet_grid() as (run, servers):
        dso = await run.bus(DSO)
        foreign = Fleet.found(tmp_path / "foreign", servers.permissions)
        foreign.charter = msgspec.structs.replace(foreign.charter, account=servers.fleet.charter.account)
        foreign.sign_account()
        pair, who = KeyPair.new(), Address.parse(DSO)
        write_secret(tmp_path / "x.nk", pair.seed)
        write_secret(tmp_path / "x.jwt", foreign.agent(who, pair.public, servers.permissions))
        await servers.push(foreign)
        await dso.connection.barrier()
        assert dso.connection.connected
        with pytest.raises(BusUnavailable, match=r"(?i)authorization"):
            await stranger(servers, tmp_path / "x.nk").open()
        await servers.push()
        await servers.kill(HUB)
        await servers.start(HUB)
        await site_linked(servers, "h08", True)
        await eventually(lambda: dso.connection.connected)


async def test_a_long_list_of_revocations_is_taken_and_nobody_else_may_say_as_much() -> None:
    async with fleet_grid() as (run, servers):
        dso = await run.bus(DSO)
        list(servers.fleet.sites((f"s{n}", KeyPair.new().public) for n in range(1000)))
        with servers.fleet._ledger() as ledger:
            for n in range(1000):
                ledger.revoke(ledger.of(f"s{n}")[0], 1)
        assert len(servers.fleet.sign_account()) > 80_000
        await servers.push()
        assert dso.connection.connected
        dso.connection.client.post(f"PUB dead.{DSO} ".encode(), bytes(100_000))
        await eventually(lambda: "maximum payload" in hub_log(servers).lower())


async def test_an_account_that_is_none_is_not_taken_and_it_is_said() -> None:
    async with fleet_grid() as (_, servers):
        write_secret(servers.fleet.folder / "account.jwt", "no.jwt.atall")
        with pytest.raises(NotPushed, match="did not take the account"):
            await servers.push()


# -------------------------------------------------------------------- renewal


async def test_no_durable_word_is_lost_or_doubled_over_renewals_at_both_ends() -> None:
    async with fleet_grid(speed=1.0) as (run, servers):
        credential, who = servers.key_ring.credential(DSO), Address.parse(DSO)
        keys, _ = credential.present()
        servers.give("h07", timedelta(seconds=4))
        await servers.kill("h07")
        await servers.start("h07")
        await site_linked(servers, "h07", True)
        at_home: list[float | None] = []
        at_hub: list[float | None] = []
        dso = await run.bus(DSO, lambda bus: bus.on(LimitAccepted, lambda word, _heard: at_hub.append(word.limit_w)))
        cem = await run.bus(CEM, lambda bus: bus.on(SetLimit, lambda word, _heard: at_home.append(word.limit_w)))
        # The agent's JWT is renewed in time: it moves over. So is the link's file, but a link is cut at its JWT's end.
        rounds, said, first = 3, 0, _count(servers, "expired")
        with anyio.fail_after(60):
            while _count(servers, "expired") < first + rounds:
                said += 1
                await _both(dso, cem, float(said))
                servers.give("h07", timedelta(seconds=4))
                if said % 20 == 0:
                    token = servers.fleet.agent(who, keys.public, servers.permissions, valid=LONG)
                    write_secret(credential.jwt, token)
        await eventually(lambda: len(set(at_home)) == said and len(set(at_hub)) == said)
        wanted = [float(number) for number in range(1, said + 1)]
        assert (sorted(at_home, key=float), sorted(at_hub, key=float)) == (wanted, wanted)  # type: ignore[arg-type]


def _count(servers: FleetServers, what: str) -> int:
    return hub_log(servers).lower().count(f"authentication {what}")


async def _both(dso: Bus, cem: Bus, number: float) -> None:
    await dso.tell_durably(Address.parse(CEM), _limit(number))
    with anyio.fail_after(60):
        await cem.tell_durably(Address.parse(DSO), LimitAccepted(direction="consumption", limit_w=number))


async def test_an_agent_whose_jwt_is_renewed_in_time_is_never_disconnected() -> None:
    async with fleet_grid() as (run, servers):
        credential, who = servers.key_ring.credential(DSO), Address.parse(DSO)
        keys, first = credential.present()
        assert first is not None
        dso = await run.bus(DSO)
        before, gone = dso.connection.client, []
        dso.connection.on_reconnect = lambda: gone.append(1)
        write_secret(credential.jwt, servers.fleet.agent(who, keys.public, servers.permissions, valid=LONG))
        await eventually(lambda: dso.connection.client is not before)
        assert dso.connection.connected
        await eventually(lambda: before.is_closed)
        assert gone == []
        heard = await run.words()
        dso.tell(Address.parse(CEM), Heartbeat(every_s=60.0))
        await heard.until(lambda words: words.of("heartbeat"))


def _limit(limit_w: float) -> SetLimit:
    from tests.cem.home import WHY

    return SetLimit(direction="consumption", active=True, limit_w=limit_w, reason=WHY)
