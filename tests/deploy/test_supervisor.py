"""A run as its user sees it: the command line, real processes, kills, and what is left behind."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bus.clock import SharedClock
from deploy import control
from deploy.control import Command, NoRunHere
from deploy.nats.links import LinkState
from deploy.nats.servers import nats_server
from deploy.run.governor import Governor
from deploy.run.processes import Files, Plan
from deploy.stage import clock_names
from deploy.topology import load

pytestmark = pytest.mark.timeout(400)
MINI = """
name = "mini"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T16:00:00+02:00
speed = 30.0
[grid]
agents = [
  { role = "dso", name = "north" },
  { role = "hes", name = "main" },
  { role = "meter", name = "substation", device = "eastron_sdm630", unit = 1 },
  { role = "ops", name = "recorder" },
  { role = "ops", name = "operator" },
]
[[site]]
name = "h07"
bus = 7
contract_consumption_w = 15000.0
fuse_a = 35.0
household = { profile = "L1-A", power_w = 4000.0 }
agents = [
  { role = "cem", name = "main" },
  { role = "meter", name = "main", device = "eastron_sdm630", unit = 1 },
  { role = "pv", name = "1", device = "sunspec_inverter", unit = 30, rating_w = 9000.0, profile = "PV6" },
]
"""
WAIT_S = 100.0


class Run:
    """A run of the command line in a folder of its own."""

    process: "subprocess.Popen[str]"

    def __init__(self, here: Path, *options: str, start: bool = True) -> None:
        self.here, self.out, self.options = here, here / "out", options
        (here / "mini.toml").write_text(MINI)
        if start:
            self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "deploy.cli",
                "up",
                "mini.toml",
                "--headless",
                "--out",
                str(self.out),
                *self.options,
            ],
            cwd=self.here,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def tell(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", *command],
            cwd=self.here,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def status(self) -> dict[str, Any]:
        try:
            return control.send(Command(action="status"), self.here / control.HERE).status
        except NoRunHere:
            return {}

    def until(self, there: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        status: dict[str, Any] = {}
        while time.monotonic() < end:
            status = self.status()
            if status and there(status):
                return status
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.1)
        raise TimeoutError(f"not within {WAIT_S:g} s; last status: {status}")

    def runs(self) -> dict[str, Any]:
        return self.until(lambda status: not status["waiting_for"] and status["speed"] > 0)

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        out = self.process.communicate(timeout=WAIT_S)[0]
        return self.process.returncode, out


def eventually(there: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    running = Run(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


def test_a_run_ends_by_itself_with_its_report(tmp_path: Path) -> None:
    run = Run(tmp_path, "--for", "5m", "--speed", "60")
    out = run.process.communicate(timeout=WAIT_S)[0]
    assert run.process.returncode == 0, out
    ending = json.loads((run.out / "end.json").read_text())
    assert ending["restarts"] == {}
    assert (run.out / "report").is_dir()
    assert (run.out / "truth.csv").read_text().count("\n") > 5
    assert run.status() == {}
    violations = [
        line for log in (run.out / "nats").glob("*.log") for line in log.read_text().splitlines() if "Violation" in line
    ]
    assert "is started again" not in out
    assert violations == []  # no agent tries what it never declared


def test_whoever_is_killed_is_back_and_the_run_ends_well(run: Run) -> None:
    before = run.runs()
    for name in ("h07.cem.main", "h07.pv.1", "grid.dso.north", "world", "lines"):
        assert run.tell("kill", name).returncode == 0
        after = run.until(lambda status, name=name: status["restarts"].get(name) and not status["waiting_for"])
        assert after["processes"][name] != before["processes"][name]
    for server in ("hub", "h07"):
        assert run.tell("kill", server).returncode == 0
        run.until(lambda status, server=server: status["restarts"].get(f"nats.{server}") and not status["waiting_for"])
    code, out = run.end()
    assert code == 0, out
    assert set(json.loads((run.out / "end.json").read_text())["restarts"]) == {
        "h07.cem.main",
        "h07.pv.1",
        "grid.dso.north",
        "world",
        "lines",
        "nats.hub",
        "nats.h07",
    }


def masters(port: int) -> int:
    """Connections that the one who listens at a port has."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(local.endswith(f":{port:04X}") and state == established for _, local, _, state, *_ in rows)


