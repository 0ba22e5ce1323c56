"""Identities at scale: users in the configuration, JWTs of one account, auth callout. Ratios hold, times do not.

``GRIDPARLEY_MILLION=1`` also measures a million users in the configuration (about 8 GB, two minutes).
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.broker import Broker
from bench.callout import Callout
from bench.figure import Figure, Missing, Result, median, percentile
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable
from bus.user_jwt import UserJwt
from bus.wire import HardClient
from deploy.fleet import claims
from deploy.fleet.config import PUSH
from deploy.fleet.fleet import Fleet
from deploy.permissions import Permissions
from deploy.roster import Roster
from deploy.topology import load

HUB_CONNECTIONS = 200
PING_EVERY_S = 0.002


async def run(quick: bool) -> list[Result]:
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000)
    static = (*sizes, 1_000_000) if os.environ.get("GRIDPARLEY_MILLION") else sizes
    results: list[Result] = []
    for size in static:
        with tempfile.TemporaryDirectory(prefix="gridparley-") as folder:
            results += await _static(Path(folder), size)
    with tempfile.TemporaryDirectory(prefix="gridparley-") as folder:
        results += await _jwt(Path(folder), sizes)
    with tempfile.TemporaryDirectory(prefix="gridparley-") as folder:
        results += await _callout(Path(folder))
    return results


# -------------------------------------------------------------------- users in the configuration


async def _static(folder: Path, size: int) -> list[Result]:
    """The hub's file with a user per site, and what it costs to add one."""
    pairs = [KeyPair.new() for _ in range(min(size, 10))]
    publics = [pair.public for pair in pairs] + [_public(n) for n in range(size - len(pairs))]
    text = _users(publics)
    broker = Broker(folder, text)
    began = time.perf_counter()
    broker.start(within_s=120.0)
    started = time.perf_counter() - began
    try:
        before = _rss_mb(broker)
        newcomer = KeyPair.new()
        async with _client(broker.url, lambda: (pairs[0], None)) as client:
            broker.authorize(_users([*publics, newcomer.public]))
            stalls: list[float] = []
            pinging = asyncio.create_task(_ping(client, stalls))
            began = time.perf_counter()
            broker.reload()
            await _until_in(broker.url, newcomer)
            known = time.perf_counter() - began
            pinging.cancel()
        what = f"users in the configuration, {size:,}:"
        return [
            Figure(what=f"{what} file", value=len(text) / 1e6, unit="MB"),
            Figure(what="  start", value=started, unit="s"),
            Figure(what="  server's memory", value=before, unit="MB", note=f"{_rss_mb(broker):.0f} after a reload"),
            Figure(what="  reload until a new user is let in", value=known, unit="s"),
            Figure(what="  longest PING meanwhile", value=max(stalls) * 1e3, unit="ms"),
        ]
    finally:
        broker.stop()


def _public(number: int) -> str:
    """The form of a key is enough for a server that is never asked by it; making a million real ones takes minutes."""
    raw = number.to_bytes(32, "big")
    return KeyPair.text_of(raw)


def _users(publics: list[str]) -> str:
    rights = "publish: {{ allow: [{}] }}, subscribe: {{ allow: [{}] }}"
    rows = []
    for number, public in enumerate(publics):
        allowed = rights.format(f'"say.h{number}.>", "to.grid.dso.north.h{number}.>"', f'"to.h{number}.>"')
        rows.append(f"{{ nkey: {public}, permissions: {{ {allowed} }} }}")
    return "authorization { timeout: 5\n users: [\n" + "\n".join(rows) + "\n] }"


async def _until_in(url: str, pair: KeyPair) -> None:
    while True:
        try:
            async with _client(url, lambda: (pair, None)):
                return
        except BusUnavailable:
            await asyncio.sleep(0.005)


