"""A server that runs and cannot write any more is found, and ended once it could write again."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest

from bus.address import Address
from bus.store import State
from bus.transport import NotStored
from deploy.nats import places
from deploy.nats.health import ServerHealth
from deploy.nats.servers import Servers
from deploy.topology import load
from tests.bus.agents import until

pytestmark = pytest.mark.anyio
AGENT = Address.parse("h07.pv.1")


@contextmanager
def no_file_may_grow(pid: int) -> Iterator[None]:
    """As a full disk is to the server; it does not need root. Ended with the process itself, too."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it has been ended
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_server_whose_streams_have_failed_is_ended_and_its_next_life_writes(tmp_path: Path) -> None:
    async with Servers(load("home"), tmp_path) as servers, anyio.create_task_group() as group:
        ended: list[str] = []

        async def end(server: str) -> None:
            ended.append(server)
            await servers.kill(server)

        stores = {place.server: Path(place.store) for place in places.read(tmp_path)}
        health = ServerHealth(servers, stores, end)
        group.start_soon(health.keep, "h07")
        connection = servers.connection("h07", str(AGENT), AGENT.inbox)
        await connection.open()
        state = State(connection, AGENT)
        await state.put("probe", 1)
        with no_file_may_grow(servers.pid("h07")), pytest.raises(NotStored):
            await state.put("probe", 2)
        await until(lambda: ended, 30.0)
        assert "write error" in health.sick["h07"]
        await servers.start("h07")
        await until(lambda: not health.sick, 30.0)
        await until(lambda: connection.connected, 30.0)
        await state.put("probe", 3)
        assert await state.get("probe", int) == 3
        assert ended == ["h07"], "once is enough"
        await connection.close()
        group.cancel_scope.cancel()


async def test_a_server_is_left_alone_while_its_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Servers(load("home"), tmp_path) as servers, anyio.create_task_group() as group:
        ended: list[str] = []

        async def end(server: str) -> None:
            ended.append(server)

        monkeypatch.setattr("deploy.nats.health.ROOM_BYTES", 1 << 60)
        stores = {place.server: Path(place.store) for place in places.read(tmp_path)}
        health = ServerHealth(servers, stores, end)
        group.start_soon(health.keep, "h07")
        connection = servers.connection("h07", str(AGENT), AGENT.inbox)
        await connection.open()
        with no_file_may_grow(servers.pid("h07")), pytest.raises(NotStored):
            await State(connection, AGENT).put("probe", 2)
        await until(lambda: health.sick, 30.0)
        looks = health.looks
        await until(lambda: health.looks >= looks + 2, 30.0)
        assert not ended
        await connection.close()
        group.cancel_scope.cancel()
