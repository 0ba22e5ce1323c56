"""A topology's identities: an NKey per agent, site's link and server's administrator. Seeds are files of mode 0600."""

import os
from pathlib import Path

from bus.nkeys import KeyPair
from bus.user_jwt import Credential


class Keys:
    """A folder of seeds, each made when first asked for and then kept.

    Names: an agent's address; ``<site>.link`` for the site's leaf at the hub; ``<server>.admin`` and ``<server>.sys``
    for who provisions and who watches a server.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known: dict[str, KeyPair] = {}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.nk"

    def __call__(self, name: str) -> KeyPair:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._read_or_make(self.path(name))
        return known

    def credential(self, name: str) -> Credential:
        """What a name signs in with, as its files say when it does."""
        self(name)
        return Credential(self.path(name))

    def _read_or_make(self, path: Path) -> KeyPair:
        if path.exists():
            return KeyPair.from_file(path)
        made = KeyPair.new()
        write_secret(path, made.seed + "\n")
        return made


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file that only its owner may read; it never exists with wider rights than ``mode``."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    fresh.replace(path)
