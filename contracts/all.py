"""Everything that can be said. Importing this module fills the vocabulary."""

from contracts import (
    customer,
    device,
    emergency,
    flexibility,
    forecast,
    grid_state,
    metering,
    operator,
    own_plans,
    power_limit,
    site_power,
    system,
    tariff,
)
from contracts.kit import Conversation

_MODULES = (
    power_limit,
    metering,
    grid_state,
    emergency,
    device,
    flexibility,
    own_plans,
    tariff,
    site_power,
    forecast,
    customer,
    operator,
    system,
)


def conversations() -> dict[str, Conversation]:
    """Every conversation table by name."""
    return {
        table.name: table for module in _MODULES for table in vars(module).values() if isinstance(table, Conversation)
    }
