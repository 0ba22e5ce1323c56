"""What must hold of limits: at the connection point, in silence, over a restart, and at the transformer.

Graces are run time. What waits for wires, disks and processes takes wall time, which passes ``speed`` times as fast.
"""

from collections.abc import Iterator, Sequence

from bus.store import RECORDS, TALKS
from contracts.power_limit import HEARTBEAT_MISSING_S, LimitAccepted, LimitState
from deploy.report.episodes import LimitEpisode, episodes
from tests.chaos.storm.log import (
    Log,
    Window,
    guard_chain,
    manager,
    merged,
    of,
    site_chain,
    stretched,
    touches,
)
from tests.chaos.storm.verdict import Result, Violation

REACTION_S = 30.0
"""From a limit in force to the power at the connection point: a reading of the meter (5 s), a look of the manager
(5 s), what the device's next reading shows and a second step after it, a device's ramp."""
STRETCH_S = 20.0
"""So long a site may be beyond at any time: a household's load or the sun has moved, and that takes as long to see and
to answer."""
WIRE_WALL_S = 3.0
"""What answers, disks and restarts may take besides, wall time: times the speed it is run time."""
TOLERANCE_W, TOLERANCE_SHARE = 150.0, 0.02
"""Meter and device error, and a household's load that moves between two readings."""
TICK_S = 30.0
"""A manager's look at the clock, the guard's last heartbeat and its outbox."""
BACK_S = 60.0
"""After communication is restored a valid limit is there within this (LPC-913, decision 0010)."""
TRANSFORMER_S = 60.0
"""The control room's loop: a push of the substation's meter (5 s), a decision (10 s), a talk, a site's reaction."""
STEERED = ("pv", "battery", "evse", "heatpump", "waterheater")


def wire_s(log: Log) -> float:
    return WIRE_WALL_S * log.speed


# -------------------------------------------------------------------- at the connection point


def limits_hold(log: Log) -> Result:
    """While a limit or failsafe value is in force, the true power is within it, but for the grace: REACTION_S after it
    came into force, and whatever keeps the site itself from acting until REACTION_S after that is well again."""
    states = [one.event for one in log.stored(RECORDS) if one.event.word == "limit_state"]
    found, cases = [], 0
    for episode in episodes(states, {}, log.gathered.at).limits:
        excused = stretched(of(log, *site_chain(log, episode.site)), REACTION_S + wire_s(log))
        cases += 1
        found += list(_beyond(log, episode, excused))
    return Result(name="limits hold at the connection point", cases=cases, violations=tuple(found))


def _beyond(log: Log, episode: LimitEpisode, excused: list[Window]) -> Iterator[Violation]:
    """One violation per stretch in which the site was beyond for longer than it may take."""
    begin, worst = None, 0.0
    rows = zip(log.truth.column("instant"), _excess(log, episode), strict=True)
    allowed = REACTION_S + wire_s(log)
    for at, excess in rows:
        if at is None or not episode.start + allowed <= at <= episode.end:
            continue
        if excess <= 0 or touches(excused, at, at):
            begin, worst = None, 0.0
            continue
        worst = max(worst, excess)
        if begin is None:
            begin = at
        if at - begin >= STRETCH_S:
            kind = "failsafe value" if episode.failsafe else "limit"
            text = (
                f"{kind} of {episode.limit_w:.0f} W ({episode.direction}) exceeded by up to {worst:.0f} W for more than"
                f" {STRETCH_S:g} s; steerable devices could have kept it"
            )
            yield Violation(at=begin, place=episode.site, text=text)
            return


def _excess(log: Log, episode: LimitEpisode) -> list[float]:
    """How far beyond the limit the site is, as far as its steerable devices are the cause. A household's own load is
    nobody's to switch off."""
    site, consumption = episode.site, episode.direction == "consumption"
    names = [n for n in log.truth.columns if n.startswith(f"{site}.") and n.endswith(".power_w") and n.count(".") == 2]
    steered = [log.truth.column(n) for n in names if n.split(".")[1].rstrip("0123456789") in STEERED]
    out = []
    for n, power in enumerate(log.truth.column(f"{site}.power_w")):
        values = [column[n] or 0.0 for column in steered]
        bound = episode.limit_w
        tolerance = TOLERANCE_W + TOLERANCE_SHARE * abs(bound)
        beyond = (power or 0.0) - bound if consumption else bound - (power or 0.0)
        able = sum(v for v in values if v > 0) if consumption else -sum(v for v in values if v < 0)
        out.append(min(beyond, able) - tolerance)
    return out


# -------------------------------------------------------------------- silence


def silence_means_failsafe(log: Log) -> Result:
    """A site that no heartbeat can reach for longer than the timeout goes to failsafe by its own clock, and has a
    valid limit within 60 s of the way being whole again."""
    found, cases = [], 0
    for site in log.sites:
        states = _states(log, site)
        for begin, end in _silences(log, site):
            own = [w for w in of(log, site, manager(log, site), *site_chain(log, site)) if touches([w], begin, end)]
            restarted = max([w[1] for w in own if w[1] < end and w[0] >= begin - 1.0], default=begin)
            due = max(begin, restarted) + HEARTBEAT_MISSING_S + TICK_S
            if end == float("inf") or end <= due + wire_s(log):
                continue
            if any(touches([w], begin + 60.0, due + TICK_S + wire_s(log)) for w in own if w[0] > begin):
                continue  # who is down himself at that moment can enter nothing
            cases += 1
            entered = [s for s in states if s.state == "failsafe" and begin <= s.since.timestamp() <= due + wire_s(log)]
            was_in = [s for s in states if s.since.timestamp() < begin][-1:]
            if not entered and not (was_in and was_in[0].state == "failsafe"):
                text = f"nothing of the guard could reach it for {end - begin:.0f} s, and it did not go to failsafe"
                found.append(Violation(at=due, place=site, text=text))
            found += list(_back(log, site, states, end))
    return Result(name="silence means failsafe, and it ends within 60 s", cases=cases, violations=tuple(found))


