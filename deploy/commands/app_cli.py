"""``gridparley app``: what a person says to the energy manager of a home of the run that goes on in this folder."""

import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
import typer

from agents.kit.local_day import next_local
from bus.envelope import instant
from contracts.hand import ControlTaken, HandAction, TakeControl
from contracts.home_plan import ChangePlan, ConfirmPlan, Move, PlanItem, ProposePlan, RejectPlan
from contracts.home_rules import Rule, RulesTaken, SetRules
from contracts.preferences import DevicePreferences, Season, SetPreferences
from contracts.questions import Because, ComfortFeedback, NothingKnown
from deploy.commands.app_voice import CannotSpeak, Voice, voice
from deploy.durations import duration_s

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Speak to a home of the running street as the person who lives there.

It goes over the home's own bus, as `<site>.app.phone`: an identity with an app's rights and no process of its own.
Exit code 0: done; 1: refused or not done, with the reason; 2: not understood.

Examples:

    gridparley app why h07 evse.1

    gridparley app prefs h07 evse.1 --ready-by 07:00

    gridparley app hand h07 evse.1 off

    gridparley app plan h07
""",
)

Site = Annotated[str, typer.Argument(help="A site of the running street, e.g. h07.")]
Device = Annotated[str, typer.Argument(help="A device of the site, e.g. evse.1.")]
User = Annotated[str, typer.Option(help="Who speaks, where the home knows its people by name.")]
Zone = Annotated[str, typer.Option(help="The time zone of the person's clock.")]
Told = Callable[[Voice], Awaitable[list[str] | None]]
ZONE = "Europe/Berlin"
ACTIONS: tuple[str, ...] = get_args(HandAction)


@app.command()
def why(site: Site, device: Annotated[str, typer.Argument(help="A device; none: the home as a whole.")] = "") -> None:
    """Ask why a device does what it does, or does not.

    Example: gridparley app why h07 evse.1
    """

    async def told(home: Voice) -> list[str] | None:
        answer = await home.home.why(device or None)
        if isinstance(answer, NothingKnown):
            raise _Refused(answer.reason.text)
        return because(answer)

    _speak(site, told)


@app.command()
def prefs(
    site: Site,
    device: Annotated[str, typer.Argument(help="A device (evse.1) or a class (hvac); none: the home's own.")] = "",
    ready_by: Annotated[str, typer.Option(help="Local time of day, HH:MM.")] = "",
    not_before: Annotated[str, typer.Option(help="Local time of day, HH:MM.")] = "",
    min_c: Annotated[float | None, typer.Option(help="At least so warm.")] = None,
    max_c: Annotated[float | None, typer.Option(help="At most so warm.")] = None,
    target_c: Annotated[float | None, typer.Option(help="Kept at this temperature.")] = None,
    min_percent: Annotated[float | None, typer.Option(help="Charged to at least.")] = None,
    max_percent: Annotated[float | None, typer.Option(help="Charged to at most.")] = None,
    reserve_percent: Annotated[float | None, typer.Option(help="Kept in the battery for an outage.")] = None,
    delay: Annotated[str, typer.Option(help="Delayed by at most: 90m, 3h.")] = "",
    below: Annotated[float | None, typer.Option(help="Starts below this price, EUR/kWh.")] = None,
    above: Annotated[float | None, typer.Option(help="Starts (a generator) above this price, EUR/kWh.")] = None,
    incentive: Annotated[Literal["cheapest", "greenest"] | None, typer.Option(help="What it follows.")] = None,
    consent: Annotated[
        bool | None, typer.Option("--consent/--no-consent", help="Whether it may be controlled.")
    ] = None,
    forget: Annotated[list[str] | None, typer.Option(help="A preference that no longer holds, e.g. ready_by.")] = None,
    season: Annotated[
        Literal["spring", "summer", "autumn", "winter"] | None,
        typer.Option(help="As it feels to you."),
    ] = None,
    away: Annotated[str, typer.Option(help="First and last day away: 2016-07-01..2016-07-14, or `off`.")] = "",
    plans: Annotated[
        Literal["automatic", "confirm", "off"] | None, typer.Option(help="Plans act by themselves, or ask first.")
    ] = None,
    flexibility: Annotated[
        bool | None, typer.Option("--flexibility/--no-flexibility", help="Whether third parties may order here.")
    ] = None,
    tell: Annotated[
        list[str] | None, typer.Option(help="Consent: PARTY=purpose,purpose; PARTY= takes it back.")
    ] = None,
    user: User = "user",
) -> None:
    """Set preferences; without options, see what holds. Saved only when every energy manager has acknowledged.

    Examples: gridparley app prefs h07 evse.1 --ready-by 07:00

    gridparley app prefs h02 heatpump --no-consent

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
        ready_by=_time(ready_by),
        not_before=_time(not_before),
        delay_at_most_s=_seconds(delay),
        start_below_eur_per_kwh=below,
        start_above_eur_per_kwh=above,
        incentive=incentive,
        forget=tuple(forget or ()),
    )
    if wanted != DevicePreferences() and not device:
        raise _wrong("these are a device's or a class's: name one, e.g. evse.1 or hvac")
    felt: Season | None = season
    word = SetPreferences(
        user=user,
        devices={device: wanted} if device else {},
        season=felt,
        vacation=_days(away),
        vacation_off=away == "off",
        plans=plans,
        flexibility=flexibility,
        consents=_consents(tell),
    )
    _speak(site, lambda home: _prefer(home, word))


