"""``gridparley app hand``: a person takes control of a device, or gives it back."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, get_args

import msgspec
import typer

from agents.kit.local_day import shown
from contracts.hand import ControlTaken, HandAction, TakeControl
from deploy.commands.app_speak import Refused, Site, User, Zone, speak
from deploy.commands.app_voice import Voice
from deploy.commands.typed import next_at, seconds, time_of_day
from deploy.options import failed, finite

ACTIONS: tuple[str, ...] = get_args(HandAction)


def hand(
    site: Site,
    device: Annotated[str, typer.Argument(help="A device, e.g. evse.1, or `all`.")],
    action: Annotated[str, typer.Argument(help=f"One of {', '.join(ACTIONS)}.")],
    power: Annotated[float | None, typer.Option(callback=finite, help="W, + = taken: with `power`.")] = None,
    percent: Annotated[float | None, typer.Option(callback=finite, help="With `dim`.")] = None,
    target_c: Annotated[
        float | None, typer.Option(callback=finite, help="With `on`: the thermostat's temperature.")
    ] = None,
    mode: Annotated[
        Literal["auto", "heat", "dry", "fan", "cool"] | None,
        typer.Option(help="With --target-c: an air conditioner's mode."),
    ] = None,
    fan: Annotated[str, typer.Option(help="With --target-c: an air conditioner's fan, in its product's words.")] = "",
    at: Annotated[str, typer.Option(help="With `start_at`: local time of day, HH:MM.")] = "",
    for_: Annotated[str, typer.Option("--for", help="How long: 90s, 20m, 1.5h. Default: until released.")] = "",
    user: User = "user",
    zone: Zone = "",
) -> None:
    """Take control of a device, or give it back (`release`).

    Examples: gridparley app hand h07 evse.1 off

    gridparley app hand h02 all business_as_usual

    gridparley app hand h02 heatpump.1 hot_water

    gridparley app hand h05 hvac.1 on --target-c 23 --mode cool --fan low
    """
    if action not in ACTIONS:
        raise failed(f"{action!r} is nothing that can be done: it is one of {', '.join(ACTIONS)}", 2)
    if (mode or fan) and target_c is None:
        raise failed("mode and fan go with a temperature: say --target-c too", 2)
    starts, lasts = time_of_day(at), seconds(for_)

    async def told(home: Voice) -> list[str]:
        now = datetime.fromtimestamp(home.clock.now(), UTC)
        word = TakeControl(
            user=user,
            device=None if device == "all" else device,
            action=msgspec.convert(action, HandAction),
            power_w=power,
            dim_percent=percent,
            target_c=target_c,
            mode=mode,
            fan=fan or None,
            at=next_at(starts, now, zone or home.zone) if starts is not None else None,
            until=now + timedelta(seconds=lasts) if lasts is not None else None,
        )
        answer = await home.home.hand(word)
        if not isinstance(answer, ControlTaken):
            raise Refused(answer.reason.text)
        lines = [f"{device}: {answer.state}", answer.reason.text]
        if answer.until is not None:
            until = shown(answer.until.timestamp(), zone or home.zone)
            lines.append(f"until {until}, then by plan and limits again")
        return lines

    speak(site, told)
