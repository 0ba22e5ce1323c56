"""A run of one process per actor and no launcher: clock, world, recorders, streams, agents, each by its command."""

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.errors import Error as NatsError
from typer.testing import CliRunner

from bus.clock import SharedClock
from bus.nkeys import KeyPair
from bus.transport import Connection
from deploy.condition import CannotRun
from deploy.containers import cli as stage_cli
from deploy.containers.clock_keeper import Lags
from deploy.nats.ports import free_ports
from deploy.nats.provision import provision, streams
from deploy.nats.servers import nats_server
from deploy.permissions import Permissions
from deploy.records import rows
from deploy.records.run_facts import RECORDS, TRUTH, RunEnd, RunFacts
from deploy.records.talks import HOMES
from deploy.render.bundle import bundle
from deploy.report.report import write_report
from deploy.roster import Roster
from deploy.stage import clock_names, must_hold
from deploy.topology import TopologyError, load
from deploy.topology_faults import faults
from deploy.world_spec import modbus_port
from tests.support.containers import BareServers, Containers
from world.truth import read_truth

pytestmark = pytest.mark.anyio

MINI = """
name = "mini"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T22:00:00+02:00
speed = 30.0
[grid]
agents = [
  { role = "dso", name = "north" },
  { role = "meter", name = "substation", device = "eastron_sdm630", unit = 1, settings = { grid_push_s = 5.0 } },
  { role = "ops", name = "recorder" },
]
[[site]]
name = "h07"
bus = 7
contract_consumption_w = 15000.0
fuse_a = 35.0
household = { profile = "L1-A", power_w = 4000.0 }
agents = [
  { role = "cem", name = "main" },
  { role = "meter", name = "main", device = "eastron_sdm630", unit = 1, settings = { grid_push_s = 5.0 } },
  { role = "ops", name = "recorder" },
]
"""
AGENTS = ("grid.dso.north", "grid.meter.substation", "h07.cem.main", "h07.meter.main")


@asynccontextmanager
async def containers(here: Path) -> AsyncIterator[Containers]:
    (here / "mini.toml").write_text(MINI)
    bundle(here / "mini.toml", here / "topology")
    file = here / "topology" / "topology.toml"
    async with BareServers(load(file), here / "nats") as servers, Containers(here, file, servers) as made:
        yield made


def readings(folder: Path, agent: str) -> int:
    return sum(one.agent == agent for one in rows.readings(folder / RECORDS))


@pytest.mark.timeout(600)
async def test_a_run_of_containers_begins_together_outlives_its_parts_and_leaves_a_report(tmp_path: Path) -> None:
    async with containers(tmp_path) as run:
        for address in AGENTS:  # in the worst order: no clock, no streams, no hardware yet
            run.agent(address)
        await run.until(lambda: "there is no clock" in run.ailment("h07.cem.main"))
        run.start("clock", "clock", "--wait", "600")
        await run.until(lambda: run.ailment("clock") == "well")
        await run.until(lambda: "not stored" in run.ailment("h07.cem.main"))
        for server in ("hub", "h07", "h07"):  # once more changes nothing
            run.start(f"provision.{server}", "provision", server, identity=f"{server}.admin", server=server)
            assert await run.code(f"provision.{server}") == 0
        run.start("recorder", "record", identity="grid.ops.recorder", server="hub", data=run.data)
        run.start("h07.recorder", "record", "--site", "h07", identity="h07.ops.recorder", server="h07", data=run.data)
        await run.until(lambda: all(run.ailment(name) == "well" for name in (*AGENTS, "recorder", "h07.recorder")))
        clock = SharedClock(run.clock)
        assert clock.now() == run.servers.topology.run.start.timestamp()  # the world is not there
        run.start("world", "world", "--host", run.hardware, data=run.data)
        await run.until(lambda: "all 5 are there" in run.says("clock"))
        await run.until(lambda: all(readings(run.data, meter) for meter in (AGENTS[1], AGENTS[3])))

        before = clock.now(), clock.speed
        assert await run.stop("clock", number=signal.SIGKILL) == {"clock": -signal.SIGKILL}
        assert (clock.now() > before[0], clock.speed >= min(before[1], 1.0)) == (True, True)  # the others live on
        speed = clock.speed
        run.start("clock", "clock")
        await run.until(lambda: "goes on at" in run.says("clock"))
        assert clock.speed >= 0.4 * speed  # never from standstill: the governor alone slows it
        assert clock.now() > before[0]

        seen = len(read_truth(run.data / TRUTH).rows)
        assert await run.stop("world") == {"world": 0}
        run.start("world", "world", "--host", run.hardware, data=run.data)
        await run.until(lambda: len(read_truth(run.data / TRUTH).rows) > seen + 1)
        instants = read_truth(run.data / TRUTH).column("instant")
        assert instants == sorted(instants, key=float)

        assert await run.stop("recorder") == {"recorder": 0}
        run.start("recorder", "record", identity="grid.ops.recorder", server="hub", data=run.data)
        known = readings(run.data, "h07.meter.main")
        await run.until(lambda: readings(run.data, "h07.meter.main") > known)

        going = run.running
        assert len(going) == 8
        assert await run.stop(*going) == dict.fromkeys(going, 0)
        assert "ends with code 0" in run.says("world")
    ending = RunEnd.read(run.data)
    assert ending is not None
    assert RunFacts.read(run.data).start < ending.ended
    page = (write_report(run.data) / "report.md").read_text()
    assert "mini" in page
    assert any(event.talk for event in rows.events(run.data / RECORDS))
    assert (run.data / RECORDS / HOMES / "h07").is_dir()