async def _prefer(home: Voice, word: SetPreferences) -> list[str]:
    outcome = await home.home.prefer(word)
    if not outcome.saved:
        raise _Refused("; ".join(reason.text for reason in outcome.refused.values()))
    return [f"{name}: {text}" for name, text in sorted(outcome.effect.items())] or ["saved"]


@app.command()
def hand(
    site: Site,
    device: Annotated[str, typer.Argument(help="A device, e.g. evse.1, or `all`.")],
    action: Annotated[str, typer.Argument(help=f"One of {', '.join(ACTIONS)}.")],
    power: Annotated[float | None, typer.Option(help="W, + = taken: with `power`.")] = None,
    percent: Annotated[float | None, typer.Option(help="With `dim`.")] = None,
    target_c: Annotated[float | None, typer.Option(help="With `on`: the thermostat's temperature.")] = None,
    at: Annotated[str, typer.Option(help="With `start_at`: local time of day, HH:MM.")] = "",
    for_: Annotated[str, typer.Option("--for", help="How long: 90s, 20m, 1.5h. Default: until released.")] = "",
    user: User = "user",
    zone: Zone = ZONE,
) -> None:
    """Take control of a device, or give it back (`release`).

    Examples: gridparley app hand h07 evse.1 off

    gridparley app hand h02 all business_as_usual

    gridparley app hand h02 heatpump.1 hot_water
    """
    if action not in ACTIONS:
        raise _wrong(f"{action!r} is nothing that can be done: it is one of {', '.join(ACTIONS)}")
    starts, lasts = _time(at), _seconds(for_)

    async def told(home: Voice) -> list[str]:
        now = datetime.fromtimestamp(home.clock.now(), UTC)
        word = TakeControl(
            user=user,
            device=None if device == "all" else device,
            action=msgspec.convert(action, HandAction),
            power_w=power,
            dim_percent=percent,
            target_c=target_c,
            at=_next(starts, now, zone) if starts is not None else None,
            until=now + timedelta(seconds=lasts) if lasts is not None else None,
        )
        answer = await home.home.hand(word)
        if not isinstance(answer, ControlTaken):
            raise _Refused(answer.reason.text)
        lines = [f"{device}: {answer.state}", answer.reason.text]
        if answer.until is not None:
            lines.append(f"until {_clock(answer.until, zone)}, then by plan and limits again")
        return lines

    _speak(site, told)


@app.command()
def stop(site: Site, user: User = "user") -> None:
    """Stop the service at a home: nothing automatic acts on its devices. Safety and the grid's limits still hold."""
    _speak(site, lambda home: _prefer(home, SetPreferences(user=user, service=False)))


@app.command()
def resume(site: Site, user: User = "user") -> None:
    """Start the service again."""
    _speak(site, lambda home: _prefer(home, SetPreferences(user=user, service=True)))


