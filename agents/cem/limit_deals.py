"""What of the limits and failsafe values is dealt, as the book of deals has it. The newest deal of a kind stands."""

from contextlib import suppress

import msgspec

from agents.cem.limit_state import Control
from agents.kit.deals import Deal, Deals
from bus.address import Address
from bus.transport import NotStored
from contracts.power_limit import Direction, failsafe_write, limit_write

TABLES = (limit_write, failsafe_write)
STANDING_S = 10 * 365 * 86_400.0
"""A limit is a deal until a newer one of its direction takes its place, over or not."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What one accepted write changes: enough to do it again after a crash, and to take it back."""

    before: dict[Direction, Control]
    after: dict[Direction, Control]

    def replaces(self, older: "Terms") -> bool:
        return older.after.keys() == self.after.keys() and all(
            control.revision < self.after[direction].revision for direction, control in older.after.items()
        )


def newest(deals: Deals, direction: Direction, stored: Control | None) -> Control | None:
    """Of what was stored and what was dealt, without what turned out to bind nobody."""
    if stored is not None:
        last = deals.find(Address.parse(stored.guard), stored.talk)
        if last is not None and last.phase == "off":
            stored = last.read(Terms).before[direction]
    dealt = [deal.read(Terms).after.get(direction) for table in TABLES for deal in deals.standing(table)]
    found = [control for control in (stored, *dealt) if control is not None]
    return max(found, key=lambda control: control.revision, default=None)  # of equals the stored one, which goes on


async def forget_older(deals: Deals, deal: Deal, terms: Terms) -> None:
    """Raises NotStored; what is left is ended with the next one, or by a restart."""
    for older in deals.standing():
        if older.table == deal.table and terms.replaces(older.read(Terms)):
            await deals.end(older)


async def forget_replaced(deals: Deals) -> None:
    """A former life may have been killed between a deal and the end of the one that it replaced."""
    for table in TABLES:
        for deal in deals.standing(table):
            with suppress(NotStored):
                await forget_older(deals, deal, deal.read(Terms))
