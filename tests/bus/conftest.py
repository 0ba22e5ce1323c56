"""A real nats-server with the streams of bus/store.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.broker import Broker
from tests.bus.agents import AGENTS


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A server of this test alone: it may be killed."""
    made = Broker(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
async def streams(broker: Broker) -> Broker:
    await broker.provision(*AGENTS)
    return broker