async def test_a_clock_names_whom_it_did_not_wait_for_holds_the_end_and_never_goes_back(tmp_path: Path) -> None:
    async with containers(tmp_path) as run:
        told = {"until": "2016-05-20T10:01:00+02:00", "speed": 20}
        run.start("clock", "clock", "--wait", "0.5", **told)
        await run.until(lambda: "the run starts" in run.says("clock"))
        assert "not there after 0.5 s: world, grid.dso.north," in run.says("clock")
        clock = SharedClock(run.clock)
        assert await run.stop("clock") == {"clock": 0}
        before = clock.now()
        assert clock.speed > 0  # others live on
        run.start("clock", "clock", **told)
        await run.until(lambda: "the run is over" in run.says("clock"))
        end = load(run.topology).run.start.timestamp() + 60
        held = clock.now()
        assert (clock.speed, held >= max(end, before)) == (0.0, True)
        assert run.ailment("clock") == "well"
        assert set(Lags.read(run.clock).lags_s) == {"p50", "p99", "max"}
        await run.stop("clock")
        run.start("clock", "clock", **told)
        await run.until(lambda: run.says("clock").count("the run is over") == 2)
        assert clock.now() == held
        await run.stop("clock")

        other = tmp_path / "other.toml"
        other.write_text(MINI.replace('  { role = "cem", name = "main" },\n', ""))
        run.start("clock", "clock", topology=other)
        assert await run.code("clock") == 2
        assert "slots for 5 processes, this topology has 4: it is another run's; remove it" in run.says("clock")


async def test_who_cannot_do_what_it_is_told_says_why_and_what_to_do(tmp_path: Path) -> None:
    async with containers(tmp_path) as run:
        told = {"identity": "grid.ops.recorder", "server": "hub", "data": run.data}
        run.start("none", "world", "--clock", str(run.topology), data=run.data)
        run.start("dark", "record", nats="tls://127.0.0.1:1", keys=tmp_path, data=run.data)
        run.start("foreign", "provision", "h07", identity="hub.admin", server="h07")
        for name, said in (
            ("none", "topology.toml is no clock of a run"),
            ("dark", "there is no key"),
            ("foreign", "there is no key"),
        ):
            assert await run.code(name) == 2, name
            assert said in run.says(name)
        RunFacts.of(load("street")).write(run.data)
        run.start("clock", "clock", "--wait", "0")
        run.start("other", "record", **told)
        assert await run.code("other") == 2
        assert "holds another run (street, from 2016-05-20T10:00:00+02:00 on): choose another" in run.says("other")


async def info(connection: Connection, stream: str) -> dict[str, Any]:
    with anyio.fail_after(60):
        while True:
            with suppress(TimeoutError, NatsError):
                return json.loads(await connection.request(f"$JS.API.STREAM.INFO.{stream}", b""))


