"""Who was given a JWT, on which key, until when; what was taken back. One SQLite file, indexed for a million names."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS issued (
  public TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, tags TEXT NOT NULL,
  issued INTEGER NOT NULL, expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS issued_name ON issued (name);
CREATE INDEX IF NOT EXISTS issued_expires ON issued (expires);
CREATE TABLE IF NOT EXISTS revoked (
  public TEXT PRIMARY KEY, name TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS revoked_name ON revoked (name);
CREATE INDEX IF NOT EXISTS revoked_until ON revoked (until);
"""


@dataclass(frozen=True)
class Issued:
    """The newest JWT of a key. ``kind`` is site, agent or system; instants are seconds since 1970."""

    public: str
    name: str
    kind: str
    tags: tuple[str, ...]
    issued: int
    expires: int


class Ledger:
    """Closed with the ``with`` block; everything that was written in it counts together or not at all."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.touch(mode=0o600)
        self._db = sqlite3.connect(path)
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._db.commit()
        self._db.close()

    def write(self, rows: Iterable[Issued]) -> None:
        self._db.executemany(
            "INSERT INTO issued VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (public) DO UPDATE SET tags = excluded.tags,"
            " issued = excluded.issued, expires = max(expires, excluded.expires)",
            ((r.public, r.name, r.kind, " ".join(r.tags), r.issued, r.expires) for r in rows),
        )

    def of(self, name: str) -> list[Issued]:
        """Every key that a name was ever given a JWT on, the newest last."""
        return list(self._issued("WHERE name = ? ORDER BY issued", name))

    def owner(self, public: str) -> str | None:
        """The name that a key was given to."""
        return next((row.name for row in self._issued("WHERE public = ?", public)), None)

    def running_out(self, after: int, before: int) -> list[Issued]:
        """The newest JWTs that are still good after one instant and no more after the other, revoked ones left out."""
        return list(
            self._issued(
                "WHERE expires > ? AND expires <= ? AND public NOT IN (SELECT public FROM revoked) ORDER BY name",
                after,
                before,
            )
        )

    def _issued(self, where: str, *values: object) -> Iterator[Issued]:
        # The conditions are this module's own text; what comes from outside are the values.
        rows = self._db.execute(f"SELECT * FROM issued {where}", values)  # noqa: S608
        for public, name, kind, tags, issued, expires in rows:
            yield Issued(public, name, kind, tuple(tags.split()), issued, expires)

    def revoke(self, row: Issued, at: int) -> None:
        self._db.execute(
            "INSERT INTO revoked VALUES (?, ?, ?, ?) ON CONFLICT (public) DO UPDATE SET at = excluded.at,"
            " until = max(until, excluded.until)",
            (row.public, row.name, at, row.expires),
        )

    def take_back(self, name: str) -> int:
        """Forget a name's revocations; how many there were."""
        return self._db.execute("DELETE FROM revoked WHERE name = ?", (name,)).rowcount

    def revoked_keys(self, name: str) -> set[str]:
        return {public for (public,) in self._db.execute("SELECT public FROM revoked WHERE name = ?", (name,))}

    def revocations(self, now: int) -> dict[str, int]:
        """Public key -> instant, of those whose JWTs would otherwise still be good."""
        return dict(self._db.execute("SELECT public, at FROM revoked WHERE until > ?", (now,)))

    def revoked_names(self) -> list[tuple[str, int]]:
        """(name, instant), every one that was not taken back."""
        return list(self._db.execute("SELECT name, max(at) FROM revoked GROUP BY name ORDER BY name"))
