"""NATS identities: Ed25519 key pairs in the NKey text form. Seeds are secrets: files of mode 0600, never logged."""

import base64
from binascii import crc_hqx
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

Kind = Literal["user", "account", "operator"]
"""Who a key stands for; the first letter of its public text is U, A or O. Agents and links are users."""
_SEED = 18 << 3
_PREFIX: dict[Kind, int] = {"user": 20 << 3, "account": 0, "operator": 14 << 3}


class BadSeed(ValueError):
    """The text is no NKey seed of the kind. The text itself is not repeated: it may be a secret."""

    def __init__(self, cause: str, kind: Kind = "user") -> None:
        super().__init__(f"not an NKey {kind} seed ({cause}): make one with `gridparley keys` or `gridparley fleet`")


class BadKey(ValueError):
    """The text is no public NKey of the kind."""

    def __init__(self, text: str, kind: Kind) -> None:
        first = {"user": "U", "account": "A", "operator": "O"}[kind]
        super().__init__(
            f"{text!r} is no public NKey of {kind} kind: 56 letters and digits that begin with {first}; "
            "a seed (S...) is a secret and is not asked for"
            if not text.startswith("S")
            else f"a seed was given where a public NKey of {kind} kind is asked for: a seed stays where it was made"
        )


class KeyPair:
    """A key pair. ``public`` is its name at the server, ``sign`` answers the server's challenge."""

    def __init__(self, private: Ed25519PrivateKey, kind: Kind = "user") -> None:
        self._private, self.kind = private, kind
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = self.text_of(raw, kind)

    @classmethod
    def new(cls, kind: Kind = "user") -> "KeyPair":
        return cls(Ed25519PrivateKey.generate(), kind)

    @classmethod
    def from_seed(cls, seed: str, kind: Kind = "user") -> "KeyPair":
        """Raises BadSeed, also for a seed of another kind."""
        try:
            raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
        except ValueError:
            raise BadSeed("not base32", kind) from None
        if len(raw) != 36 or crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
            raise BadSeed("wrong length or checksum", kind)
        if raw[0] & 0xF8 != _SEED or ((raw[0] & 7) << 5 | raw[1] >> 3) != _PREFIX[kind]:
            raise BadSeed("of another kind", kind)
        return cls(Ed25519PrivateKey.from_private_bytes(raw[2:34]), kind)

    @classmethod
    def from_file(cls, path: Path, kind: Kind = "user") -> "KeyPair":
        return cls.from_seed(path.read_text(), kind)

    @staticmethod
    def text_of(raw: bytes, kind: Kind = "user") -> str:
        """The text form of a raw public key, 32 bytes."""
        return _text(bytes([_PREFIX[kind]]) + raw)

    @property
    def seed(self) -> str:
        raw = self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        prefix = _PREFIX[self.kind]
        return _text(bytes([_SEED | prefix >> 5, (prefix & 31) << 3]) + raw)

    def signature(self, data: bytes) -> bytes:
        return self._private.sign(data)

    def sign(self, nonce: str) -> bytes:
        """The answer to a server's nonce, base64 as the protocol wants it."""
        return base64.b64encode(self.signature(nonce.encode()))


def checked(public: str, kind: Kind = "user") -> str:
    """A public key's text if it is one of this kind. Raises BadKey."""
    _raw(public, kind)
    return public


def verify(public: str, kind: Kind, signature: bytes, data: bytes) -> bool:
    """Whether the holder of this public key signed the data. Raises BadKey."""
    try:
        Ed25519PublicKey.from_public_bytes(_raw(public, kind)).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _raw(public: str, kind: Kind) -> bytes:
    try:
        raw = base64.b32decode(public + "=" * (-len(public) % 8))
    except ValueError:
        raise BadKey(public, kind) from None
    if len(raw) != 35 or crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little") or raw[0] != _PREFIX[kind]:
        raise BadKey(public, kind)
    return raw[1:33]


def _text(raw: bytes) -> str:
    """The checksum is CRC-16/XMODEM."""
    return base64.b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
