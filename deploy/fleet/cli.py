"""``gridparley fleet``: identities of many homes, with JWTs that end by themselves."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.durations import duration_s
from deploy.fleet.fleet import Fleet, FleetError, OldKey, SigningKey, creds

app = typer.Typer(
    no_args_is_help=True,
    help="""Identities of a fleet: the hub knows one account, each home brings a JWT that says who it is and until when.

Once, where the keys are kept (docs/decisions/0040-identity.md says which key belongs where):

    gridparley fleet init street

    gridparley render nats street --folder there

    gridparley fleet config street there

A home makes its key itself and sends only the public half; the issuer answers with a JWT:

    gridparley fleet key h07 --keys /etc/gridparley/keys

    gridparley fleet site h07 --public UABC... > h07.jwt

    gridparley fleet creds h07 h07.jwt --keys /etc/gridparley/keys

Every few hours `gridparley fleet renew`; when something was stolen `gridparley fleet revoke h07 --push tls://hub:4222`.
""",
)
Folder = Annotated[Path, typer.Option("--folder", help="The fleet's keys and ledger.")]
Keys_ = Annotated[Path, typer.Option("--keys", help="Folder with the seeds, as `gridparley keys` makes it.")]
Valid = Annotated[str, typer.Option("--valid", help="How long the JWT lives: 90m, 24h, 7d.")]
Replace = Annotated[
    Literal["", "now", "later"],
    typer.Option(help="The name has another key: revoke it (now), or let its JWT run out (later)."),
]
Public = Annotated[str, typer.Option(help="The public key, U...; its seed stays where it was made.")]
FLEET = Path("fleet")
KEYS = Path("nats/keys")


@contextmanager
def _refusals() -> Iterator[None]:
    from bus.address import BadAddress
    from bus.nkeys import BadKey, BadSeed
    from bus.transport import BusUnavailable
    from deploy.topology import TopologyError

    try:
        yield
    except BusUnavailable as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from None
    except (FleetError, BadKey, BadSeed, BadAddress, TopologyError, OSError) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from None


def _valid(text: str) -> timedelta:
    try:
        days = text.endswith("d")
        return timedelta(days=float(text[:-1])) if days else timedelta(seconds=duration_s(text))
    except (ValueError, OverflowError) as problem:
        raise FleetError(f"{text!r} is no duration ({problem}): write 90m, 24h or 7d") from None


def _old(replace: str) -> OldKey:
    return {"now": "revoked", "later": "expires"}.get(replace, "refused")  # type: ignore[return-value]


def _permissions(topology: str):  # type: ignore[no-untyped-def]
    from deploy.permissions import Permissions
    from deploy.roster import Roster
    from deploy.topology import load

    return Permissions(load(topology), Roster())


@app.command()
def init(topology: Annotated[str, typer.Argument(help="Its sites are the model.")], folder: Folder = FLEET) -> None:
    """Make a fleet's keys: operator, account, the two that sign. Do it where nobody else can look.

    What a site may do is taken from the topology, for any name. Afterwards `operator.nk` and `account.nk` belong in a
    safe: nothing that happens daily needs them.
    """
    with _refusals():
        made = Fleet.found(folder, _permissions(topology))
        typer.echo(f"operator {made.charter.operator}\naccount  {made.charter.account}")
        typer.echo(f"keys in {folder}; put operator.nk and account.nk into a safe now", err=True)


@app.command()
def template(topology: Annotated[str, typer.Argument(help="Its sites are the model.")], folder: Folder = FLEET) -> None:
    """Let what a site may do follow a changed topology; `push` makes it count, also for homes that are connected."""
    with _refusals():
        Fleet(folder).new_template(_permissions(topology))


@app.command()
def key(name: Annotated[str, typer.Argument(help="Site or address.")], keys: Keys_ = KEYS) -> None:
    """Make a key and show its public half; run it where the key will be used. A key that is there is kept."""
    from deploy.identity.keys import Keys

    with _refusals():
        typer.echo(Keys(keys)(name if "." in name else f"{name}.link").public)


@app.command()
def site(
    name: Annotated[str, typer.Argument(help="The site, e.g. h07.")],
    public: Public,
    group: Annotated[list[str] | None, typer.Option(help="A group that it is a member of; may be repeated.")] = None,
    valid: Valid = "24h",
    replace: Replace = "",
    folder: Folder = FLEET,
) -> None:
    """Make a site's JWT: its server may link to the hub, speak as this site and read what is meant for it.

    The JWT is printed; it is no secret without its seed. Needs sites.nk.
    """
    with _refusals():
        typer.echo(Fleet(folder).site(name, public, groups=group or (), valid=_valid(valid), old_key=_old(replace)))


@app.command()
def agent(
    address: Annotated[str, typer.Argument(help="A grid-side agent, e.g. grid.dso.north; hub.admin; hub.sys.")],
    public: Public,
    topology: Annotated[str, typer.Option(help="Topology file or name: it says what the agent may do.")] = "street",
    valid: Valid = "7d",
    replace: Replace = "",
    folder: Folder = FLEET,
) -> None:
    """Make the JWT of an agent that signs in at the hub itself. Needs agents.nk; hub.sys needs system.nk."""
    from bus.address import Address

    with _refusals():
        fleet, lives, old = Fleet(folder), _valid(valid), _old(replace)
        special = {"hub.admin": fleet.admin, "hub.sys": fleet.system}.get(address)
        if special is not None:
            typer.echo(special(public, valid=lives, old_key=old))
        else:
            permissions = _permissions(topology)
            typer.echo(fleet.agent(Address.parse(address), public, permissions, valid=lives, old_key=old))


@app.command("creds")
def creds_(
    name: Annotated[str, typer.Argument(help="The site, e.g. h07.")],
    jwt: Annotated[Path, typer.Argument(help="The JWT that the issuer sent.")],
    keys: Keys_ = KEYS,
) -> None:
    """Put a site's JWT and its seed into the file that its server signs in with. Run it at the site.

    The server reads it at each sign-in: a renewed one needs no restart.
    """
    from bus.nkeys import KeyPair
    from bus.user_jwt import BadJwt, UserJwt
    from deploy.identity.keys import write_secret

    with _refusals():
        seed = keys / f"{name}.link.nk"
        pair = KeyPair.from_file(seed)
        try:
            token = UserJwt.read(jwt.read_text())
        except BadJwt as problem:
            raise FleetError(f"{jwt}: {problem}") from None
        if token.public != pair.public:
            raise FleetError(f"{jwt} is of another key than {seed}: ask for a JWT for {pair.public}")
        write_secret(seed.with_suffix(".creds"), creds(token.text, pair))
        typer.echo(seed.with_suffix(".creds"))


@app.command("list")
def list_(
    within: Annotated[str, typer.Option(help="Whose JWT ends within this time.")] = "30d", folder: Folder = FLEET
) -> None:
    """Show who holds a JWT and until when, and who is revoked."""
    with _refusals():
        fleet = Fleet(folder)
        for row in fleet.running_out(_valid(within)):
            typer.echo(f"{_instant(row.expires)}  {row.kind:6}  {row.name}  {row.public}")
        for name, at in fleet.revoked():
            typer.echo(f"revoked {_instant(at)}  {name}")


@app.command()
def renew(
    topology: Annotated[str, typer.Argument(help="Topology file or name.")],
    within: Annotated[str, typer.Option(help="Those whose JWT ends within this time.")] = "6h",
    keys: Keys_ = KEYS,
    folder: Folder = FLEET,
) -> None:
    """Make new JWTs for those that run out and whose seeds are here; for others ask `fleet list` and `fleet site`.

    Agents move to the new one without a cut; a site's link signs in anew when the old one ends, within about a second.
    """
    from deploy.fleet.config import equip
    from deploy.identity.keys import Keys

    with _refusals():
        fleet, ring = Fleet(folder), Keys(keys)
        due = [row.name for row in fleet.running_out(_valid(within))]
        here = {name for name in due if ring.path(name if "." in name else f"{name}.link").exists()}
        for path in equip(fleet, _permissions(topology), ring, here):
            typer.echo(path)
        for name in sorted(set(due) - here):
            typer.echo(f"{name}: its seed is not here; it must ask for its JWT", err=True)


Url = Annotated[str, typer.Option("--url", help="A server of the hub.")]
Ca = Annotated[Path, typer.Option(help="The authority that signed the hub's certificate.")]
HUB_URL = "tls://127.0.0.1:4222"
CA = Path("nats/tls/ca.pem")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="A site (h07), an agent (grid.dso.north), hub.admin or hub.sys.")],
    undo: Annotated[bool, typer.Option("--undo", help="It was a mistake: the same key is good again.")] = False,
    push: Annotated[str, typer.Option(help="Also tell the hub at this URL: it counts from then on.")] = "",
    keys: Keys_ = KEYS,
    ca: Ca = CA,
    folder: Folder = FLEET,
) -> None:
    """Take back what a name holds. Once the hub is told, its connections are cut and it is refused.

    A home that gets a new device later: `gridparley fleet site h07 --public ... --replace now`.

    Example: gridparley fleet revoke h07 --push tls://hub.example:4222
    """
    with _refusals():
        fleet = Fleet(folder)
        if undo:
            fleet.take_back(name)
        else:
            for public in fleet.revoke(name):
                typer.echo(f"revoked {public}  {name}")
        if push:
            _push(fleet, push, keys, ca)
        else:
            typer.echo("now tell the hub: gridparley fleet push --url ...", err=True)


@app.command("push")
def push_(url: Url = HUB_URL, keys: Keys_ = KEYS, ca: Ca = CA, folder: Folder = FLEET) -> None:
    """Tell the running hub what has changed: revocations, signing keys, what a site may do. Needs hub.sys' JWT."""
    with _refusals():
        _push(Fleet(folder), url, keys, ca)


