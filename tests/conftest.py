import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.docker"]

# The machine is shared: how long it takes to make an example says nothing of what is tested.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers first, as they take longest; a second stack, which waits for the first, in the middle."""
    stacks = ("tests/containers/test_two_homes.py", "tests/containers/test_hub_of_three.py")
    first, second = ([one for one in items if one.nodeid.startswith(file)] for file in stacks)
    rest = [one for one in items if not one.nodeid.startswith(stacks)]
    half = len(rest) // 2
    items[:] = [*first, *rest[:half], *second, *rest[half:]]
