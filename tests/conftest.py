import pytest

pytest_plugins = ["tests.support.docker"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