@pytest.mark.timeout(600)
async def test_streams_are_made_in_as_many_copies_as_a_cluster_has_servers_that_come_up_one_by_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    ports = free_ports(6)
    url = f"nats://127.0.0.1:{ports[0]}"
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[3:])
    permissions, admin = Permissions(load(tmp_path / "mini.toml"), Roster()), KeyPair.new()
    servers: list[subprocess.Popen[bytes]] = []

    def start(number: int) -> None:
        config = tmp_path / f"{number}.conf"
        config.write_text(
            f"server_name: n{number}\nlisten: 127.0.0.1:{ports[number]}\n"
            f'jetstream {{ store_dir: "{tmp_path}/{number}" }}\n'
            f'cluster {{ name: hub, listen: "127.0.0.1:{ports[3 + number]}", routes: [{routes}] }}\n'
        )
        with (tmp_path / f"{number}.log").open("wb") as out:
            servers.append(subprocess.Popen([nats_server(), "--config", config], stdout=out, stderr=out))

    made = anyio.Event()

    async def make() -> None:
        await provision(permissions, "hub", url, admin, replicas=3, within_s=90, patience_s=90)
        made.set()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(make)
            start(0)
            lone = Connection(url, name="test", inbox="_R.test")
            await lone.open(90)
            assert not made.is_set()  # one of three has no leader
            start(1)
            start(2)
        await make()  # again: nothing changes
        for stream in streams(permissions, "hub"):
            told = await info(lone, stream["name"])
            assert (told["config"]["num_replicas"], len(told["cluster"]["replicas"])) == (3, 2)
        await lone.close()
    finally:
        for server in servers:
            server.kill()
            server.wait()


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("record", ["--out", "x", "--site", "h99"], "h99.ops.recorder is not in street: add"),
        ("provision", ["h99"], "there is no server 'h99' in street: it has hub, h01"),
        ("world", [], "give --clock FILE"),
        ("clock", ["--until", "noon"], "'noon' is not understood"),
        ("clock", ["--start", "2016-05-20T23:00:00+02:00"], "is not after start"),
    ],
)
def test_mistakes_are_said_with_their_remedy(command: str, options: list[str], said: str) -> None:
    import typer

    app = typer.Typer()
    app.command()(getattr(stage_cli, command))
    answer = CliRunner().invoke(app, options)
    assert answer.exit_code == 2
    assert said in answer.output


def test_every_process_has_its_own_place_in_the_clock_and_every_place_its_port() -> None:
    street = load("street")
    names = clock_names(street)
    assert names[0] == "world"
    assert len(set(names)) == len(names)
    assert not any(".ops." in name or name.endswith("app.phone") for name in names)
    ports = [modbus_port(street, place) for place in ("grid", *street.sites)]
    assert ports == list(range(15020, 15020 + 1 + len(street.site)))


@pytest.mark.parametrize("name", ["street", "evening", "home"])
def test_a_bundle_is_the_topology_with_all_that_it_names(tmp_path: Path, name: str) -> None:
    given = load(name)
    until = given.run.start.replace(hour=given.run.start.hour + 1)
    made = bundle(name, tmp_path / "one", until=until, speed=10.0)
    assert faults(made) == []
    assert (made.run.until, made.run.speed, made.site) == (until, 10.0, given.site)
    assert made.disturbance == tuple(one for one in given.disturbance if one.at <= until)
    (tmp_path / "one").rename(tmp_path / "two")  # nothing names the folder that it was made in
    again = load(tmp_path / "two" / "topology.toml")
    named = [entry.settings["weather"] for entry in again.grid.agents if entry.role == "forecaster"] + [
        tariff["file"] for tariff in again.defaults.get("retailer", {}).get("tariffs", ()) if "file" in tariff
    ]
    assert len(named) == (0 if name == "evening" else 2)
    for file in named:
        assert Path(file).parent == tmp_path / "two"
        assert Path(file).stat().st_size > 0
    assert bundle(tmp_path / "two" / "topology.toml", tmp_path / "two") == again  # written onto itself


def test_a_bundle_takes_nothing_from_beyond_its_topology_s_folder(tmp_path: Path) -> None:
    for named, said in (("./../secret", "is not below its folder"), ("./nowhere.csv", "cannot be read")):
        (tmp_path / "bad.toml").write_text(MINI + f'\n[defaults.retailer]\nsaid = "{named}"\n')
        with pytest.raises(TopologyError, match=said):
            bundle(tmp_path / "bad.toml", tmp_path / "out")


def test_a_server_s_certificate_is_asked_for_where_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "h07.cem.main.nk").touch()
    must_hold(tmp_path, "h07.cem.main", "nats://127.0.0.1:4222")
    with pytest.raises(CannotRun, match=r"there is no .*ca\.pem, so nobody can say whether tls://nats-h07:4222"):
        must_hold(tmp_path, "h07.cem.main", "tls://nats-h07:4222")
