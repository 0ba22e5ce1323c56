"""Identities of a fleet: the hub knows one account, not a million homes. Each home brings a JWT that says who it is.

An operator's key vouches for the account. The account names a signing key for sites, with a template of rights that the
hub fills with the site's name: whoever holds that key can make sites, and nothing but sites. Grid-side agents get their
rights one by one, from another key. JWTs live for hours or days; a stolen one is worth nothing after that, or at once
when it is revoked.
"""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Literal
from zlib import crc32

import msgspec

from bus.address import TOKEN, Address
from bus.nkeys import KeyPair, Kind, checked
from bus.user_jwt import UserJwt
from deploy.fleet import claims
from deploy.fleet.ledger import Issued, Ledger
from deploy.identity.keys import write_secret
from deploy.nats.config import ACCOUNT, ADMIN
from deploy.permissions import Permissions, Rights
from deploy.topology import GRID, HUB, AgentEntry, Site

SITE_VALID = timedelta(days=1)
AGENT_VALID = timedelta(days=7)
SYSTEM_VALID = timedelta(days=7)
SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=30)
"""No JWT lives longer: it bounds what a theft that nobody noticed is worth, and the list of revocations."""
LARGEST_ACCOUNT = 1_048_576
"""Bytes of an account's JWT that nats-server 2.15 takes: about 11,000 revocations that still count."""
_SITE, _GROUP = "site--of--template", "group--of--template"
_SEEDS: dict[str, Kind] = {
    "operator": "operator",
    "operator-signing": "operator",
    "account": "account",
    "system": "account",
    "sites": "account",
    "agents": "account",
}
"""Key -> kind. What each is for, and who keeps it, is in docs/decisions/0040-identity.md."""
SigningKey = Literal["sites", "agents"]
OldKey = Literal["refused", "revoked", "expires"]


class FleetError(Exception):
    """Something that an issuer must not do, or cannot; the sentence says why and what to do instead."""


