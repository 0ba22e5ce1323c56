"""The truth log: what really happened in the street, a row per few seconds of run time, for the report and for tests.

Columns: ``instant`` (unix seconds), ``transformer_w``, ``transformer_l1_w`` .. ``l3``, ``transformer_loading_percent``,
``lag_s`` (how far the step was behind the run's clock), then per site ``h07.power_w``, ``h07.voltage_min_v``,
``h07.voltage_max_v``, and per device ``h07.pv1.power_w``; batteries and cars have ``soc_percent`` (empty: no car).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

Row = Sequence[float | None]


@dataclass(frozen=True)
class Truth:
    """A table of floats; None where a quantity did not exist at the time."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]

    def column(self, name: str) -> list[float | None]:
        """One column. Raises KeyError naming the column."""
        if name not in self.columns:
            raise KeyError(f"the truth has no column {name!r}")
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


class TruthLog:
    """Writes rows to a CSV file; ``continued``: after those of a world that was killed."""

    def __init__(self, path: Path, columns: Sequence[str], *, continued: bool = False) -> None:
        begun = continued and path.exists()
        if begun:
            _drop_half_row(path)
        self._file = path.open("a" if begun else "w", encoding="utf-8")
        if not begun:
            self._file.write(",".join(columns) + "\n")

    def write(self, row: Row) -> None:
        # One write per row, so that a killed world leaves whole rows.
        self._file.write(",".join("" if value is None else f"{value:.3f}" for value in row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop_half_row(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def read_truth(path: Path) -> Truth:
    """A truth log from its file; a row that a killed world left unfinished is left out, also the first."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        columns = tuple(next(reader, ()))
        rows = [tuple(float(cell) if cell else None for cell in row) for row in reader if len(row) == len(columns)]
    return Truth(columns, tuple(rows))
