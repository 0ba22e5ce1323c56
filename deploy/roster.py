"""Which agent plays a role. Imported when asked for: a container with one agent needs only that agent's packages."""

import importlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache

from agents.kit.agent import Agent
from contracts.roles import ALL, OPS

ROLES = frozenset(role.name for role in ALL)


class UnknownRole(LookupError):
    """No agent plays this role."""

    def __init__(self, role: str) -> None:
        known = ", ".join(sorted(ROLES))
        cause = f"agents/{role}/agent.py defines no AGENT" if role in ROLES else f"the roles are {known}"
        super().__init__(f"nobody plays {role!r}: {cause}")
        self.role = role


@lru_cache(maxsize=64)
def agent_of(role: str) -> Agent:
    """The agent that plays a role. Raises UnknownRole."""
    if role not in ROLES or importlib.util.find_spec(f"agents.{role}") is None:
        raise UnknownRole(role)
    if importlib.util.find_spec(f"agents.{role}.agent") is None:
        raise UnknownRole(role)
    agent = getattr(importlib.import_module(f"agents.{role}.agent"), "AGENT", None)
    if not isinstance(agent, Agent):
        raise UnknownRole(role)
    return agent


class Roster:
    """Role -> agent. ``given`` replaces or adds some, so that a test can let its own agent play a role."""

    def __init__(self, given: Mapping[str, Agent] | None = None) -> None:
        self._given = dict(given or {})

    def __call__(self, role: str) -> Agent | None:
        """None for operators' tools, which are no agents. Raises UnknownRole."""
        if role in self._given:
            return self._given[role]
        return None if role == OPS.name else agent_of(role)