def _silences(log: Log, site: str) -> list[Window]:
    """When surely nothing of the guard could reach a site: its link, the hub or the control room was down or stopped.
    How long it took until all was well again does not count: some of it may have got through by then."""
    rooms = [name for name in guard_chain(log, site) if ".cem." not in name and name != site]
    return merged(
        [
            (deed.began, deed.ended)
            for deed in log.deeds
            if deed.began is not None
            and deed.ended is not None
            and (
                (deed.fault.kind == "stop" and deed.fault.target in rooms)
                or (deed.fault.kind in ("cut", "hole") and deed.fault.target == site)
            )
        ]
    )


def _back(log: Log, site: str, states: Sequence[LimitState], end: float) -> Iterator[Violation]:
    """Whatever else is hit before the time is over starts it anew."""
    chain = merged([*of(log, *guard_chain(log, site)), *of(log, "lines", "world")])
    due = end
    while True:
        later = [w for w in chain if w[0] <= due + BACK_S + wire_s(log) and w[1] > due]
        if not later:
            break
        due = max(w[1] for w in later)
    due += BACK_S + wire_s(log)
    if due >= log.gathered.at:
        return
    told = [s for s in states if s.since.timestamp() <= due]
    if told and told[-1].state in ("failsafe", "init"):
        text = f"the way to the guard was whole again {BACK_S:g} s ago, and it is still in {told[-1].state}"
        yield Violation(at=due, place=site, text=text)


def _states(log: Log, site: str) -> list[LimitState]:
    """As they happened, by the site's own clock."""
    states = [
        message
        for one in log.stored(RECORDS)
        if one.event.word == "limit_state"
        and one.event.site == site
        and isinstance(message := one.event.message(), LimitState)
    ]
    return sorted(states, key=lambda state: state.since)


# -------------------------------------------------------------------- restarts


def restarts_remember(log: Log) -> Result:
    """The first that a manager's new life says of its limits is what was in force: what its last life said, or accepted
    after that, or failsafe by its own rule. An id's stem is one life (``bus.envelope.Ids``)."""
    found, cases = [], 0
    for site in log.sites:
        said = [
            one.event
            for stream in (RECORDS, TALKS)
            for one in log.stored(stream)
            if one.event.sender == manager(log, site) and one.event.word in ("limit_state", "limit_accepted")
        ]
        said.sort(key=lambda event: event.at)
        held: dict[str, float | None] = {}
        life, mode = "", ""
        for event in said:
            stem = event.id.partition("-")[0]
            message = event.message()
            if isinstance(message, LimitAccepted):
                held[message.direction] = message.limit_w
                mode = "told"
                continue
            if not isinstance(message, LimitState):
                continue
            now = {"consumption": message.consumption_w, "production": message.production_w}
            if mode == "told" and stem == life and message.reason.code in ("grid_limit", "lifted"):
                cases += 1
                other = {d: w for d, w in held.items() if now[d] != w}
                if message.state in ("limited", "unlimited_controlled") and other:
                    text = f"accepted was {held}, in force it says is {now}"
                    found.append(Violation(at=event.at, place=site, text=text))
            if life and stem != life:
                cases += 1
                by_rule = message.state == "failsafe" or mode in ("failsafe", "init")
                lost = {d: w for d, w in held.items() if w is not None and now[d] != w}
                if lost and not by_rule and message.reason.code not in ("limit_over", "next_period"):
                    text = f"its new life says {now} in {message.state}, in force was {held}"
                    found.append(Violation(at=event.at, place=site, text=text))
            life, held, mode = stem, dict(now), message.state
    return Result(name="what was accepted is in force, over restarts", cases=cases, violations=tuple(found))


# -------------------------------------------------------------------- the transformer


def transformer_holds(log: Log) -> Result:
    """Never above 100 % for longer than the loop takes, but for faults of the hub, the control room, its meter, the
    line process and the world. A site in trouble is none: the others make up for it."""
    chain = ["hub", "world", "lines", *(str(a) for a in log.topology.entries if a.site == "grid")]
    excused = stretched(of(log, *chain), TRANSFORMER_S + wire_s(log))
    found, begin = [], None
    rows = list(zip(log.truth.column("instant"), log.truth.column("transformer_loading_percent"), strict=True))
    for at, percent in rows:
        if at is None or percent is None or percent <= 100.0 or touches(excused, at, at):
            begin = None
            continue
        begin = at if begin is None else begin
        if at - begin > TRANSFORMER_S:
            text = f"the transformer is above 100 % ({percent:.1f} %) for more than {TRANSFORMER_S:g} s"
            found.append(Violation(at=begin, place="grid", text=text))
            begin = float("inf")  # said once per stretch
    cases = sum(1 for at, _ in rows if at is not None and not touches(excused, at, at))
    return Result(name="the transformer holds", cases=cases, violations=tuple(found))
