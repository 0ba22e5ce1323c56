"""``gridparley app plan``, ``confirm`` and ``reject``: the plan of a home, and a person's word on it."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from agents.app.answer_proposal import NothingProposed
from agents.kit.local_day import shown
from contracts.home_plan import ChangePlan, ConfirmPlan, Move, PlanItem, ProposePlan, RejectPlan
from deploy.commands.app_speak import IDLE_W, Refused, Site, User, Zone, clock_time, speak
from deploy.commands.app_voice import Voice
from deploy.commands.typed import next_at, time_of_day
from deploy.options import failed


def plan(site: Site, zone: Zone = "") -> None:
    """Show the plan in force, and one that waits for a word.

    Example: gridparley app plan h07
    """

    async def told(home: Voice) -> list[str]:
        here = zone or home.zone
        lines: list[str] = []
        waiting = home.proposals.waiting
        if waiting is not None:
            word = waiting.word
            lines += [f"plan {word.plan} waits for your word until {shown(word.confirm_by.timestamp(), here)}:"]
            lines += [*_rows(word.items, here), f"it costs {word.cost_eur:.2f} EUR", ""]
        found = await home.plan()
        if found is None:
            return [*lines, "no plan is in force"]
        lines.append(f"plan {found.plan} of {shown(found.at.timestamp(), here)}")
        lines += _rows(found.items, here)
        lines.append(costs(found.cost_eur, found.unplanned_cost_eur))
        lines.append(
            f"found by {found.found_by} in {found.solved_in_s:.2f} s, at most {found.gap_share:.1%} from the best"
        )
        return [*lines, *(f"not kept: {reason.text}" for reason in found.broken)]

    speak(site, told)


def confirm(
    site: Site,
    move: Annotated[list[str] | None, typer.Option(help="Your own time for a device: evse.1=22:30, or =never.")] = None,
    user: User = "user",
    zone: Zone = "",
) -> None:
    """Confirm the plan that waits, or change it: only then it is carried out.

    Examples: gridparley app confirm h07

    gridparley app confirm h07 --move whitegoods.1=22:30
    """
    times = [one.partition("=") for one in move or ()]
    for device, equals, text in times:
        if not device or not equals or (text != "never" and time_of_day(text) is None):
            raise failed(f"{device}{equals}{text} is not understood: write evse.1=22:30 or evse.1=never", 2)

    def decide(proposal: ProposePlan, here: str) -> ConfirmPlan | ChangePlan:
        if not times:
            return ConfirmPlan(user=user)
        since = min([proposal.confirm_by, *(item.start for item in proposal.items if item.start is not None)])
        moves = tuple(
            Move(device=device, start=None if text == "never" else next_at(time_of_day(text), since, here))
            for device, _, text in times
        )
        return ChangePlan(user=user, moves=moves)

    speak(site, lambda home: _decide(home, lambda proposal: decide(proposal, zone or home.zone)))


def reject(site: Site, user: User = "user") -> None:
    """Reject the plan that waits: nothing of it is done."""
    speak(site, lambda home: _decide(home, lambda _proposal: RejectPlan(user=user)))


async def _decide(home: Voice, decide: Callable[[ProposePlan], Any]) -> list[str]:
    try:
        await home.proposals.answer(decide)
    except NothingProposed as nothing:
        raise Refused(str(nothing)) from None
    return list(home.proposals.show.picture.notices[:1])


def costs(cost_eur: float, unplanned_eur: float) -> str:
    """What a plan costs, and what it is worth."""
    saved = unplanned_eur - cost_eur
    if abs(saved) < 0.005:
        return f"it costs {cost_eur:.2f} EUR, as much as without a plan"
    return f"it costs {cost_eur:.2f} EUR, {abs(saved):.2f} EUR {'less' if saved > 0 else 'more'} than without a plan"


def _rows(items: tuple[PlanItem, ...], zone: str) -> list[str]:
    rows = []
    for item in items:
        start = clock_time(item.start, zone) if item.start is not None else next(iter(_busy(item, zone)), "-")
        cost = f"{item.cost_eur:.2f} EUR" if item.cost_eur is not None else ""
        rows.append(f"  {item.device:<15} {start:>5}  {cost:>9}  {item.reason.text}")
    return rows


def _busy(item: PlanItem, zone: str) -> list[str]:
    return [clock_time(slot.start, zone) for slot in item.power if abs(slot.power_w) > IDLE_W]
