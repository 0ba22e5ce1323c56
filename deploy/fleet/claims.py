"""The JWTs of decentralised NATS identities: operator, account, user. Made with ``cryptography`` alone, no ``nsc``."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bus.nkeys import KeyPair
from bus.user_jwt import HEADER
from deploy.permissions import Rights

_ALL = -1  # no limit
_STREAM_LIMITS = {"mem_storage": _ALL, "disk_storage": _ALL, "streams": _ALL, "consumer": _ALL}
_LIMITS = {"subs": _ALL, "data": _ALL, "payload": _ALL, "imports": _ALL, "exports": _ALL, "wildcards": True}
MAX_WORD = 65_536
"""Bytes that a user may say at once. The hub takes more, from its system user alone: the account's JWT with its list of
revocations (94 bytes each)."""
_USER_LIMITS = {"subs": _ALL, "data": _ALL, "payload": MAX_WORD}
_SYSTEM_LIMITS = {"subs": _ALL, "data": _ALL, "payload": _ALL}


def sign(
    issuer: KeyPair,
    subject: str,
    name: str,
    nats: Mapping[str, Any],
    issued: int,
    expires: int | None,
    audience: str = "",
) -> str:
    """One JWT. Instants are whole seconds since 1970; ``expires`` None means never."""
    claims: dict[str, Any] = {"iat": issued, "iss": issuer.public, "name": name, "sub": subject, "nats": nats}
    if expires is not None:
        claims["exp"] = expires
    if audience:
        claims["aud"] = audience
    digest = hashlib.sha256(msgspec.json.encode(claims)).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = f"{_HEAD}.{_unpadded(msgspec.json.encode(claims))}"
    return f"{text}.{_unpadded(issuer.signature(text.encode()))}"


def operator(own: KeyPair, signing: Iterable[str], system_account: str, issued: int) -> str:
    """What servers trust: this operator, by these keys of its hand."""
    nats = {"type": "operator", "version": 2, "signing_keys": list(signing), "system_account": system_account}
    return sign(own, own.public, "gridparley", nats, issued, None)


def account(
    signer: KeyPair,
    public: str,
    name: str,
    issued: int,
    *,
    site_keys: Iterable[str] = (),
    template: Rights | None = None,
    agent_keys: Iterable[str] = (),
    revoked: Mapping[str, int] | None = None,
    streams: bool = True,
) -> str:
    """An account.

    site_keys, template   keys that make users of this template and no other; its names come from the user's JWT
    agent_keys            keys that may give any right of the account
    revoked               public key of a user -> instant; what was issued to it up to then is worth nothing
    """
    connections = ["LEAFNODE", "LEAFNODE_WS"]
    scopes = [
        {
            "kind": "user_scope",
            "key": key,
            "role": "site",
            "template": {**_rights(template), **_USER_LIMITS, "allowed_connection_types": connections},
        }
        for key in site_keys
        if template is not None
    ]
    nats = {
        "type": "account",
        "version": 2,
        "limits": {**_LIMITS, "conn": _ALL, "leaf": _ALL, **(_STREAM_LIMITS if streams else {})},
        "signing_keys": [*scopes, *agent_keys],
        "default_permissions": {},
        "revocations": dict(revoked or {}),
    }
    return sign(signer, public, name, nats, issued, None)


def scoped_user(
    signer: KeyPair, public: str, name: str, of: str, tags: Iterable[str], issued: int, expires: int
) -> str:
    """A user whose rights are its key's template, filled with its name and tags."""
    nats = {"type": "user", "version": 2, "issuer_account": of, "tags": list(tags)}
    return sign(signer, public, name, nats, issued, expires)


def user(signer: KeyPair, public: str, name: str, of: str, rights: Rights, issued: int, expires: int) -> str:
    """A user with rights of its own."""
    nats = {
        "type": "user",
        "version": 2,
        "issuer_account": of,
        **_rights(rights),
        **_USER_LIMITS,
        "allowed_connection_types": ["STANDARD"],
    }
    return sign(signer, public, name, nats, issued, expires)


def system_user(account: KeyPair, public: str, name: str, issued: int, expires: int) -> str:
    """A user of the system account, whose own key signs: it may do everything there."""
    rights: dict[str, Any] = {"pub": {}, "sub": {}}
    nats = {"type": "user", "version": 2, **rights, **_SYSTEM_LIMITS, "allowed_connection_types": ["STANDARD"]}
    return sign(account, public, name, nats, issued, expires)


def _rights(rights: Rights) -> dict[str, Any]:
    return {"pub": {"allow": list(rights.publish)}, "sub": {"allow": list(rights.subscribe)}}


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_HEAD = _unpadded(msgspec.json.encode(HEADER))
