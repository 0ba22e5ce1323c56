import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.docker"]

# The machine is shared: how long it takes to make an example says nothing of what is tested.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
