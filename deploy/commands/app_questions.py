"""``gridparley app why``, ``prices``, ``ask`` and ``comfort``: what a person asks and tells."""

from datetime import timedelta
from typing import Annotated, Literal

import typer

from contracts.questions import Because, ComfortFeedback, NothingKnown
from deploy.commands.app_speak import IDLE_W, Refused, Site, Zone, clock_time, speak
from deploy.commands.app_voice import Voice


def why(
    site: Site,
    device: Annotated[str, typer.Argument(help="A device; none: the home as a whole.")] = "",
    zone: Zone = "",
) -> None:
    """Ask why a device does what it does, or does not.

    Example: gridparley app why h07 evse.1
    """

    async def told(home: Voice) -> list[str] | None:
        answer = await home.home.why(device or None)
        if isinstance(answer, NothingKnown):
            raise Refused(answer.reason.text)
        return because(answer, zone or home.zone)

    speak(site, told)


def prices(site: Site, zone: Zone = "") -> None:
    """Show the prices in force at a home."""

    async def told(home: Voice) -> list[str]:
        info = await home.prices()
        if info is None:
            raise Refused(f"no prices are known at {site}: no tariff has reached it yet")
        now, here = home.clock.now(), zone or home.zone
        lines = [info.warning] if info.warning else []
        for slot in info.slots:
            begin, end = slot.start, slot.start + timedelta(seconds=slot.duration_s)
            if end.timestamp() <= now:
                continue
            mark = " <- now" if begin.timestamp() <= now else ""
            sure = "" if slot.binding == "binding" else "  expected"
            green = f"  {slot.green_percent:.0f} % green" if slot.green_percent is not None else ""
            price = f"{slot.price_eur_per_kwh:.3f} EUR/kWh"
            lines.append(f"{clock_time(begin, here)} to {clock_time(end, here)}  {price}{green}{sure}{mark}")
        return [*lines, f"from {', '.join(info.issuers)}; times are of {here}"] if info.issuers else lines

    speak(site, told)


def ask(site: Site, text: Annotated[str, typer.Argument(help="The question. Only this leaves the home.")]) -> None:
    """Ask the service provider something.

    Example: gridparley app ask h07 "Why was yesterday so dear?"
    """

    async def told(home: Voice) -> list[str]:
        answer = await home.home.ask(text)
        if answer is None:
            raise Refused("the provider has not answered yet")
        return [answer.text]

    speak(site, told)


def comfort(
    site: Site,
    feeling: Annotated[
        Literal["too_cold", "good", "too_warm", "car_not_ready", "other"], typer.Argument(help="How it feels.")
    ],
    text: Annotated[str, typer.Option(help="What else there is to say.")] = "",
) -> None:
    """Tell the service provider how it feels; saying so is the consent to tell that, and nothing else.

    Example: gridparley app comfort h07 too_cold
    """

    async def told(home: Voice) -> list[str]:
        await home.home.feel(ComfortFeedback(comfort=feeling, text=text))
        return ["told"]

    speak(site, told)


def because(answer: Because, zone: str) -> list[str]:
    """What it does, why, and when it runs next."""
    power = ""
    if answer.power_w is not None and abs(answer.power_w) > 1 and f"{abs(answer.power_w):.0f} W" not in answer.doing:
        power = f", {answer.power_w:.0f} W"
    lines = [f"{answer.device} {answer.doing}{power}"]
    lines += [
        f"  because: {reason.text}" if n == 0 else f"  and: {reason.text}" for n, reason in enumerate(answer.reasons)
    ]
    for slot in [slot for slot in answer.next if abs(slot.power_w) > IDLE_W][:3]:
        lines.append(f"  next: {clock_time(slot.start, zone)} for {slot.duration_s / 60:.0f} min, {slot.power_w:.0f} W")
    return lines