def _push(fleet: Fleet, url: str, keys: Path, ca: Path) -> None:
    from bus.transport import Connection
    from bus.user_jwt import Credential
    from deploy.fleet.config import push

    async def tell() -> None:
        credential = Credential(keys / "hub.sys.nk")
        connection = Connection(url, name="hub.sys", inbox="_R.sys", keys=credential, ca=ca)
        await connection.open(within_s=5)
        try:
            await push(fleet, connection)
        finally:
            await connection.close()

    asyncio.run(tell())
    typer.echo(f"{url} has taken the account")


@app.command()
def rotate(
    which: Annotated[SigningKey, typer.Argument(help="sites or agents.")],
    finish: Annotated[bool, typer.Option("--finish", help="Retire the old key: what it signed is worth nothing.")] = (
        False
    ),
    folder: Folder = FLEET,
) -> None:
    """Change a signing key without locking anybody out.

    Begin, `push`, wait until every JWT was renewed (the longest life of one), then again with --finish, and `push`.
    After a theft do not wait: --finish and push at once; whoever was not renewed yet is cut until it is.
    """
    with _refusals():
        fleet = Fleet(folder)
        if finish:
            fleet.finish(which)
        else:
            fleet.rotate(which)


@app.command()
def config(
    topology: Annotated[str, typer.Argument(help="Topology file or name.")],
    deployment: Annotated[Path, typer.Argument(help="Folder of `gridparley config` or `gridparley render`.")],
    folder: Folder = FLEET,
) -> None:
    """Make a deployment's servers a fleet's: JWTs beside its seeds, and configurations that know the operator.

    Examples:

        gridparley config street nats

        gridparley fleet init street

        gridparley fleet config street nats
    """
    from deploy.fleet.config import adopt

    with _refusals():
        for name, path in adopt(Fleet(folder), _permissions(topology), deployment.resolve()).items():
            typer.echo(f"{name}  {path}")


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
