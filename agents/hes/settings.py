"""What a topology may set for a head-end."""

from agents.kit.agent import Settings


class HesSettings(Settings, frozen=True, kw_only=True):
    """Times are run time. ``database`` is a file; empty keeps the data in memory, for tries only."""

    database: str = ""
    keep_days: float = 90.0
    """Load curves: three months."""
    keep_readings_days: float = 1.0
    """The 10 s values: what an operator looks at, not what anybody is billed by."""
    store_every_s: float = 10.0
    overdue_after_s: float = 420.0
    """A block is due every 300 s; two minutes of grace for the way here."""
    check_every_s: float = 60.0
    check_again_s: float = 600.0
