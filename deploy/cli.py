"""The command line: ``gridparley``. Each command says in its help what it is for and how it is used."""

import asyncio
import logging
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from deploy import options
from deploy.overrides import overridden
from deploy.topology import Topology, TopologyError, find, load

app = typer.Typer(
    name="gridparley",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Independent agents on the customer side of the power grid.

Bring a street up, and in a second terminal disturb it:

    gridparley up street

    gridparley cut h07

    gridparley status
""",
)
topologies = typer.Typer(help="Topology files: check them, list those that come with gridparley.", no_args_is_help=True)
app.add_typer(topologies, name="topology")

TopologyName = Annotated[str, typer.Argument(help="A topology file, or the name of one that comes with gridparley.")]
Speed = Annotated[float | None, typer.Option(callback=options.finite, help="Run seconds per second; 1 is real time.")]


def main() -> None:
    """Entry point."""
    _mount()
    app()


def _mount() -> None:
    """Commands of other modules. What is not asked for is not imported: ``gridparley cut`` is there at once."""
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if wanted in ("", "devices"):
        from deploy.commands import devices_cli

        app.add_typer(devices_cli.app, name="devices")
    if wanted in ("", "contracts"):
        from deploy.pages import export

        app.add_typer(export.app, name="contracts")
    if wanted in ("", "fleet"):
        from deploy.fleet import cli as fleet_cli

        app.add_typer(fleet_cli.app, name="fleet")
    if wanted in ("", "keys", "rotate", "revoke"):
        from deploy.identity import cli as identity_cli

        app.command()(identity_cli.keys)
        app.command()(identity_cli.rotate)
        app.command()(identity_cli.revoke)
    if wanted in ("", "order"):
        from deploy.commands import orders_cli

        app.add_typer(orders_cli.app, name="order")
    if wanted in ("", "app"):
        from deploy.commands import app_cli

        app.add_typer(app_cli.app, name="app")
    if wanted in ("", "talks"):
        from deploy.records import talks_cli

        app.command("talks")(talks_cli.command)
    if wanted in ("", "trace"):
        from deploy.records import trace

        app.command("trace")(trace.command)
    if wanted in ("", "traces"):
        from deploy.telemetry import cli as traces_cli

        app.command("traces")(traces_cli.command)
    if wanted in ("", "line"):
        from deploy.run import lines_cli

        app.command("line")(lines_cli.command)
    if wanted in ("", "agent"):
        from deploy.run import agent_cli

        app.command("agent")(agent_cli.command)
    if wanted in ("", "clock", "world", "record", "provision"):
        from deploy.containers import cli as stage_cli

        for command in (stage_cli.clock, stage_cli.world, stage_cli.record, stage_cli.provision):
            app.command()(command)
    if wanted in ("", "render"):
        from deploy.render import cli as render_cli

        app.add_typer(render_cli.app, name="render")
    if wanted in ("", "coverage"):
        from deploy.pages import coverage

        app.command("coverage")(coverage.command)


@app.command()
def up(
    topology: TopologyName = "street",
    speed: Speed = None,
    for_: Annotated[str, typer.Option("--for", help="How long to run, in run time: 90s, 20m, 1.5h.")] = "",
    until: Annotated[str, typer.Option(help="Run until this instant (ISO 8601) or time of the day (14:30).")] = "",
    seed: Annotated[int | None, typer.Option(help="Of weather and behaviour; the same seed is the same world.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: `runs/<topology>-<time>`.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Plain log lines, also in a terminal.")] = False,
    nats: Annotated[
        Path | None, typer.Option(help="Use the hub that runs with this folder of `gridparley config`; it is emptied.")
    ] = None,
) -> None:
    """Bring a whole street up, watch it, and write its report.

    Starts NATS servers, the simulated world and every agent as a process of its own. Ctrl-C and SIGTERM stop in order:
    the report is still written, the exit code is 0. A second one kills everything at once (130 in a shell, no report;
    `gridparley report` makes it). 1: the run failed; 2: it cannot run as asked.

    Examples:

        gridparley up

        gridparley up evening --speed 30 --for 2h --out /tmp/evening

        gridparley up street --until 12:00 --headless
    """
    try:
        asked = overridden(options.loaded(topology), for_=for_, until=until, speed=speed, seed=seed)
    except ValueError as problem:
        raise options.failed(problem, 2) from None
    made = options.checked(asked)
    folder = (out or Path("runs") / f"{made.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").exists():
        raise options.failed(f"{folder} already holds a run: choose another folder with --out", 2)
    shutil.copyfile(find(topology), folder / "topology.toml")
    if nats is not None and not (nats / "hub.conf").exists():
        raise options.failed(f"{nats} holds no hub.conf: make it with `gridparley config {topology} {nats}`", 2)
    raise typer.Exit(_up(made, folder, headless, nats))


def _up(topology: Topology, folder: Path, headless: bool, nats: Path | None) -> int:
    import uvloop

    from bus.transport import BusUnavailable
    from deploy.nats.provision import NotProvisioned
    from deploy.nats.servers import ServerFailed
    from deploy.report.report import PAGE, write_report
    from deploy.run.offspring import NotReady, NurseryGone
    from deploy.run.supervisor import Options, Supervisor

    _log_to(folder / "run.log", headless)
    typer.echo(f"{topology.title or topology.name}\nrun folder: {folder}")

    async def run() -> None:
        supervisor = Supervisor(topology, folder, Options(headless=headless, nats=nats, say=typer.echo))

        def stop() -> None:
            if supervisor.stop.is_set():
                asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.raise_signal(signal.SIGINT)
            typer.echo("stopping in order; once more to kill")
            logging.getLogger("gridparley.run").info("stopping in order")
            supervisor.stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await supervisor.run()

    try:
        uvloop.run(run())
    except BaseExceptionGroup as group:
        known, rest = group.split((NotReady, NurseryGone, ServerFailed, NotProvisioned, BusUnavailable))
        if rest is not None or known is None:
            logging.getLogger("gridparley").exception("the run ended")
            raise
        typer.secho(str(options.innermost(known)), err=True, fg=typer.colors.RED)
        return 1
    except (NotReady, NurseryGone, ServerFailed, NotProvisioned, BusUnavailable, FileNotFoundError) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        return 1
    if not (folder / "end.json").exists():
        return 1
    made = write_report(folder)
    typer.echo((made / PAGE).read_text(encoding="utf-8"))
    typer.echo(f"report: {made}")
    return 0


def _log_to(path: Path, headless: bool) -> None:
    from deploy.telemetry.log_lines import TextLines

    handlers: list[logging.Handler] = [logging.FileHandler(path)]
    if headless or not sys.stdout.isatty():
        shown = logging.StreamHandler()
        shown.setLevel(logging.WARNING)
        handlers.append(shown)
    for handler in handlers:
        handler.setFormatter(TextLines())
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write a run's report anew; also for a run that was killed.

    Example: gridparley report runs/street-20260101-120000
    """
    from deploy.records.run_facts import NoRun
    from deploy.report.report import write_report

    try:
        typer.echo(write_report(folder))
    except NoRun as problem:
        raise options.failed(problem, 2) from None


# -------------------------------------------------------------------- commands to a running street


def _send(action: str, **fields: object) -> None:
    from deploy.control import Command, NoRunHere, send

    try:
        answer = send(msgspec.convert({"action": action, **fields}, Command))
    except NoRunHere as problem:
        raise options.failed(problem) from None
    if answer.error:
        raise options.failed(answer.error)
    if answer.text:
        typer.echo(answer.text)
    if answer.status:
        typer.echo(msgspec.json.format(msgspec.json.encode(answer.status)).decode())


@app.command()
def cut(site: Annotated[str, typer.Argument(help="A site of the running street, e.g. h07.")]) -> None:
    """Cut the link between a site and the grid side of the run that goes on in this folder.

    The home goes on inside; without heartbeats for 120 s of run time it holds its failsafe limits.
    """
    _send("cut", site=site)


@app.command()
def mend(site: Annotated[str, typer.Argument(help="A site whose link was cut.")]) -> None:
    """Bring a cut link back."""
    _send("mend", site=site)


@app.command()
def kill(
    address: Annotated[str, typer.Argument(help="An agent (h07.cem.main), a server (hub, h07), world, or lines.")],
) -> None:
    """Kill a process of the run like `kill -9` does; it is started again and must find its way back."""
    _send("kill", address=address)


@app.command()
def plug_in(
    site: Annotated[str, typer.Argument(help="A site with a charging point.")],
    device: Annotated[str, typer.Argument(help="The charging point, e.g. evse1.")] = "evse1",
    energy_wh: Annotated[float, typer.Option(callback=options.finite, help="What the car wants, Wh.")] = 20_000.0,
    stays_s: Annotated[float, typer.Option(callback=options.finite, help="How long it stays, run seconds.")] = 14_400.0,
) -> None:
    """Plug a car in at a charging point of the simulated world."""
    _send("plug_in", site=site, device=device, energy_wh=energy_wh, stays_s=stays_s)


@app.command()
def unplug(
    site: Annotated[str, typer.Argument(help="A site with a charging point.")],
    device: Annotated[str, typer.Argument(help="The charging point, e.g. evse1.")] = "evse1",
) -> None:
    """Let the car at a charging point drive away."""
    _send("unplug", site=site, device=device)


@app.command()
def blackout() -> None:
    """Take the voltage from the whole simulated street; `gridparley restore` gives it back."""
    _send("blackout")


@app.command()
def restore() -> None:
    """End a blackout."""
    _send("restore")


@app.command()
def status() -> None:
    """Show the run that goes on in this folder as JSON: clock, lag, who is waited for, restarts, links, servers."""
    _send("status")


# -------------------------------------------------------------------- one agent, keys, files


@app.command()
def config(
    topology: TopologyName,
    folder: Annotated[Path, typer.Argument(help="Where to; what is there already of keys and ports is kept.")],
) -> None:
    """Write a topology's NATS configurations: keys, certificates, the hub's file and each site's.

    They hold secrets: mode 0600. All servers are on this machine; ports are free ones, kept in `ports.json`.

    Examples:

        gridparley config street nats

        nats-server --config nats/hub.conf

        gridparley up street --nats nats
    """
    from deploy.nats.servers import Servers

    servers = Servers(options.checked(options.loaded(topology)), folder.resolve())
    for server, path in servers.configure().items():
        typer.echo(f"{servers.url_of(server)}  {path}")


@topologies.command("check")
def check(topology: TopologyName) -> None:
    """Check a topology file: every mistake with its place, cause and remedy.

    Example: gridparley topology check my-street.toml
    """
    made = options.checked(options.loaded(topology))
    typer.echo(f"{made.name}: {len(made.site)} sites, {len(made.entries)} agents and tools, no faults")


@topologies.command("bundle")
def bundle(
    topology: TopologyName,
    folder: Annotated[Path, typer.Argument(help="Where to; topology.toml there is replaced.")],
    start: Annotated[str, typer.Option(help="Run from this instant (ISO 8601) or time of that day.")] = "",
    until: Annotated[str, typer.Option(help="Run until this instant or time of the day.")] = "",
    speed: Speed = None,
) -> None:
    """Write a topology with every file that it names into one folder, as containers are given it.

    Prices and the like are copied beside it; a simulated run's forecaster gets its weather.

    Example: gridparley topology bundle street deployment/topology --until 14:00 --speed 30
    """
    from deploy.render.bundle import bundle as write

    try:
        options.checked(write(topology, folder, start=start, until=until, speed=speed))
    except (TopologyError, ValueError) as problem:
        raise options.failed(problem, 2) from None
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        typer.echo(path)


@topologies.command("list")
def list_() -> None:
    """List the topologies that come with gridparley."""
    from deploy.topology import names

    for name in names():
        typer.echo(f"{name}  {load(name).title}")


if __name__ == "__main__":
    main()
