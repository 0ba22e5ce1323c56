"""``gridparley keys``, ``rotate`` and ``revoke``: identities of one deployment, made, changed and taken back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy import options
from deploy.topology import HUB

if TYPE_CHECKING:
    from deploy.identity.rotation import NotReloaded, Rotation
    from deploy.topology import Topology

TopologyName = Annotated[str, typer.Argument(help="A topology file, or the name of one that comes with gridparley.")]
Of = Annotated[
    str,
    typer.Option(
        "--topology", help="The deployment's topology: a file or a name. Default: the one in a rendered folder."
    ),
]
Folder = Annotated[Path, typer.Option("--folder", "--keys", help="Of `gridparley config` or `gridparley render`.")]
AUTHORITY = "authority"


def keys(
    topology: TopologyName = "street",
    out: Annotated[Path, typer.Option(help="Folder for the seeds; existing ones are kept.")] = Path("nats"),
) -> None:
    """Make the identities of a topology: one NKey per agent, per site's link, per server's administrator; certificates.

    Seeds are secrets: the folder gets mode 0700, its files 0600. Only public keys are printed. A certificate authority
    of your own is used when its `ca.pem` and `ca.key` are in `<out>/tls` before.
    """
    from deploy.identity.keys import CannotChange

    made = options.loaded(topology)
    try:
        _make(made, out)
    except CannotChange as problem:
        raise options.failed(problem, 2) from None
    except OSError as problem:
        raise options.failed(f"{out} cannot be written: {problem}") from None


def _make(made: "Topology", out: Path) -> None:
    from deploy.identity.certificates import Certificates
    from deploy.identity.keys import Keys

    ring = Keys(out / "keys")
    names = [str(address) for address in made.entries]
    names += [f"{site}.link" for site in made.sites]
    names += [f"{server}.{role}" for server in made.servers for role in ("admin", "sys")]
    for name in names:
        typer.echo(f"{ring(name).public}  {name}")
    certificates = Certificates(out / "tls")
    certificates.server(HUB)
    for site in made.sites:
        certificates.client(f"{site}.link")
    typer.echo(f"certificates in {out / 'tls'}; everybody at the grid side needs ca.pem, a site's server also its own")


def rotate(
    name: Annotated[
        str,
        typer.Argument(
            help="An agent (h07.cem.main), a site's link (h07.link), hub.admin, hub.sys; a server (hub, h07): its"
            " certificate; authority: who signs the certificates."
        ),
    ],
    finish: Annotated[bool, typer.Option("--finish", help="The old one is good no more.")] = False,
    certificate: Annotated[bool, typer.Option("--certificate", help="Of a link: its certificate, not its key.")] = (
        False
    ),
    topology: Of = "",
    folder: Folder = Path("nats"),
) -> None:
    """Change a key or certificate while everything runs.

    First the new one becomes good beside the old one: servers are told, and whoever runs goes over to it by itself
    within seconds, without a cut. Then --finish: the old one is good no more; who still uses it is cut. A certificate
    needs no --finish. A revoked agent gets a new key and is let in again.

    Seeds in the deployment's folder are changed; bring them to where they are used if that is elsewhere. Exit code 1:
    the files are written, but not every server could be told from here.

    Examples:

        gridparley rotate h07.cem.main --folder street-deployment

        gridparley rotate h07.cem.main --folder street-deployment --finish

        gridparley rotate authority --folder nats --topology street
    """

    async def change(rotation: "Rotation") -> "NotReloaded | None":
        if name == AUTHORITY:
            return await (rotation.finish_authority() if finish else rotation.begin_authority())
        if certificate or name in rotation.permissions.topology.servers:
            return await rotation.renew_certificate(name)
        return await (rotation.finish(name) if finish else rotation.begin(name))

    _do(change, topology, folder)
    typer.echo(f"{name}: {'changed' if finish else 'the new one is good'}")


def revoke(
    name: Annotated[str, typer.Argument(help="An agent (h07.evse.1), a site's link (h07.link) or hub.admin.")],
    undo: Annotated[bool, typer.Option("--undo", help="It was a mistake: the same key is good again.")] = False,
    topology: Of = "",
    folder: Folder = Path("nats"),
) -> None:
    """Take an identity back: it is cut off at once, refused from then on, and left out of later configurations.

    It is let in again with a new key by `gridparley rotate`, with the same one by --undo.

    Example: gridparley revoke h07.evse.1 --folder street-deployment
    """

    async def change(rotation: "Rotation") -> "NotReloaded | None":
        return await (rotation.take_back(name) if undo else rotation.revoke(name))

    _do(change, topology, folder)
    typer.echo(f"{name}: {'good again' if undo else 'revoked'}")


def _do(change: "Callable[[Rotation], Awaitable[NotReloaded | None]]", topology: str, folder: Path) -> None:
    from deploy.identity.keys import CannotChange
    from deploy.identity.rotation import Rotation
    from deploy.permissions import Permissions
    from deploy.roster import Roster

    async def run() -> "NotReloaded | None":
        return await change(rotation)

    rendered = folder / "topology" / "topology.toml"
    made = options.loaded(topology or (str(rendered) if rendered.is_file() else "street"))
    try:
        rotation = Rotation(folder.resolve(), Permissions(made, Roster()))
        late = asyncio.run(run())
    except CannotChange as problem:
        raise options.failed(problem, 2) from None
    except OSError as problem:
        raise options.failed(f"{folder} cannot be read and written: {problem}. Nothing is told to servers.") from None
    if late is not None:
        raise options.failed(late)
