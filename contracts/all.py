"""Everything that can be said. Importing this module fills the vocabulary."""

from contracts import (
    charging,
    device,
    emergency,
    flexibility,
    forecast,
    grid_state,
    hand,
    home_plan,
    home_rules,
    instructions,
    metering,
    operator,
    own_plans,
    power_limit,
    preferences,
    questions,
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
    instructions,
    own_plans,
    charging,
    tariff,
    site_power,
    forecast,
    preferences,
    hand,
    home_plan,
    home_rules,
    questions,
    operator,
    system,
)


def conversations() -> dict[str, Conversation]:
    """Every conversation table by name."""
    return {
        table.name: table for module in _MODULES for table in vars(module).values() if isinstance(table, Conversation)
    }
