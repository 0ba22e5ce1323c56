"""An agent is a role, its settings and a list of skills. Building wires the skills by the types of their fields."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

import msgspec

from agents.kit.deals import Deals
from agents.kit.presence import AcknowledgeGroups, ShowPresence
from agents.kit.service import AnswerOperators
from agents.kit.skill import Vocabulary, vocabulary_of
from bus.address import Address
from bus.clock import Clock
from contracts.kit import Role


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the topology file may set for a role. Every field has a unit suffix and a default that works."""


@dataclass(frozen=True)
class Peers:
    """Whom an agent may know: those of its own site, and across the site's border those that its role deals with."""

    addresses: tuple[Address, ...] = ()
    groups: tuple[str, ...] = ()

    def of(self, *roles: Role) -> list[Address]:
        names = {role.name for role in roles}
        return [address for address in self.addresses if address.role in names]

    def one(self, role: Role) -> Address | None:
        return next(iter(self.of(role)), None)


Resources = Callable[[Any, Address, Clock], AbstractAsyncContextManager[Mapping[type, object]]]
"""``(settings, address, clock)`` -> what skills need besides the bus, by type: a driver, a database."""


@asynccontextmanager
async def no_resources(_settings: Any, _address: Address, _clock: Clock) -> AsyncIterator[Mapping[type, object]]:
    """Most agents need nothing but the bus."""
    yield {}


@dataclass(frozen=True)
class Agent:
    """An actor's table of contents. Each ``agents/<role>/agent.py`` names its own ``AGENT``."""

    role: Role
    settings: type[Settings]
    skills: tuple[type, ...]
    resources: Resources = no_resources

    @property
    def all_skills(self) -> tuple[type, ...]:
        """Its own, then what every agent does. ``Deals`` comes first where a skill needs it: it restores first."""
        makes_deals = any(hint is Deals for cls in self.skills for hint in get_type_hints(cls).values())
        first = (Deals,) if makes_deals and Deals not in self.skills else ()
        return (*first, *self.skills, ShowPresence, AcknowledgeGroups, AnswerOperators)

    @property
    def vocabulary(self) -> Vocabulary:
        """What it says and hears, without starting it."""
        return vocabulary_of(self.all_skills)

    def build(self, given: Mapping[type, object]) -> list[Any]:
        """The skills, each field filled by type from ``given`` and from the skills before it.

        Raises TypeError that names skill, field and type when nothing fits: skills are listed after what they need.
        """
        made: dict[type, object] = dict(given)
        for cls in self.all_skills:
            if not is_dataclass(cls):
                raise TypeError(
                    f"{cls.__name__} is no dataclass: a skill is a dataclass whose fields are what it needs"
                )
            hints = get_type_hints(cls)
            arguments = {}
            for spec in fields(cls):
                if not spec.init:
                    continue
                fitting = [value for kind, value in made.items() if _fits(kind, hints[spec.name])]
                if fitting:
                    arguments[spec.name] = fitting[0]
                elif not _has_default(spec):
                    raise TypeError(f"{self.role.name}: nothing fits {cls.__name__}.{spec.name}: {hints[spec.name]}")
            made[cls] = cls(**arguments)
        return [made[cls] for cls in self.all_skills]


def _fits(kind: type, wanted: Any) -> bool:
    return isinstance(wanted, type) and (
        issubclass(kind, wanted) if not getattr(wanted, "_is_protocol", False) else kind is wanted
    )


def _has_default(spec: Any) -> bool:
    return spec.default is not MISSING or spec.default_factory is not MISSING
