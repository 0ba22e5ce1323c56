"""Read a price file in whichever of the common public formats it is."""

from pathlib import Path

from agents.retailer import csv_prices, entsoe_prices, openadr_prices
from agents.retailer.price_slots import PriceFileError, Slot

LARGEST = 20_000_000


def read(path: str, zone: str) -> tuple[Slot, ...]:
    """Slots in order, EUR/kWh as in the file. Told apart by content, not by name. Raises PriceFileError."""
    try:
        if Path(path).stat().st_size > LARGEST:
            raise PriceFileError(path, 1, "it is larger than 20 MB", "Split it by year.")
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise PriceFileError(path, 1, f"it cannot be read: {problem.strerror}", "Check path and rights.") from problem
    except UnicodeDecodeError as problem:
        raise PriceFileError(path, 1, "it is not UTF-8", "Save it as UTF-8.") from problem
    match text.lstrip()[:1]:
        case "<":
            return entsoe_prices.read(text, path)
        case "{" | "[":
            return openadr_prices.read(text, path)
        case _:
            return csv_prices.read(text, path, zone)