async def _ping(client: HardClient, stalls: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await client.flush(60)
        stalls.append(time.perf_counter() - began)
        await asyncio.sleep(PING_EVERY_S)


# -------------------------------------------------------------------- JWTs


async def _jwt(folder: Path, sizes: tuple[int, ...]) -> list[Result]:
    fleet = Fleet.found(folder / "fleet", Permissions(load("street"), Roster()))
    system = KeyPair.new()
    watcher = UserJwt.read(fleet.system(system.public))
    config = f"""operator: {fleet.operator_jwt}
system_account: {fleet.charter.system}
resolver {{ type: full, dir: "{folder / "accounts"}", interval: "2m" }}
resolver_preload {{ {fleet.charter.system}: {fleet.system_jwt}, {fleet.charter.account}: {fleet.account_jwt} }}"""
    broker = Broker(folder, config, "max_payload: 16MB\nmax_control_line: 16KB")
    broker.start()
    results: list[Result] = []
    try:
        async with _client(broker.url, lambda: (system, watcher), inbox="_R.sys") as boss:
            empty = _rss_mb(broker)
            issued = sizes[-1]
            keys = [(f"s{n}", _public(n)) for n in range(issued)]
            began = time.perf_counter()
            made = list(fleet.sites(keys))
            took = time.perf_counter() - began
            length = len(made[0][1])
            results += [
                Figure(
                    what=f"JWTs, {issued:,} issued: rate", value=issued / took, unit="/s", note=f"{length} bytes each"
                ),
                Figure(what="  server's memory", value=_rss_mb(broker), unit="MB", note=f"{empty:.0f} before"),
                Figure(what="  sign-in p50", value=await _signing_in(broker.url, fleet), unit="ms"),
            ]
            for size in sizes:
                results += await _revoked(broker, fleet, boss, size)
    finally:
        broker.stop()
    return results


async def _signing_in(url: str, fleet: Fleet) -> float:
    """As grid-side agents do: a site's JWT opens the leaves' door only, and costs the server the same."""
    admin = KeyPair.new()
    token = UserJwt.read(fleet.admin(admin.public, old_key="expires"))
    return median(await _sign_ins(url, lambda: (admin, token))) * 1e3


async def _revoked(broker: Broker, fleet: Fleet, boss: HardClient, size: int) -> list[Result]:
    """Somebody is taken back while so many others are on the list."""
    pair = KeyPair.new()
    token = UserJwt.read(fleet.admin(pair.public, old_key="expires"))
    now = int(time.time())
    account = claims.account(
        KeyPair.from_file(fleet.folder / "operator-signing.nk", "operator"),
        fleet.charter.account,
        "GRIDPARLEY",
        now + size,
        agent_keys=[KeyPair.from_file(fleet.folder / "agents.nk", "account").public],
        revoked={pair.public: now, **{_public(n): now for n in range(size)}},
    )
    async with _client(broker.url, lambda: (pair, token)) as client:
        began = time.perf_counter()
        answer = msgspec.json.decode(await boss.ask(PUSH, account.encode(), 60.0))
        if "error" in answer:
            return [Missing(f"revoked keys on the list, {size:,}", f"not taken: {answer['error']['description']}")]
        taken = time.perf_counter() - began
        while not client.is_closed:  # noqa: ASYNC110  the library sets no event
            await asyncio.sleep(0.0005)
        gone = time.perf_counter() - began
    sign_in = await _signing_in(broker.url, fleet)
    return [
        Figure(what=f"revoked keys on the list, {size:,}: account's JWT", value=len(account) / 1e3, unit="kB"),
        Figure(
            what="  pushed until the connection is cut", value=gone * 1e3, unit="ms", note=f"taken {taken * 1e3:.0f}"
        ),
        Figure(what="  sign-in p50 after", value=sign_in, unit="ms", note=f"server {_rss_mb(broker):.0f} MB"),
    ]


# -------------------------------------------------------------------- auth callout


async def _callout(folder: Path) -> list[Result]:
    service, pair = Callout(), KeyPair.new()
    broker = Broker(folder, service.authorization())
    broker.start()
    try:
        async with _client(broker.url, lambda: (service.keys, None)) as client:
            await service.serve(client, {pair.public})
            times = await _sign_ins(broker.url, lambda: (pair, None))
            began = time.perf_counter()
            await asyncio.gather(*(_sign_ins(broker.url, lambda: (pair, None), 25) for _ in range(16)))
            rate = 16 * 25 / (time.perf_counter() - began)
        began = time.perf_counter()
        refused = ""
        try:
            async with _client(broker.url, lambda: (pair, None)):
                pass
        except BusUnavailable as problem:
            refused = problem.cause
        return [
            Figure(what="auth callout: sign-in p50", value=median(times) * 1e3, unit="ms",
                   note=f"p99 {percentile(times, 0.99) * 1e3:.1f}"),
            Figure(what="  rate with one responder", value=rate, unit="/s"),
            Figure(what="  responder gone: refused after", value=time.perf_counter() - began, unit="s",
                   note=refused or "let in!"),
        ]  # fmt: skip
    finally:
        broker.stop()


# -------------------------------------------------------------------- all


@asynccontextmanager
async def _client(
    url: str, identity: Callable[[], tuple[KeyPair, UserJwt | None]], inbox: str = "_R.bench"
) -> AsyncIterator[HardClient]:
    """Raises BusUnavailable."""
    client, causes = HardClient(), []
    client.use_identity(identity)

    async def on_error(problem: Exception) -> None:
        causes.append(str(problem) or type(problem).__name__)

    try:
        await client.connect(
            url,
            inbox_prefix=inbox,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            connect_timeout=10,
            error_cb=on_error,
        )
    except Exception as problem:  # the library raises what it likes for a refusal
        client.abort()
        raise BusUnavailable(url, (causes or [str(problem)])[-1]) from None
    try:
        yield client
    finally:
        await client.close()


async def _sign_ins(
    url: str, identity: Callable[[], tuple[KeyPair, UserJwt | None]], times: int = HUB_CONNECTIONS
) -> list[float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        async with _client(url, identity):
            took.append(time.perf_counter() - began)
    return took


def _rss_mb(broker: Broker) -> float:
    assert broker.process is not None
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