def test_each_simulated_gateway_has_one_master_however_many_agents_there_are(run: Run) -> None:
    status = run.runs()
    plan = Plan.read(Files(run.out))
    assert set(plan.lines) == {"grid", "h07"}
    assert "lines" in status["processes"]
    fronts = {place: port for place, (_, port) in plan.gateways.items()}
    wanted = {"grid": 1, "h07": 2}  # hardware agents at each place
    eventually(lambda: {place: masters(port) for place, port in fronts.items()} == wanted)
    assert {place: masters(port) for place, (_, port) in plan.lines.items()} == {"grid": 1, "h07": 1}
    assert {place: port for place, (_, port) in plan.lines.items()} == plan.ports
    assert run.tell("kill", "lines").returncode == 0
    run.until(lambda status: status["restarts"].get("lines") and not status["waiting_for"])
    eventually(lambda: {place: masters(port) for place, port in fronts.items()} == wanted)
    assert {place: masters(port) for place, (_, port) in plan.lines.items()} == {"grid": 1, "h07": 1}
    assert run.end()[0] == 0


def test_without_fronts_each_agent_is_a_master_of_the_gateway(tmp_path: Path) -> None:
    run = Run(tmp_path, start=False)
    topology = run.here / "mini.toml"
    topology.write_text(topology.read_text().replace("speed = 30.0", "speed = 30.0\nfronts = false"))
    run.start()
    assert "lines" not in run.runs()["processes"]
    plan = Plan.read(Files(run.out))
    eventually(lambda: {place: masters(port) for place, port in plan.ports.items()} == {"grid": 1, "h07": 2})
    assert run.end()[0] == 0


def test_a_link_is_cut_and_mended_by_command_and_mistakes_are_answered(run: Run) -> None:
    run.runs()
    assert run.tell("cut", "h07").returncode == 0
    assert run.status()["links_cut"] == ["h07"]
    assert run.tell("mend", "h07").returncode == 0
    assert run.status()["links_cut"] == []
    for command, said in (
        (("cut", "h99"), "there is no site 'h99'"),
        (("kill", "h07.cem.x"), "there is no 'h07.cem.x'"),
        (("plug-in", "h99"), "h99"),
    ):
        answer = run.tell(*command)
        assert answer.returncode == 1
        assert said in answer.stderr
    assert run.tell("blackout").returncode == 0
    assert run.tell("restore").returncode == 0
    assert run.end()[0] == 0


def test_links_can_be_bad_and_clocks_wrong_and_the_status_tells_of_servers_that_cannot_write(run: Run) -> None:
    run.runs()

    def say(**fields: Any) -> control.Answer:
        return control.send(Command(**fields), run.here / control.HERE)

    assert not say(action="link", site="h07", link=LinkState(cut=True)).error
    run.until(lambda status: status["links_cut"] == ["h07"] and status["links"]["h07"] == "down")
    assert not say(action="link", site="h07", link=LinkState(delay_s=0.1)).error
    run.until(lambda status: status["links_cut"] == [] and status["links"]["h07"] == "up")
    assert not say(action="skew", address="h07.cem.main", ahead_s=7200.0).error
    ahead = SharedClock(run.out / "clock", clock_names(load(run.out / "topology.toml")).index("h07.cem.main"))
    assert ahead.now() - SharedClock(run.out / "clock").now() > 3600
    assert "h99" in say(action="link", site="h99").error
    assert "h07.cem.x" in say(action="skew", address="h07.cem.x").error
    assert run.status()["sick_servers"] == {}
    assert run.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order_with_its_report(run: Run, number: signal.Signals) -> None:
    run.runs()
    os.killpg(run.process.pid, number)  # as a terminal and `timeout` do: everybody of the group gets it
    out = run.process.communicate(timeout=WAIT_S)[0]
    assert run.process.returncode == 0, out
    assert json.loads((run.out / "end.json").read_text())["restarts"] == {}
    assert (run.out / "report" / "summary.json").exists()
    assert "is started again" not in out
    assert "Traceback" not in out + (run.out / "run.log").read_text()
    assert run.status() == {}


def test_a_second_ctrl_c_ends_everything_at_once(run: Run) -> None:
    pids = [*run.runs()["processes"].values()]
    os.kill(pids[-1], signal.SIGSTOP)  # who does not stop in order is what the second one is for
    run.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping in order" in (run.out / "run.log").read_text())
    run.process.send_signal(signal.SIGINT)
    run.process.communicate(timeout=WAIT_S)
    assert run.process.returncode == -signal.SIGINT
    assert not (run.out / "end.json").exists()
    eventually(lambda: not [pid for pid in pids if alive(pid)] + servers_of(run.out))
    assert run.tell("report", str(run.out)).returncode == 0


