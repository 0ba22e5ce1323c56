"""``gridparley render``: from one topology to compose, Kubernetes or the NATS servers' configurations alone."""

from collections import Counter
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from deploy.identity.keys import CannotChange
from deploy.options import failed, finite
from deploy.render.deployment import CannotDeploy, Deployment, prepare
from deploy.topology import TopologyError

VERSION = version("gridparley")
app = typer.Typer(
    no_args_is_help=True,
    help="""Make a deployment from a topology: keys, certificates, server configurations and the files that start it.

    make image

    gridparley render compose street > compose.yaml

    docker compose up
""",
)
TopologyName = Annotated[str, typer.Argument(help="A topology file, or the name of one that comes with gridparley.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="The deployment's folder: keys and certificates (kept if there), what containers mount."
        " Default: `./<topology>-deployment`.",
    ),
]
Hubs = Annotated[int, typer.Option(help="Servers of the hub: 1, or a cluster of 3 or 5 that survives losing one.")]
Over443 = Annotated[
    bool, typer.Option("--websocket", help="The sites' links go over WebSocket, for networks that let out 443 alone.")
]
HubUrl = Annotated[
    str, typer.Option(help="Where sites find the hub from outside, e.g. tls://hub.example:7422. Default: its host.")
]
Start = Annotated[datetime | None, typer.Option(help="Run time at the start, for a simulated world.")]
Until = Annotated[datetime | None, typer.Option(help="Run time at the end.")]
Speed = Annotated[float | None, typer.Option(callback=finite, help="Run seconds per second, for a simulated world.")]
Image = Annotated[str, typer.Option(help="Image of an actor; `make image` makes it.")]
WorldImage = Annotated[str, typer.Option(help="Image with the simulated world's packages.")]
NatsImage = Annotated[str, typer.Option(help="Image of a NATS server.")]
ACTOR, WORLD, NATS = (f"{name}:{VERSION}" for name in ("gridparley", "gridparley-world", "gridparley-nats"))


def _prepare(name: str, folder: Path | None, **how: object) -> Deployment:
    where = folder or Path(f"{Path(name).stem}-deployment")
    try:
        made = prepare(name, where, **how)  # type: ignore[arg-type]
    except (CannotDeploy, CannotChange, TopologyError) as problem:
        raise failed(problem, 2) from None
    except OSError as problem:
        raise failed(f"{where} cannot be written: {problem}. Name a folder that can, with --folder or --out.") from None
    roles = Counter(address.role for address in made.agents)
    typer.echo(
        f"{made.topology.name}: {len(made.places)} servers, {len(made.agents)} agents"
        f" ({', '.join(f'{number} {role}' for role, number in sorted(roles.items()))}); secrets are in {where}",
        err=True,
    )
    if made.not_done:
        typer.echo(f"left to whoever operates it: {', '.join(made.not_done)}", err=True)
    return made


def _zoned(instant: datetime | None) -> datetime | None:
    return instant.astimezone() if instant is not None and instant.tzinfo is None else instant


@app.command("compose")
def compose(
    topology: TopologyName,
    folder: Folder = None,
    hubs: Hubs = 1,
    websocket: Over443 = False,
    start: Start = None,
    until: Until = None,
    speed: Speed = None,
    image: Image = ACTOR,
    world_image: WorldImage = WORLD,
    nats_image: NatsImage = NATS,
    only: Annotated[
        list[str] | None, typer.Option(help="A part alone: grid, or a site; again for more. The rest is elsewhere.")
    ] = None,
    hub_url: HubUrl = "",
    record_homes: Annotated[
        bool,
        typer.Option(
            "--record-homes", help="Write down what is said inside of homes that have an `ops.recorder`, too."
        ),
    ] = False,
) -> None:
    """Print a compose file: NATS servers, the simulated world, every actor; Jaeger and Prometheus by profile.

    What containers mount is written to the deployment's folder; the file names it relative to where it is run.

    Examples:

        gridparley render compose street > compose.yaml && docker compose up

        gridparley render compose street --hubs 3 --speed 10 > compose.yaml

        gridparley render compose field.toml --only h07 --hub-url tls://hub.example:7422 > h07.yaml

        docker compose --profile jaeger up     with OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4318
    """
    from deploy.render.compose import Compose, Images

    made = _prepare(
        topology,
        folder,
        hubs=hubs,
        websocket=websocket,
        hub_url=hub_url,
        start=_zoned(start),
        until=_zoned(until),
        speed=speed,
        record_homes=record_homes,
    )
    try:
        text = Compose(
            made, Images(actor=image, world=world_image, nats=nats_image), made.folder, tuple(only or ())
        ).text()
    except CannotDeploy as problem:
        raise failed(problem, 2) from None
    typer.echo(text, nl=False)