@app.command()
def plan(site: Site, zone: Zone = ZONE) -> None:
    """Show the plan in force, and one that waits for a word.

    Example: gridparley app plan h07
    """

    async def told(home: Voice) -> list[str]:
        lines: list[str] = []
        waiting = home.proposals.waiting
        if waiting is not None:
            word = waiting.word
            lines += [f"plan {word.plan} waits for your word until {_clock(word.confirm_by, zone)}:"]
            lines += [*_rows(word.items, zone), f"it costs {word.cost_eur:.2f} EUR", ""]
        shown = await home.plan()
        if shown is None:
            return [*lines, "no plan is in force"]
        lines.append(f"plan {shown.plan} of {_clock(shown.at, zone)}")
        lines += _rows(shown.items, zone)
        saved = shown.unplanned_cost_eur - shown.cost_eur
        lines.append(f"it costs {shown.cost_eur:.2f} EUR, {saved:.2f} EUR less than without a plan")
        lines.append(
            f"found by {shown.found_by} in {shown.solved_in_s:.2f} s, at most {shown.gap_share:.1%} from the best"
        )
        return [*lines, *(f"not kept: {reason.text}" for reason in shown.broken)]

    _speak(site, told)


@app.command()
def confirm(
    site: Site,
    move: Annotated[list[str] | None, typer.Option(help="Your own time for a device: evse.1=22:30, or =never.")] = None,
    user: User = "user",
    zone: Zone = ZONE,
) -> None:
    """Confirm the plan that waits, or change it: only then it is carried out.

    Examples: gridparley app confirm h07

    gridparley app confirm h07 --move whitegoods.1=22:30
    """
    times = [one.partition("=") for one in move or ()]
    for device, equals, text in times:
        if not device or not equals or (text != "never" and _time(text) is None):
            raise _wrong(f"{device}{equals}{text} is not understood: write evse.1=22:30 or evse.1=never")

    def decide(proposal: ProposePlan) -> ConfirmPlan | ChangePlan:
        if not times:
            return ConfirmPlan(user=user)
        since = min([proposal.confirm_by, *(item.start for item in proposal.items if item.start is not None)])
        moves = tuple(
            Move(device=device, start=None if text == "never" else _next(_time(text), since, zone))
            for device, _, text in times
        )
        return ChangePlan(user=user, moves=moves)

    _speak(site, lambda home: _decide(home, decide))


@app.command()
def reject(site: Site, user: User = "user") -> None:
    """Reject the plan that waits: nothing of it is done."""
    _speak(site, lambda home: _decide(home, lambda _proposal: RejectPlan(user=user)))


async def _decide(home: Voice, decide: Callable[[ProposePlan], Any]) -> list[str]:
    from agents.app.answer_proposal import NothingProposed

    try:
        await home.proposals.answer(decide)
    except NothingProposed as nothing:
        raise _Refused(str(nothing)) from None
    return list(home.proposals.show.picture.notices[:1])


@app.command()
def prices(site: Site, zone: Zone = ZONE) -> None:
    """Show the prices in force at a home."""

    async def told(home: Voice) -> list[str]:
        info = await home.prices()
        if info is None:
            raise _Refused(f"no prices are known at {site}: no tariff has reached it yet")
        now = home.clock.now()
        lines = [info.warning] if info.warning else []
        for slot in info.slots:
            begin, end = slot.start, slot.start + timedelta(seconds=slot.duration_s)
            if end.timestamp() <= now:
                continue
            mark = " <- now" if begin.timestamp() <= now else ""
            sure = "" if slot.binding == "binding" else "  expected"
            green = f"  {slot.green_percent:.0f} % green" if slot.green_percent is not None else ""
            price = f"{slot.price_eur_per_kwh:.3f} EUR/kWh"
            lines.append(f"{_clock(begin, zone)} to {_clock(end, zone)}  {price}{green}{sure}{mark}")
        return [*lines, f"from {', '.join(info.issuers)}"] if info.issuers else lines

    _speak(site, told)


@app.command()
def ask(site: Site, text: Annotated[str, typer.Argument(help="The question. Only this leaves the home.")]) -> None:
    """Ask the service provider something.

    Example: gridparley app ask h07 "Why was yesterday so dear?"
    """

    async def told(home: Voice) -> list[str]:
        answer = await home.home.ask(text)
        if answer is None:
            raise _Refused("the provider has not answered yet")
        return [answer.text]

    _speak(site, told)


