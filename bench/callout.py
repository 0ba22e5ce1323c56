"""An auth callout in forty lines: for each sign-in the server asks this service who it is. For comparison only."""

import base64
from typing import Any

import msgspec

from bus.nkeys import KeyPair, verify
from bus.wire import HardClient
from deploy.fleet.claims import sign

REQUEST = "$SYS.REQ.USER.AUTH"


class Callout:
    """Lets keys in that it knows. ``keys`` is its own identity at the server, the one that is in the configuration."""

    def __init__(self) -> None:
        self.issuer, self.keys = KeyPair.new("account"), KeyPair.new()

    def authorization(self) -> str:
        """What the server's configuration says about it."""
        return f"""accounts {{ AUTH: {{ users: [ {{ nkey: {self.keys.public} }} ] }}, GRIDPARLEY: {{}} }}
authorization {{ timeout: 2, auth_callout {{ issuer: {self.issuer.public}, account: AUTH,
  auth_users: [ {self.keys.public} ] }} }}"""

    async def serve(self, client: HardClient, known: set[str]) -> None:
        async def asked(message: Any) -> None:
            request = _claims(message.data)["nats"]
            client.post(f"PUB {message.reply} ".encode(), self._answer(request, known).encode())

        await client.subscribe(REQUEST, cb=asked)
        await client.flush()

    def _answer(self, request: dict[str, Any], known: set[str]) -> str:
        public, who = request["user_nkey"], request["connect_opts"]
        nats: dict[str, Any] = {"type": "authorization_response", "version": 2}
        # The server did not check that the client holds the key: it does not know it. Whoever forgets lets anybody in.
        nonce, signed = request["client_info"].get("nonce", ""), who.get("sig", "")
        key = who.get("nkey", "")
        if key in known and verify(key, "user", base64.urlsafe_b64decode(signed + "=="), nonce.encode()):
            rights = {"pub": {"allow": ["say.h07.>"]}, "sub": {"allow": ["to.h07.>"]}}
            user = {"type": "user", "version": 2, **rights, "subs": -1, "data": -1, "payload": -1}
            nats["jwt"] = self._signed(public, "GRIDPARLEY", user)
        else:
            nats["error"] = "unknown"
        return self._signed(public, request["server_id"]["id"], nats)

    def _signed(self, subject: str, audience: str, nats: dict[str, Any]) -> str:
        return sign(self.issuer, subject, "h07", nats, 0, None, audience=audience)


def _claims(token: bytes) -> dict[str, Any]:
    body = token.split(b".")[1]
    found: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    return found