@app.command("k8s")
def k8s(
    topology: TopologyName,
    out: Annotated[Path, typer.Option(help="Folder of the kustomize base; its secrets are in deployment/ there.")],
    hubs: Hubs = 3,
    websocket: Over443 = False,
    hub_url: HubUrl = "",
    start: Start = None,
    until: Until = None,
    speed: Speed = None,
    sites: Annotated[str, typer.Option(help="Whose part runs in this cluster: all, none, or h07,h08.")] = "all",
    namespace: Annotated[str, typer.Option(help="Certificates name it.")] = "gridparley",
    jaeger: Annotated[bool, typer.Option("--jaeger", help="A Jaeger beside the agents, in memory.")] = False,
    otlp: Annotated[str, typer.Option(help="`http://<service>.<namespace>:<port>` of a collector that is there.")] = "",
    monitoring: Annotated[str, typer.Option(help="Namespace whose Prometheus may read metrics.")] = "monitoring",
    image: Image = ACTOR,
    world_image: WorldImage = WORLD,
    nats_image: NatsImage = NATS,
) -> None:
    """Write a kustomize base: a Deployment per agent, the hub as a StatefulSet, secrets by generator.

    Everything in --out but its folder deployment/ may be committed; rendering again keeps keys and certificates.

    Examples:

        gridparley render k8s street --out k8s && kubectl apply -k k8s

        gridparley render k8s my-street.toml --out k8s --sites none --hub-url tls://hub.example:7422
    """
    from deploy.render.kubernetes import FOLDER, hosts, manifests, sites_of, write

    made = _prepare(
        topology,
        out / FOLDER,
        hosts=hosts(namespace),
        hubs=hubs,
        websocket=websocket,
        hub_url=hub_url,
        start=_zoned(start),
        until=_zoned(until),
        speed=speed,
    )
    try:
        written = manifests(
            made,
            namespace=namespace,
            image=image,
            world_image=world_image,
            nats_image=nats_image,
            sites=sites_of(made, sites),
            jaeger_here=jaeger,
            otlp=otlp,
            monitoring=monitoring,
        )
    except CannotDeploy as problem:
        raise failed(problem, 2) from None
    write(written, out)
    typer.echo(f"{sum(map(len, written.values())) - 1} objects in {out}: kubectl apply -k {out}", err=True)


@app.command("nats")
def nats(
    topology: TopologyName, folder: Folder = None, hubs: Hubs = 1, websocket: Over443 = False, hub_url: HubUrl = ""
) -> None:
    """Write the NATS servers' configurations and print what each server is given, its streams and consumers, as JSON.

    Accounts, users, permissions and TLS are in the configurations; `gridparley provision` makes streams and consumers.

    Example:

        gridparley render nats street --hubs 3 --hub-url tls://hub.example:7422 > servers.json
    """
    from deploy.nats.provision import consumers, streams

    made = _prepare(topology, folder, hubs=hubs, websocket=websocket, hub_url=hub_url)
    told = [
        {
            "server": place.name,
            "config": str(made.folder / place.config),
            "url": place.url,
            "streams": streams(made.permissions, place.server),
            "consumers": [{"stream": stream, **each} for stream, each in consumers(made.permissions, place.server)],
        }
        for place in made.places
    ]
    typer.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