def test_a_head_end_that_is_killed_still_has_every_load_curve_of_the_run(run: Run) -> None:
    database = run.out / "data" / "grid.hes.main.sqlite"
    run.runs()
    assert run.tell("kill", "grid.hes.main").returncode == 0
    run.until(lambda status: status["restarts"].get("grid.hes.main") and not status["waiting_for"])
    before = blocks(database)
    eventually(lambda: len(blocks(database)) >= len(before) + 2)
    assert run.tell("kill", "grid.hes.main").returncode == 0
    run.until(lambda status: status["restarts"].get("grid.hes.main") == 2 and not status["waiting_for"])
    eventually(lambda: len(blocks(database)) >= len(before) + 4)
    assert run.end()[0] == 0
    kept = blocks(database)
    for meter in {meter for meter, _ in kept}:
        sequences = [sequence for one, sequence in kept if one == meter]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        assert sequences[0] <= 1
    assert set(before) <= set(kept)


def blocks(database: Path) -> list[tuple[str, int]]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
        return found.execute("SELECT meter, sequence FROM block ORDER BY meter, start, sequence").fetchall()


def test_nothing_stays_behind_when_the_launcher_is_killed(run: Run) -> None:
    status = run.runs()
    pids = [*status["processes"].values()]
    run.process.kill()
    run.process.wait()
    end = time.monotonic() + WAIT_S
    while left := [pid for pid in pids if alive(pid)] + servers_of(run.out):
        assert time.monotonic() < end, f"still alive: {left}"
        time.sleep(0.05)
    assert run.status() == {}


def test_a_run_uses_a_hub_that_runs_already_and_leaves_it_running(tmp_path: Path) -> None:
    run = Run(tmp_path, "--nats", "nats", start=False)
    refused = run.tell("up", "mini.toml", "--nats", "nats")
    assert (refused.returncode, "gridparley config mini.toml nats" in refused.stderr) == (2, True)
    assert run.tell("config", "mini.toml", "nats").returncode == 0
    refused = run.tell("up", "mini.toml", "--nats", "nats")
    assert (refused.returncode, "nobody listens at tls://" in refused.stderr) == (1, True)
    with subprocess.Popen([nats_server(), "-c", "nats/hub.conf", "-l", "hub.log"], cwd=tmp_path) as hub:
        try:
            eventually(lambda: "Server is ready" in read(tmp_path / "hub.log"))
            for _ in range(2):  # what the first one said is nothing to the second, whose clock begins anew
                run.start()
                status = run.runs()
                assert status["links"] == {"h07": "up"}
                refused = run.tell("kill", "hub")
                assert (refused.returncode, "did not start the hub" in refused.stderr) == (1, True)
                assert run.end()[0] == 0
                assert json.loads((run.out / "end.json").read_text())["dead_letters"] == {"grid": 0, "h07": 0}
                assert hub.poll() is None
                run.out.rename(tmp_path / f"before-{time.monotonic_ns()}")
        finally:
            hub.terminate()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_command_without_a_run_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "cut", "h07"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 1
    assert "start one with `gridparley up`" in done.stderr


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def servers_of(out: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(out) in (entry / "cmdline").read_bytes().decode() and alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_the_clock_is_slowed_for_who_is_late_and_goes_faster_again_when_all_keep_up() -> None:
    governor = warm(60.0)
    for _ in range(4):
        governor.look([9.0, *[0.1] * 9])
    assert governor.speed == 45.0
    assert governor.held_back == 1
    for _ in range(200):
        governor.look([0.1] * 20)
    assert governor.speed == 60.0


def warm(wanted: float) -> Governor:
    governor = Governor(wanted)
    for _ in range(10):
        governor.look([0.1] * 60)
    return governor


def test_a_run_starts_slowly_and_warms_up_while_nobody_is_late() -> None:
    governor = Governor(60.0)
    assert governor.speed == 10.0
    governor.look([30.0, *[0.1] * 59])
    assert governor.speed == 10.0
    assert warm(60.0).speed == 60.0


def test_a_stall_of_most_processes_brakes_the_clock_at_once() -> None:
    governor = warm(60.0)
    governor.look([20.0] * 40 + [0.1] * 20)
    assert governor.speed == 24.0


def test_a_world_that_falls_behind_slows_the_clock_alone() -> None:
    governor = warm(60.0)
    for _ in range(4):
        governor.look([8.0] + [0.1] * 59)
    assert governor.speed == 45.0


def test_one_process_that_stumbles_once_does_not_slow_the_clock() -> None:
    governor = warm(60.0)
    for lags in ([0.1] * 60, [9.0, *[0.1] * 59], [0.1] * 60, [0.1] * 60, [0.1] * 60):
        governor.look(lags)
    assert governor.speed == 60.0
    assert governor.summary()["max"] == 9.0


def test_the_clock_is_never_slower_than_real_time() -> None:
    governor = Governor(2.0)
    for _ in range(50):
        governor.look([99.0])
    assert governor.speed == 1.0
