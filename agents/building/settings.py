"""What may be set for a building's manager over several energy managers."""

from agents.kit.agent import Settings


class BuildingSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``sites``: whom it manages; empty: every CEM in reach.

    subscribed_w     of all sites together at their common connection; 0: none is known, nothing overloads
    advise_every_s   how often a schedule is recommended; advise_from_w: a smaller surplus is nobody's advice
    young_s          a report of a site's power counts so long
    acknowledge_s    how long subscribed energy managers may take for passed-on preferences
    """

    sites: tuple[str, ...] = ()
    subscribed_w: float = 0.0
    advise_every_s: float = 900.0
    advise_ahead_s: float = 3600.0
    advise_from_w: float = 500.0
    young_s: float = 180.0
    acknowledge_s: float = 20.0