class Charter(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet is: public keys, and the rights of a site as a template."""

    operator: str
    account: str
    system: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Fleet:
    """A folder with a fleet's keys, its account's JWT and its ledger. ``now``: seconds since 1970.

    Each act needs its own seed and no other; those that are not needed may lie elsewhere.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder, self._now = folder, now
        try:
            self.charter = msgspec.json.decode((folder / "fleet.json").read_bytes(), type=Charter)
        except FileNotFoundError:
            raise FleetError(f"{folder} holds no fleet: make one with `gridparley fleet init`") from None

    @classmethod
    def found(cls, folder: Path, permissions: Permissions, now: Callable[[], float] = time.time) -> "Fleet":
        """Make a fleet's keys and account, for sites as the topology's are. Raises FleetError."""
        if (folder / "fleet.json").exists():
            raise FleetError(f"{folder} already holds a fleet: its homes would be locked out by new keys")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = {name: KeyPair.new(kind) for name, kind in _SEEDS.items()}
        for name, pair in keys.items():
            write_secret(folder / f"{name}.nk", pair.seed + "\n")
        operator, signing, system = keys["operator"], keys["operator-signing"], keys["system"]
        issued = int(now())
        text = claims.operator(operator, [signing.public], system.public, issued)
        (folder / "operator.jwt").write_text(text)
        text = claims.account(signing, system.public, "SYS", issued, streams=False)
        (folder / "system.jwt").write_text(text)
        template = link_template(permissions)
        charter = Charter(
            operator=operator.public,
            account=keys["account"].public,
            system=system.public,
            publish=template.publish,
            subscribe=template.subscribe,
        )
        (folder / "fleet.json").write_bytes(msgspec.json.format(msgspec.json.encode(charter), indent=2))
        fleet = cls(folder, now)
        fleet.sign_account()
        return fleet

    # ---------------------------------------------------------------- the account

    def sign_account(self) -> str:
        """Sign the account's JWT as things are now; servers take it when it is pushed. Needs operator-signing.nk."""
        with self._ledger() as ledger:
            revocations = ledger.revocations(int(self._now()))
        path = self.folder / "account.jwt"
        # Servers of a cluster keep the one that was issued last: two of one second must differ.
        before = UserJwt.issued_at(path.read_text()) if path.exists() else 0
        text = claims.account(
            self._seed("operator-signing"),
            self.charter.account,
            ACCOUNT,
            max(int(self._now()), before + 1),
            site_keys=[pair.public for pair in self._signing("sites")],
            agent_keys=[pair.public for pair in self._signing("agents")],
            template=Rights(self.charter.publish, self.charter.subscribe),
            revoked=revocations,
        )
        if len(text) > LARGEST_ACCOUNT:
            raise FleetError(
                f"{len(revocations)} revocations that count make an account of {len(text)} bytes, and servers take"
                f" {LARGEST_ACCOUNT}: renew all sites by a new signing key (`gridparley fleet rotate sites`, then"
                " --finish), and let JWTs live shorter"
            )
        write_secret(path, text)
        return text

    @property
    def account_jwt(self) -> str:
        return (self.folder / "account.jwt").read_text()

    @property
    def operator_jwt(self) -> str:
        return (self.folder / "operator.jwt").read_text()

    @property
    def system_jwt(self) -> str:
        return (self.folder / "system.jwt").read_text()

    def new_template(self, permissions: Permissions) -> None:
        """Sites' rights follow a changed topology; those that are connected have them when the account is pushed."""
        template = link_template(permissions)
        self.charter = msgspec.structs.replace(self.charter, publish=template.publish, subscribe=template.subscribe)
        (self.folder / "fleet.json").write_bytes(msgspec.json.format(msgspec.json.encode(self.charter), indent=2))
        self.sign_account()

    # ---------------------------------------------------------------- signing keys

    def rotate(self, key: SigningKey) -> None:
        """Sign with a new key from now on; what the old one signed stays good until ``finish``. Raises FleetError."""
        path, old = self._path(key), self._path(f"{key}.old")
        if old.exists():
            raise FleetError(f"the old key for {key} is not retired yet: finish that rotation first")
        write_secret(old, path.read_text())
        write_secret(path, KeyPair.new("account").seed + "\n")
        self.sign_account()

    def finish(self, key: SigningKey) -> None:
        """Retire the old key: who still shows a JWT that it signed is cut when the account is pushed."""
        old = self._path(f"{key}.old")
        if not old.exists():
            raise FleetError(f"the key for {key} is not being rotated: begin without --finish")
        old.unlink()
        self.sign_account()

    def _signing(self, key: SigningKey) -> list[KeyPair]:
        """The present one first."""
        paths = (self._path(key), self._path(f"{key}.old"))
        return [KeyPair.from_file(path, "account") for path in paths if path.exists()]

    # ---------------------------------------------------------------- users

    def site(
        self,
        name: str,
        public: str,
        *,
        groups: Iterable[str] = (),
        valid: timedelta = SITE_VALID,
        old_key: OldKey = "refused",
    ) -> str:
        """A site's JWT: its server speaks at the hub as this site and as nobody else. Needs sites.nk.

        public    of the key that the site made and keeps
        old_key   what becomes of another key that the name holds: ``refused`` issues nothing then
        raises    FleetError, BadKey
        """
        self._check_site(name)
        tags = [f"group:{group}" for group in groups]
        for group in groups:
            _check_token(group, "group")
        issued, expires = self._admit("site", name, public, tags, valid, old_key)
        signer = self._seed("sites")
        return claims.scoped_user(signer, public, name, self.charter.account, tags, issued, expires)

    def sites(self, keys: Iterable[tuple[str, str]], *, valid: timedelta = SITE_VALID) -> Iterable[tuple[str, str]]:
        """(name, JWT) of many new sites' (name, public key), written down together: 10,000 a second and core."""
        signer, issued = self._seed("sites"), int(self._now())
        rows, made = [], []
        with self._ledger() as ledger:
            for name, public in keys:
                self._check_site(name)
                _check_free(ledger, name, checked(public), issued)
                expires = _end(public, issued, valid)
                rows.append(Issued(public, name, "site", (), issued, expires))
                of = self.charter.account
                made.append((name, claims.scoped_user(signer, public, name, of, (), issued, expires)))
            ledger.write(rows)
        return made

    def agent(
        self,
        address: Address,
        public: str,
        permissions: Permissions,
        *,
        valid: timedelta = AGENT_VALID,
        old_key: OldKey = "refused",
    ) -> str:
        """A grid-side agent's JWT, with the rights that its role declares. Needs agents.nk.

        raises  FleetError, BadKey
        """
        if address.site != GRID:
            raise FleetError(f"{address} signs in at its own site's server; here only the site itself gets a JWT")
        if address not in permissions.topology.entries:
            raise FleetError(f"{address} is not in the topology, so nothing says what it may do")
        return self._explicit("agent", str(address), public, permissions.of(address), valid, old_key)

    def admin(self, public: str, *, valid: timedelta = AGENT_VALID, old_key: OldKey = "refused") -> str:
        """For who provisions streams and consumers at the hub. Needs agents.nk."""
        return self._explicit("agent", f"{HUB}.admin", public, ADMIN, valid, old_key)

    def system(self, public: str, *, valid: timedelta = SYSTEM_VALID, old_key: OldKey = "refused") -> str:
        """For who watches the servers and pushes the account to them. Needs system.nk."""
        name = f"{HUB}.sys"
        issued, expires = self._admit("system", name, public, (), valid, old_key)
        return claims.system_user(self._seed("system"), public, name, issued, expires)

    def _explicit(self, kind: str, name: str, public: str, rights: Rights, valid: timedelta, old_key: OldKey) -> str:
        issued, expires = self._admit(kind, name, public, (), valid, old_key)
        return claims.user(self._seed("agents"), public, name, self.charter.account, rights, issued, expires)

    def _check_site(self, name: str) -> None:
        _check_token(name, "site")
        if name in (GRID, HUB):
            raise FleetError(f"a site cannot be called {name}: with that name it would speak as the grid side")

    def _admit(
        self, kind: str, name: str, public: str, tags: Iterable[str], valid: timedelta, old_key: OldKey
    ) -> tuple[int, int]:
        """Write down what is about to be issued; (issued, expires)."""
        issued = int(self._now())
        expires = _end(public, issued, valid)
        with self._ledger() as ledger:
            if old_key == "refused":
                _check_free(ledger, name, checked(public), issued)
            else:
                _check_key(ledger, name, checked(public))
                for other in ledger.of(name) if old_key == "revoked" else ():
                    if other.public != public and other.expires > issued:
                        ledger.revoke(other, issued)
            ledger.write([Issued(public, name, kind, tuple(tags), issued, expires)])
        if old_key == "revoked":
            self.sign_account()
        return issued, expires

    def running_out(self, within: timedelta) -> list[Issued]:
        """Whose JWT is good now and ends within this time: those to be renewed. Revoked ones are not among them."""
        now = int(self._now())
        with self._ledger() as ledger:
            return ledger.running_out(now, now + int(within.total_seconds()))

    # ---------------------------------------------------------------- taking back

    def revoke(self, name: str) -> list[str]:
        """Everything that a name holds is worth nothing once the account is pushed; its public keys.

        Its keys get no JWT again, and another key only when it is said to replace them. Needs operator-signing.nk.
        raises  FleetError, when nothing was issued to the name
        """
        now = int(self._now())
        with self._ledger() as ledger:
            held = [row for row in ledger.of(name) if row.expires > now] or ledger.of(name)[-1:]
            if not held:
                raise FleetError(f"nothing was issued to {name!r}: `gridparley fleet list` shows who holds a JWT")
            for row in held:
                ledger.revoke(row, now)
        self.sign_account()
        return [row.public for row in held]

    def take_back(self, name: str) -> None:
        """Undo a revocation that was a mistake: the same key is good again. Raises FleetError."""
        with self._ledger() as ledger:
            if not ledger.take_back(name):
                raise FleetError(f"{name!r} is not revoked")
        self.sign_account()

    def revoked(self) -> list[tuple[str, int]]:
        """(name, instant) of every revocation that was not undone."""
        with self._ledger() as ledger:
            return ledger.revoked_names()

    # ---------------------------------------------------------------- files

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.nk"

    def _seed(self, name: str) -> KeyPair:
        path = self._path(name)
        try:
            return KeyPair.from_file(path, _SEEDS[name])
        except FileNotFoundError:
            raise FleetError(f"this needs the key {path}, which is not here: bring it, or do it where it is") from None

    def _ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger.db")


def link_template(permissions: Permissions) -> Rights:
    """A site's rights at the hub with its name left open: what any site of the topology may do, for each as itself.

    Derived by giving one site of a reserved name everything that some site has. Raises FleetError.
    """
    topology = permissions.topology
    entries: dict[tuple[str, str], AgentEntry] = {}
    for site in topology.site:
        for entry in site.agents:
            entries.setdefault((entry.role, entry.name), entry)
    for role, name in entries:
        if "-" in role or "-" in name:
            raise FleetError(
                f"{role}.{name}: in a fleet no role or name at a site has a '-', because consumers are named"
                " site-role-name and another site's could be meant"
            )
    if not entries:
        raise FleetError(f"{topology.name} has no site with agents, so nothing says what a site may do")
    grouped = any(site.groups for site in topology.site)
    one = Site(name=_SITE, groups=(_GROUP,) if grouped else (), agents=tuple(entries.values()))
    shape = msgspec.structs.replace(topology, site=(one,), disturbance=())
    rights = Permissions(shape, permissions.agent_of).of_link(_SITE)
    return Rights(tuple(map(_open, rights.publish)), tuple(map(_open, rights.subscribe)))


def _open(subject: str) -> str:
    return subject.replace(_SITE, "{{name()}}").replace(_GROUP, "{{tag(group)}}")


def _check_token(name: str, what: str) -> None:
    if not TOKEN.match(name):
        raise FleetError(
            f"{name!r} cannot be a {what}'s name: write a-z, 0-9, _ and - only. The hub puts it into subjects as it is;"
            " with '*' it would speak as every site"
        )


def _check_key(ledger: Ledger, name: str, public: str) -> None:
    owner = ledger.owner(public)
    if owner not in (None, name):
        raise FleetError(f"this key belongs to {owner}: one key, one name. Let {name} make a key of its own")
    if public in ledger.revoked_keys(name):
        raise FleetError(
            f"this key of {name} is revoked. Give {name} a new key (--replace), or undo the revocation if it was one"
            " by mistake (`gridparley fleet revoke --undo`)"
        )


def _check_free(ledger: Ledger, name: str, public: str, now: int) -> None:
    _check_key(ledger, name, public)
    held = [row.public for row in ledger.of(name) if row.public != public and row.expires > now]
    if held or ledger.revoked_keys(name) - {public}:
        raise FleetError(
            f"{name} holds another key, or one that is revoked. If this one replaces it, say so: --replace now (the old"
            " one is revoked) or --replace later (the old one stays until its JWT ends)"
        )


def _end(public: str, issued: int, valid: timedelta) -> int:
    """When a JWT ends: up to a tenth early, by the key; homes enrolled together do not all come back together."""
    if not SHORTEST <= valid <= LONGEST:
        raise FleetError(f"a JWT lives between {SHORTEST} and {LONGEST}, not {valid}: take hours or days, and renew it")
    whole = int(valid.total_seconds())
    return issued + whole - crc32(public.encode()) % (whole // 10 + 1)


def creds(jwt: str, pair: KeyPair) -> str:
    """The file that a NATS server or tool signs in with: JWT and seed in one. A secret."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{pair.seed}\n------END USER NKEY SEED------\n"
    )
