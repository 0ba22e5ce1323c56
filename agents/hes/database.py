"""The head-end's database: load curves that must not be lost or doubled, the last day's readings, and open flags."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from contracts.metering import GcpReading, NearRealTime
from contracts.tariff import TouReading

BUSY_WALL_S = 0.5
"""So long the agent's loop waits for another reader's or writer's lock."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS block (
    meter TEXT NOT NULL, sequence INTEGER NOT NULL, start REAL NOT NULL, period_s REAL NOT NULL, quality TEXT NOT NULL,
    import_wh REAL NOT NULL, export_wh REAL NOT NULL, power_w REAL NOT NULL, reactive_power_var REAL NOT NULL,
    voltage_l1_v REAL NOT NULL, voltage_l2_v REAL NOT NULL, voltage_l3_v REAL NOT NULL, frequency_hz REAL NOT NULL,
    PRIMARY KEY (meter, sequence, start)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS block_in_time ON block (meter, start);
CREATE TABLE IF NOT EXISTS reading (
    meter TEXT NOT NULL, at REAL NOT NULL, quality TEXT NOT NULL, power_w REAL NOT NULL,
    power_l1_w REAL NOT NULL, power_l2_w REAL NOT NULL, power_l3_w REAL NOT NULL,
    current_l1_a REAL NOT NULL, current_l2_a REAL NOT NULL, current_l3_a REAL NOT NULL,
    voltage_l1_v REAL NOT NULL, voltage_l2_v REAL NOT NULL, voltage_l3_v REAL NOT NULL,
    frequency_hz REAL NOT NULL, reactive_power_var REAL NOT NULL, import_wh REAL NOT NULL, export_wh REAL NOT NULL,
    pv_limit_percent REAL,
    PRIMARY KEY (meter, at)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tou (
    meter TEXT NOT NULL, sequence INTEGER NOT NULL, at REAL NOT NULL, register TEXT NOT NULL, import_wh REAL NOT NULL,
    PRIMARY KEY (meter, sequence, at, register)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flag (
    meter TEXT PRIMARY KEY, missing_since REAL NOT NULL, finding TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Last:
    """The youngest block of a meter: its number and the instant of its end."""

    sequence: int
    end: float


@dataclass(frozen=True)
class Flag:
    """A meter whose report is overdue or has a gap."""

    meter: str
    missing_since: float
    finding: str


class Database:
    """SQLite with one writer. What a method has written is on the disk when it returns.

    path   a file; empty for memory only
    """

    def __init__(self, path: str) -> None:
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=BUSY_WALL_S)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a block is acknowledged to the stream after this write
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # ---------------------------------------------------------------- load curves

    def add_block(self, meter: str, block: NearRealTime) -> bool:
        """False when it is there already: the stream may give a block twice, it counts once."""
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO block VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                meter,
                block.sequence,
                block.start.timestamp(),
                block.period_s,
                block.quality,
                block.import_wh,
                block.export_wh,
                block.power_w,
                block.reactive_power_var,
                *block.voltage_by_phase_v,
                block.frequency_hz,
            ),
        )
        return cursor.rowcount == 1

    def last_block(self, meter: str, ended_by: float = inf) -> Last | None:
        """The youngest that ended by an instant, Unix seconds: one of the future is no sign of life."""
        row = self._db.execute(
            "SELECT sequence, start + period_s FROM block WHERE meter = ? AND start + period_s <= ?"
            " ORDER BY start DESC, sequence DESC LIMIT 1",
            (meter, ended_by),
        ).fetchone()
        return None if row is None else Last(row[0], row[1])

    def blocks(self, meter: str) -> list[tuple[int, float]]:
        """(sequence, start) of every block kept of a meter, oldest first."""
        return self._db.execute(
            "SELECT sequence, start FROM block WHERE meter = ? ORDER BY start, sequence", (meter,)
        ).fetchall()

    def meters(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT DISTINCT meter FROM block ORDER BY meter")]

    def gaps(self, meter: str) -> list[tuple[int, int, float]]:
        """(first missing, last missing, start of the gap) between kept blocks. A count that begins anew is no gap."""
        found = []
        before: tuple[int, float] | None = None
        rows = self._db.execute(
            "SELECT sequence, start, start + period_s FROM block WHERE meter = ? ORDER BY start, sequence", (meter,)
        )
        for sequence, _start, end in rows:
            if before is not None and sequence > before[0] + 1:
                found.append((before[0] + 1, sequence - 1, before[1]))
            before = (sequence, end)
        return found

    # ---------------------------------------------------------------- the 10 s values

    def add_readings(self, readings: Iterable[tuple[str, GcpReading]]) -> None:
        """All in one transaction."""
        with self._all_or_nothing():
            self._db.executemany(
                "INSERT OR IGNORE INTO reading VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (
                        meter,
                        r.at.timestamp(),
                        r.quality,
                        r.power_w,
                        *r.power_by_phase_w,
                        *r.current_by_phase_a,
                        *r.voltage_by_phase_v,
                        r.frequency_hz,
                        r.reactive_power_var,
                        r.import_wh,
                        r.export_wh,
                        r.pv_limit_percent,
                    )
                    for meter, r in readings
                ],
            )

    def readings(self, meter: str) -> list[tuple[float, float]]:
        """(instant, power in W) of every reading kept of a meter, oldest first."""
        return self._db.execute("SELECT at, power_w FROM reading WHERE meter = ? ORDER BY at", (meter,)).fetchall()

    # ---------------------------------------------------------------- time-of-use registers

    def add_tou(self, meter: str, reading: TouReading) -> bool:
        """All registers of one reading, or none; False when it is there already."""
        at = reading.at.timestamp()
        with self._all_or_nothing():
            cursor = self._db.executemany(
                "INSERT OR IGNORE INTO tou VALUES (?,?,?,?,?)",
                [(meter, reading.sequence, at, name, wh) for name, wh in reading.import_by_register_wh.items()],
            )
            return cursor.rowcount > 0

    def tou(self, meter: str) -> list[tuple[int, float, str, float]]:
        """(sequence, instant, register, Wh) of every reading kept of a meter, oldest first."""
        return self._db.execute(
            "SELECT sequence, at, register, import_wh FROM tou WHERE meter = ? ORDER BY at, sequence, register",
            (meter,),
        ).fetchall()

    # ---------------------------------------------------------------- flags

    def raise_flag(self, flag: Flag) -> None:
        self._db.execute("INSERT OR REPLACE INTO flag VALUES (?,?,?)", (flag.meter, flag.missing_since, flag.finding))

    def clear_flag(self, meter: str) -> None:
        self._db.execute("DELETE FROM flag WHERE meter = ?", (meter,))

    def flags(self) -> dict[str, Flag]:
        rows = self._db.execute("SELECT meter, missing_since, finding FROM flag")
        return {row[0]: Flag(*row) for row in rows}

    def forget(self, blocks_before: float, readings_before: float) -> None:
        """Drop what need not be kept any longer (Unix seconds of the run)."""
        with self._all_or_nothing():
            self._db.execute("DELETE FROM block WHERE start < ?", (blocks_before,))
            self._db.execute("DELETE FROM reading WHERE at < ?", (readings_before,))
            self._db.execute("DELETE FROM tou WHERE at < ?", (blocks_before,))
