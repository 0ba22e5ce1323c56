"""Everything that can be said. Importing this module fills the vocabulary."""

from contracts import device, emergency, grid_state, metering, operator, power_limit, system
from contracts.kit import Conversation

_MODULES = (power_limit, metering, grid_state, emergency, device, operator, system)


def conversations() -> dict[str, Conversation]:
    """Every conversation table by name."""
    return {
        table.name: table for module in _MODULES for table in vars(module).values() if isinstance(table, Conversation)
    }