@app.command()
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

    _speak(site, told)


@app.command()
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
        raise _wrong(f"{file}: {problem}") from None

    async def told(home: Voice) -> list[str]:
        answer = await home.home.rules(SetRules(user=user, rules=made), at_gateway=gateway)
        if not isinstance(answer, RulesTaken):
            raise _Refused(answer.reason.text)
        return [f"{len(made)} rules are kept at {site}"]

    _speak(site, told)


# -------------------------------------------------------------------- in plain words


def because(answer: Because, zone: str = ZONE) -> list[str]:
    """What a device does, why, and what comes next."""
    power = f", {answer.power_w:.0f} W" if answer.power_w is not None and abs(answer.power_w) > 1 else ""
    lines = [f"{answer.device} {answer.doing}{power}"]
    lines += [
        f"  because: {reason.text}" if n == 0 else f"  and: {reason.text}" for n, reason in enumerate(answer.reasons)
    ]
    for slot in answer.next[:3]:
        lines.append(f"  next: {_clock(slot.start, zone)} for {slot.duration_s / 60:.0f} min, {slot.power_w:.0f} W")
    return lines


def _rows(items: tuple[PlanItem, ...], zone: str) -> list[str]:
    rows = []
    for item in items:
        start = _clock(item.start, zone) if item.start is not None else next(iter(_busy(item, zone)), "-")
        cost = f"{item.cost_eur:.2f} EUR" if item.cost_eur is not None else ""
        rows.append(f"  {item.device:<15} {start:>5}  {cost:>9}  {item.reason.text}")
    return rows


def _busy(item: PlanItem, zone: str) -> list[str]:
    return [_clock(slot.start, zone) for slot in item.power if abs(slot.power_w) > 50]


def _clock(instant: datetime, zone: str) -> str:
    return f"{instant.astimezone(ZoneInfo(zone)):%H:%M}"


# -------------------------------------------------------------------- what was typed


class _Refused(Exception):
    """The home said no; its reason."""


def _speak(site: str, say: Told) -> None:
    import anyio

    from agents.app.ask_home import NobodyThere
    from bus.transport import BusUnavailable, NotStored
    from deploy.control import NoRunHere
    from deploy.reach import reach
    from deploy.topology import TopologyError

    async def life() -> list[str]:
        async with voice(reach(), site) as home:
            return await say(home) or []

    try:
        lines = anyio.run(life)
    except (
        NoRunHere,
        CannotSpeak,
        NobodyThere,
        BusUnavailable,
        NotStored,
        OSError,
        TopologyError,
        _Refused,
    ) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from None
    except BaseExceptionGroup as group:
        known, rest = group.split((NobodyThere, BusUnavailable, NotStored, _Refused))
        if rest is not None or known is None:
            raise
        typer.secho(str(_first(known)), err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from None
    for line in lines:
        typer.echo(line)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _wrong(text: str) -> typer.Exit:
    typer.secho(text, err=True, fg=typer.colors.RED)
    return typer.Exit(2)


def _time(text: str) -> time | None:
    try:
        return time.fromisoformat(text) if text and text != "never" else None
    except ValueError:
        raise _wrong(f"{text!r} is no time of day: write it like 07:00") from None


def _next(at: time | None, since: datetime, zone: str) -> datetime | None:
    """The next instant at which the person's clock shows that."""
    if at is None:
        return None
    return instant(next_local(at, since.timestamp(), zone, now_too=True))


def _seconds(text: str) -> float | None:
    try:
        return duration_s(text) if text else None
    except ValueError as problem:
        raise _wrong(f"{text!r} is not understood ({problem}): write 90s, 20m or 1.5h") from None


def _days(text: str) -> tuple[date, date] | None:
    if not text or text == "off":
        return None
    first, dots, last = text.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError:
        raise _wrong(f"{text!r} is not understood: write 2016-07-01..2016-07-14, or off") from None


def _consents(given: list[str] | None) -> dict[str, tuple[str, ...]] | None:
    if not given:
        return None
    found = {}
    for one in given:
        party, equals, purposes = one.partition("=")
        if not equals:
            raise _wrong(f"{one!r} is not understood: write grid.esp.main=comfort,forecast")
        found[party] = tuple(purpose for purpose in purposes.split(",") if purpose)
    return found
