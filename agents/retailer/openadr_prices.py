"""Prices as an OpenADR 3 event: intervals with payloads of type PRICE. OpenADR 3.0.1 Definition, event and payloads."""

import json
import re
from datetime import datetime
from typing import Any

from agents.retailer.price_slots import PriceFileError, Slot, checked, in_order, seconds

TYPE = "PRICE"


def read(text: str, file: str) -> tuple[Slot, ...]:
    """Slots in order; one event or a list of events. Raises PriceFileError."""
    try:
        said = json.loads(text)
    except json.JSONDecodeError as problem:
        raise PriceFileError(file, problem.lineno, f"it is no JSON: {problem.msg}", "Mend that line.") from problem
    except RecursionError:
        raise PriceFileError(
            file, 1, "it is nested too deeply", "Give an OpenADR 3 event, or a list of them."
        ) from None
    lines = _Lines(text)
    found: list[Slot] = []
    for event in said if isinstance(said, list) else [said]:
        if not isinstance(event, dict) or not isinstance(event.get("intervals"), list):
            remedy = "Give an OpenADR 3 event, or a list of them."
            raise PriceFileError(file, 1, "it has no list of intervals", remedy)
        found += _event(event, file, lines)
    return in_order(file, found)


class _Lines:
    """The line of each interval, told by the payloads in order: the decoder keeps none."""

    def __init__(self, text: str) -> None:
        self._at = [text.count("\n", 0, m.start()) + 1 for m in re.finditer(r'"payloads"\s*:', text)]
        self._next = 0

    def take(self) -> int:
        line = self._at[self._next] if self._next < len(self._at) else 1
        self._next += 1
        return line


def _event(event: dict[str, Any], file: str, lines: _Lines) -> list[Slot]:
    per = _unit(event, file)
    usual = _object(event.get("intervalPeriod"))
    at, found = None, []
    for number, interval in enumerate(event["intervals"]):
        line = lines.take()
        if not isinstance(interval, dict):
            raise PriceFileError(file, line, f"interval {number} is no object", 'Give {"payloads": [...]}.')
        its = _object(interval.get("intervalPeriod"))
        period = {**usual, **its}
        length = seconds(str(period.get("duration", "")))
        if length is None:
            cause, remedy = f"interval {number} has no duration", "Give intervalPeriod.duration, such as PT1H."
            raise PriceFileError(file, line, cause, remedy)
        # An interval without a start of its own follows the one before.
        own = "start" in its
        start = _start(period, number, file, line) if own or at is None else at
        at = start + length
        payloads = interval.get("payloads")
        prices = [p for p in payloads if _object(p).get("type") == TYPE] if isinstance(payloads, list) else []
        if not prices:
            continue
        try:
            price = float(prices[0]["values"][0])
        except (TypeError, ValueError, LookupError):
            cause, remedy = f"interval {number} has no number as {TYPE}", 'Give "values": [0.25].'
            raise PriceFileError(file, line, cause, remedy) from None
        found.append(checked(file, line, start, at, price * per))
    return found


def _object(said: object) -> dict[str, Any]:
    """Empty where something else was said."""
    return said if isinstance(said, dict) else {}


def _start(period: dict[str, Any], number: int, file: str, line: int) -> float:
    try:
        moment = datetime.fromisoformat(str(period.get("start", "")))
    except ValueError:
        cause, remedy = f"interval {number} has no start", "Give intervalPeriod.start as 2016-05-20T00:00:00Z."
        raise PriceFileError(file, line, cause, remedy) from None
    if moment.tzinfo is None:
        raise PriceFileError(file, line, f"interval {number} starts at a time without zone", "End it with Z.")
    return moment.timestamp()


def _unit(event: dict[str, Any], file: str) -> float:
    """Factor to EUR/kWh, from the payload's descriptor; EUR/KWH where there is none."""
    descriptors = event.get("payloadDescriptors")
    for descriptor in descriptors if isinstance(descriptors, list) else ():
        if _object(descriptor).get("payloadType") == TYPE:
            currency, units = descriptor.get("currency") or "EUR", descriptor.get("units") or "KWH"
            if currency != "EUR" or units not in ("KWH", "MWH"):
                cause, remedy = f"its prices are in {currency}/{units}", "Give EUR and KWH or MWH."
                raise PriceFileError(file, 1, cause, remedy)
            return 1.0 if units == "KWH" else 1e-3
    return 1.0
