"""What every word travels in: edition, id, talk, deadline, trace and the typed body, as one JSON object."""

from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from secrets import token_hex
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from contracts.kit import Message

EDITION = 1
B = TypeVar("B")
Id = Annotated[str, Meta(min_length=1, max_length=64)]
"""No pattern: ids are compared, never interpreted, and checking one costs as much as decoding the whole word."""


class Envelope(msgspec.Struct, Generic[B], frozen=True, kw_only=True, omit_defaults=True):
    """One word on its way. Instants are of the run's clock; ``deadline`` is when it stops counting."""

    v: Annotated[int, Meta(ge=1, le=EDITION)] = EDITION
    id: Id
    at: Annotated[datetime, Meta(tz=True)]
    deadline: Annotated[datetime, Meta(tz=True)]
    talk: Id | None = None
    trace: Annotated[str, Meta(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None = None
    body: B


@lru_cache(maxsize=4096)
def decoder(kind: type[Message]) -> msgspec.json.Decoder[Envelope[Any]]:
    """The decoder of one word; unknown fields are skipped, limits are checked, NaN and infinities are no JSON."""
    return msgspec.json.Decoder(Envelope[kind])  # type: ignore[valid-type]


_encoder = msgspec.json.Encoder()
encode = _encoder.encode


class Ids:
    """Ids that are unique without asking anybody: a random stem per process and a counter."""

    def __init__(self) -> None:
        self._stem = token_hex(8)
        self._count = count()

    def __call__(self) -> str:
        return f"{self._stem}-{next(self._count):x}"


def instant(seconds: float) -> datetime:
    """Unix seconds of the run's clock as they travel."""
    return datetime.fromtimestamp(seconds, UTC)


class _IdOnly(msgspec.Struct):
    id: str


_decode_id = msgspec.json.Decoder(_IdOnly).decode


def id_of(payload: bytes) -> str:
    """The id of a word, whatever its kind. Raises msgspec.MsgspecError."""
    return _decode_id(payload).id
