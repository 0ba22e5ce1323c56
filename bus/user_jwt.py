"""What an agent signs in with, read from its files again at each sign-in: renewing or rotating it needs no restart.

Where servers know each user (static identities) that is a seed alone. Where they know accounts only (fleets), they also
want the user's JWT, signed by a key of the account: it says who the user is, and until when.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bus.nkeys import BadKey, KeyPair, verify

HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class BadJwt(ValueError):
    """The text is no user JWT, or not of the key beside it. It is not repeated: it is half a credential."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"not a user's JWT ({cause}): let the issuer make a new one (`gridparley fleet`)")


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    iss: str
    name: str = ""
    iat: int = 0
    exp: int | None = None


_decode = msgspec.json.Decoder(_Claims).decode


@dataclass(frozen=True)
class UserJwt:
    """A user's JWT and what it says. ``expires`` is in seconds since 1970, None for never."""

    text: str
    name: str
    public: str
    issued: int
    expires: int | None

    @classmethod
    def read(cls, text: str) -> "UserJwt":
        """Take one apart and check that it is whole; whether its signer may sign is the server's question.

        raises  BadJwt
        """
        text = text.strip()
        try:
            header, body, signature = text.split(".")
            if msgspec.json.decode(_unpadded(header)) != HEADER:
                raise BadJwt("of another algorithm")
            claims = _decode(_unpadded(body))
            if not verify(claims.iss, "account", _unpadded(signature), f"{header}.{body}".encode()):
                raise BadJwt("its signature does not fit")
        except BadJwt:
            raise
        except (BadKey, ValueError, msgspec.MsgspecError):
            raise BadJwt("it does not decode") from None
        return cls(text, claims.name, claims.sub, claims.iat, claims.exp)

    @staticmethod
    def issued_at(text: str) -> int:
        """When any JWT was issued, seconds since 1970; nothing is checked."""
        return _decode(_unpadded(text.split(".")[1])).iat


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Credential:
    """A seed's file, ``<name>.nk``, and the JWT beside it, ``<name>.jwt``, where there is one."""

    def __init__(self, seed: Path) -> None:
        self.seed, self.jwt = seed, seed.with_suffix(".jwt")

    def present(self) -> tuple[KeyPair, UserJwt | None]:
        """What the files say now. Raises BadSeed, BadJwt, OSError."""
        keys = KeyPair.from_file(self.seed)
        if not self.jwt.exists():
            return keys, None
        token = UserJwt.read(self.jwt.read_text())
        if token.public != keys.public:
            raise BadJwt("it is of another key than the seed beside it")
        return keys, token

    def stamps(self) -> tuple[object, ...]:
        """Differ when the files were replaced."""
        return stamp(self.seed), stamp(self.jwt)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Which file is at a path now, None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
