"""A topology's identities: an NKey per agent, site's link and server's administrator. Seeds are files of mode 0600."""

import os
import time
from pathlib import Path

import msgspec

from bus.nkeys import BadSeed, KeyPair
from bus.user_jwt import Credential, stamp


class CannotChange(Exception):
    """A change of keys that cannot be made as asked; the sentence says what to do instead."""


class Keys:
    """A folder of seeds, each made when first asked for and then kept.

    Names: an agent's address; ``<site>.link`` for the site's leaf at the hub; ``<server>.admin`` and ``<server>.sys``
    for who provisions and who watches a server. While a key is changed, servers know two of a name:

        <name>.nk       what it signs in with
        <name>.new.nk   servers are being told of it; nobody uses it yet
        <name>.old.nk   servers still know it, until the change is finished
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known: dict[str, tuple[object, KeyPair]] = {}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.nk"

    def __call__(self, name: str) -> KeyPair:
        """What is in its file now: another process may have changed it."""
        path = self.path(name)
        known = self._known.get(name)
        if known is None or known[0] != stamp(path):
            made = self._read_or_make(path)
            known = self._known[name] = (stamp(path), made)
        return known[1]

    def credential(self, name: str) -> Credential:
        """What a name signs in with, as its files say when it does."""
        self(name)
        return Credential(self.path(name))

    def publics(self, name: str) -> list[str]:
        """The keys that servers take for a name: none when it is revoked."""
        if name in self.revoked():
            return []
        others = (self.path(f"{name}.new"), self.path(f"{name}.old"))
        return [self(name).public, *(_pair(path).public for path in others if path.exists())]

    def _read_or_make(self, path: Path) -> KeyPair:
        if path.exists():
            return _pair(path)
        made = KeyPair.new()
        write_secret(path, made.seed + "\n")
        return made

    # ---------------------------------------------------------------- changing

    def prepare(self, name: str) -> None:
        """Make the key that is to follow; one that is there already is kept. A revoked name is let in again with it.

        raises  CannotChange, while an earlier change is not finished
        """
        if self.path(f"{name}.old").exists():
            raise CannotChange(
                f"{name} still has its old key: finish that change first, `gridparley rotate {name} --finish`"
            )
        if name in self.revoked():
            self._forget(name)
            write_secret(self.path(name), KeyPair.new().seed + "\n")
        elif not self.path(f"{name}.new").exists():
            write_secret(self.path(f"{name}.new"), KeyPair.new().seed + "\n")

    def promote(self, name: str) -> None:
        """Let the name sign in with its new key, which servers know by now; the old one stays good."""
        new = self.path(f"{name}.new")
        if new.exists():
            write_secret(self.path(f"{name}.old"), self.path(name).read_text())
            new.replace(self.path(name))

    def retire(self, name: str) -> None:
        """Servers shall not know the old key any more. Raises CannotChange."""
        old = self.path(f"{name}.old")
        if not old.exists():
            raise CannotChange(f"{name} has no old key to retire: begin with `gridparley rotate {name}`")
        old.unlink()

    # ---------------------------------------------------------------- taking back

    def revoked(self) -> dict[str, float]:
        """Name -> when it was revoked, seconds since 1970. A configuration made later does not bring it back."""
        try:
            return msgspec.json.decode((self.folder / "revoked.json").read_bytes(), type=dict[str, float])
        except FileNotFoundError:
            return {}

    def revoke(self, name: str) -> None:
        """No key of the name is good any more. Raises CannotChange for a server's system user."""
        if name.endswith(".sys"):
            raise CannotChange(
                f"{name} tells the server of changes, so it cannot be taken back: rotate it and --finish"
            )
        self._note({**self.revoked(), name: time.time()})
        for path in (self.path(f"{name}.new"), self.path(f"{name}.old")):
            path.unlink(missing_ok=True)

    def take_back(self, name: str) -> None:
        """The revocation was a mistake: the same key is good again. Raises CannotChange."""
        if name not in self.revoked():
            raise CannotChange(f"{name} is not revoked")
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._note({other: at for other, at in self.revoked().items() if other != name})

    def _note(self, revoked: dict[str, float]) -> None:
        write_secret(self.folder / "revoked.json", msgspec.json.encode(revoked).decode())


def _pair(path: Path) -> KeyPair:
    """Raises CannotChange for a file that is no seed."""
    try:
        return KeyPair.from_file(path)
    except (BadSeed, OSError, UnicodeDecodeError) as problem:
        raise CannotChange(
            f"{path} cannot be read as a seed ({problem}): bring it back from where you keep a copy,"
            " or remove it for a new identity"
        ) from None


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file that only its owner may read; it never exists with wider rights than ``mode``."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    fresh.replace(path)
