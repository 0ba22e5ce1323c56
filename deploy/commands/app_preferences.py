"""``gridparley app prefs``, ``stop``, ``resume`` and ``rules``: what a person wants from now on."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from contracts.home_rules import Rule, RulesTaken, SetRules
from contracts.preferences import PURPOSES, DevicePreferences, Season, SetPreferences
from deploy.commands.app_speak import Refused, Site, User, speak
from deploy.commands.app_voice import Voice
from deploy.commands.typed import consents, seconds, set_points, time_of_day
from deploy.options import failed, finite


def prefs(
    site: Site,
    device: Annotated[str, typer.Argument(help="A device (evse.1) or a class (hvac); none: the home's own.")] = "",
    ready_by: Annotated[str, typer.Option(help="Local time of day, HH:MM.")] = "",
    not_before: Annotated[str, typer.Option(help="Local time of day, HH:MM.")] = "",
    min_c: Annotated[float | None, typer.Option(callback=finite, help="At least so warm.")] = None,
    max_c: Annotated[float | None, typer.Option(callback=finite, help="At most so warm.")] = None,
    target_c: Annotated[float | None, typer.Option(callback=finite, help="Kept at this temperature.")] = None,
    min_percent: Annotated[float | None, typer.Option(callback=finite, help="Charged to at least.")] = None,
    max_percent: Annotated[float | None, typer.Option(callback=finite, help="Charged to at most.")] = None,
    reserve_percent: Annotated[
        float | None, typer.Option(callback=finite, help="Kept in the battery for an outage.")
    ] = None,
    delay: Annotated[str, typer.Option(help="Delayed by at most: 90m, 3h.")] = "",
    below: Annotated[float | None, typer.Option(callback=finite, help="Starts below this price, EUR/kWh.")] = None,
    above: Annotated[
        float | None, typer.Option(callback=finite, help="Starts (a generator) above this price, EUR/kWh.")
    ] = None,
    incentive: Annotated[Literal["cheapest", "greenest"] | None, typer.Option(help="What it follows.")] = None,
    consent: Annotated[
        bool | None, typer.Option("--consent/--no-consent", help="Whether it may be controlled.")
    ] = None,
    set_point: Annotated[
        list[str] | None,
        typer.Option(help='Thermostat programme, once for each: "mon-fri 06:00 21"; `--forget set_points` clears it.'),
    ] = None,
    forget: Annotated[list[str] | None, typer.Option(help="A preference that no longer holds, e.g. ready_by.")] = None,
    season: Annotated[Season | None, typer.Option(help="As it feels to you.")] = None,
    away: Annotated[str, typer.Option(help="First and last day away: 2016-07-01..2016-07-14, or `off`.")] = "",
    plans: Annotated[
        Literal["automatic", "confirm", "off"] | None, typer.Option(help="Plans act by themselves, or ask first.")
    ] = None,
    flexibility: Annotated[
        bool | None, typer.Option("--flexibility/--no-flexibility", help="Whether third parties may order here.")
    ] = None,
    tell: Annotated[
        list[str] | None,
        typer.Option(help=f"Consent: PARTY=purpose,purpose of {', '.join(PURPOSES)}; PARTY= takes it back."),
    ] = None,
    user: User = "user",
) -> None:
    """Set preferences; without options, see what holds. Saved only when every energy manager has acknowledged.

    Examples: gridparley app prefs h07 evse.1 --ready-by 07:00

    gridparley app prefs h02 heatpump --no-consent

    gridparley app prefs h05 hvac.1 --set-point "mon-fri 06:00 21" --set-point "22:00 17"

    gridparley app prefs h02 --season autumn --away 2016-07-01..2016-07-14
    """
    wanted = DevicePreferences(
        controlled=consent,
        lowest_c=min_c,
        highest_c=max_c,
        target_c=target_c,
        charge_lower_percent=min_percent,
        charge_upper_percent=max_percent,
        reserve_percent=reserve_percent,
        ready_by=time_of_day(ready_by),
        not_before=time_of_day(not_before),
        delay_at_most_s=seconds(delay),
        start_below_eur_per_kwh=below,
        start_above_eur_per_kwh=above,
        incentive=incentive,
        set_points=set_points(set_point or ()),
        forget=tuple(forget or ()),
    )
    if wanted != DevicePreferences() and not device:
        raise failed("these are a device's or a class's: name one, e.g. evse.1 or hvac", 2)
    word = SetPreferences(
        user=user,
        devices={device: wanted} if device else {},
        season=season,
        vacation=_days(away),
        vacation_off=away == "off",
        plans=plans,
        flexibility=flexibility,
        consents=consents(tell or ()),
    )
    speak(site, lambda home: _prefer(home, word))


async def _prefer(home: Voice, word: SetPreferences) -> list[str]:
    outcome = await home.home.prefer(word)
    if not outcome.saved:
        raise Refused("; ".join(reason.text for reason in outcome.refused.values()))
    return [f"{name}: {text}" for name, text in sorted(outcome.effect.items())] or ["saved"]


def stop(site: Site, user: User = "user") -> None:
    """Stop the service at a home: nothing automatic acts on its devices. Safety and the grid's limits still hold."""
    speak(site, lambda home: _prefer(home, SetPreferences(user=user, service=False)))


def resume(site: Site, user: User = "user") -> None:
    """Start the service again."""
    speak(site, lambda home: _prefer(home, SetPreferences(user=user, service=True)))


def rules(
    site: Site,
    file: Annotated[Path, typer.Argument(help="TOML: [[rule]] with name, device, action and [rule.trigger].")],
    gateway: Annotated[bool, typer.Option("--gateway", help="Keep them in the home's gateway.")] = False,
    user: User = "user",
) -> None:
    """Set the rules that are kept in a home; they replace this app's rules before, and run also without the link.

    Example: gridparley app rules h07 my-rules.toml
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        made = msgspec.convert(raw.get("rule", []), tuple[Rule, ...], strict=False)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as problem:
        raise failed(f"{file}: {problem}", 2) from None

    async def told(home: Voice) -> list[str]:
        answer = await home.home.rules(SetRules(user=user, rules=made), at_gateway=gateway)
        if not isinstance(answer, RulesTaken):
            raise Refused(answer.reason.text)
        return [f"{len(made)} rules are kept at {site}"]

    speak(site, told)


def _days(text: str) -> tuple[date, date] | None:
    if not text or text == "off":
        return None
    first, dots, last = text.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError:
        raise failed(f"{text!r} is not understood: write 2016-07-01..2016-07-14, or off", 2) from None
