"""The canonical use cases that this system is built and tested by: ids, titles, sources, roles, what must be true."""

from functools import lru_cache
from importlib.resources import files

import msgspec


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of use cases; the first part of their ids."""

    id: str
    title: str
    about: str


class UseCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One canonical use case.

    sources  entries of the catalogue that stand in it; empty where it rests on requirements only
    roles    the parties that take part; some are yet to come
    core     what must be observably true on the bus or at the connection point
    """

    id: str
    title: str
    family: str
    sources: tuple[str, ...]
    roles: tuple[str, ...]
    core: str


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    families: tuple[Family, ...]
    use_cases: tuple[UseCase, ...]


class UnknownUseCase(LookupError):
    """No use case has this id. ``similar`` are ids that may have been meant."""

    def __init__(self, id: str) -> None:
        from difflib import get_close_matches

        self.id = id
        self.similar = get_close_matches(id, use_cases(), n=3)
        hint = f"did you mean {' or '.join(self.similar)}?" if self.similar else "see docs/use-cases.md"
        super().__init__(f"there is no use case {id!r}: {hint}")


@lru_cache(maxsize=1)
def _catalogue() -> _Catalogue:
    import yaml  # here, because agents never need it

    text = files("contracts").joinpath("use_cases.yaml").read_text(encoding="utf-8")
    # The C loader reads the list in a twentieth of the time; wheels of some platforms lack it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return msgspec.convert(yaml.load(text, Loader=loader), _Catalogue)  # noqa: S506  both loaders are safe ones


@lru_cache(maxsize=1)
def use_cases() -> dict[str, UseCase]:
    """All of them by id, in the catalogue's order."""
    return {one.id: one for one in _catalogue().use_cases}


def families() -> tuple[Family, ...]:
    return _catalogue().families


def use_case(id: str) -> UseCase:
    """Raises UnknownUseCase."""
    found = use_cases().get(id)
    if found is None:
        raise UnknownUseCase(id)
    return found
