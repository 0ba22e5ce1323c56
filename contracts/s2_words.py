"""The frame of S2's words: their common fields, how ranges and durations are written, and how one is found."""

from typing import Any

Words = list[dict[str, Any]]
QUANTITY = "ELECTRIC.POWER.3_PHASE_SYMMETRIC"


class NotInS2(ValueError):
    """Words that make no offer or instruction of ours: the text names what is missing."""


def shape(kind: str, message_id: str, /, **fields: Any) -> dict[str, Any]:
    return {"message_type": kind, "message_id": message_id, **fields}


def span(start: float, end: float) -> dict[str, Any]:
    return {"start_of_range": start, "end_of_range": end}


def power_range(lower: float, upper: float) -> dict[str, Any]:
    return {**span(lower, upper), "commodity_quantity": QUANTITY}


def ms(seconds: float) -> int:
    """S2's durations."""
    return round(seconds * 1000)


def find(words: Words, kind: str) -> dict[str, Any] | None:
    return next((one for one in words if one["message_type"] == kind), None)


def needed(words: Words, kind: str) -> dict[str, Any]:
    """Raises NotInS2."""
    found = find(words, kind)
    if found is None:
        raise NotInS2(f"there is no {kind} among the words")
    return found
