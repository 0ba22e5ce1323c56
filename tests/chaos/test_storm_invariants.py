"""Each invariant of the storm holds on a good log and is broken by a log in which one thing was doctored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.dso.limit_book import Asked, Page, Statement
from agents.kit.deals import Deal, Phase
from bus.address import Address
from bus.envelope import instant
from bus.store import RECORDS, TALKS, DeadLetter
from contracts.kit import Message, word_of
from contracts.power_limit import LimitAccepted, LimitState, SetLimit, State
from contracts.reasons import Reason
from deploy.records.rows import Event
from deploy.topology import load
from tests.chaos.storm import keep_deals, keep_life, keep_limits
from tests.chaos.storm.checks import ALL
from tests.chaos.storm.gather import Gathered, Stored
from tests.chaos.storm.hands import Deed
from tests.chaos.storm.log import Begun, Exit, Log, exits
from tests.chaos.storm.plan import Fault, Kind, agents_of
from tests.chaos.storm.verdict import Check, table
from world.truth import Truth

T0, END = 1_463_745_600.0, 1_463_745_600.0 + 3000.0
DSO, CEM = "grid.dso.north", "h07.cem.main"
LIMIT_W = -20_000.0
WHY = Reason(code="grid_limit", text="a test")
TOPOLOGY = load(Path(__file__).parent / "storm" / "small.toml")


def event(
    sender: str, body: Message, at: float, id: str, receiver: str | None = None, talk: str | None = None
) -> Event:
    kind = type(body)
    return Event(
        at=at,
        heard=at,
        word=word_of(kind),
        topic=kind.topic,
        edition=kind.edition,
        sender=sender,
        receiver=receiver,
        id=id,
        talk=talk,
        body=msgspec.Raw(msgspec.json.encode(body)),
    )


def state(mode: State, production_w: float | None, since: float) -> LimitState:
    return LimitState(
        state=mode,
        since=instant(since),
        consumption_w=None,
        production_w=production_w,
        heartbeat_age_s=1.0,
        guard=DSO,
        reason=WHY,
    )


def say(mode: State, at: float, id: str, production_w: float | None = LIMIT_W) -> Stored:
    return Stored(server="hub", stream=RECORDS, seq=int(at), event=event(CEM, state(mode, production_w, at), at, id))


def asked(at: float, talk: str) -> Stored:
    body = SetLimit(direction="production", active=True, limit_w=LIMIT_W, reason=WHY)
    return Stored(server="hub", stream=TALKS, seq=int(at), event=event(DSO, body, at, f"d-{talk}", CEM, talk))


def accepted(at: float, talk: str, id: str = "c1-1") -> Stored:
    body = LimitAccepted(direction="production", limit_w=LIMIT_W)
    return Stored(server="hub", stream=TALKS, seq=int(at), event=event(CEM, body, at, id, DSO, talk))


def deal(phase: Phase, talk: str, id: str = "c1-1") -> msgspec.Raw:
    made = Deal(
        id=talk,
        table="limit_write",
        peer=Address.parse(DSO),
        phase=phase,
        closer=True,
        terms=msgspec.Raw(b"null"),
        until=END + 1e6,
        said=id,
    )
    return msgspec.Raw(msgspec.json.encode(made))


def page(talk: str) -> msgspec.Raw:
    statement = Statement(direction="production", active=True, limit_w=LIMIT_W, reason=WHY)
    return msgspec.Raw(msgspec.json.encode(Page(bound={"production": Asked(talk=talk, statement=statement)})))


COLUMNS = ("instant", "transformer_loading_percent", "h07.power_w", "h07.pv1.power_w")


def truth(power_w: Callable[[float], float], percent: Callable[[float], float] = lambda _: 90.0) -> Truth:
    others = [f"{site}.power_w" for site in ("h03", "h06", "h11")]
    rows = [
        (T0 + at, percent(at), power_w(at), power_w(at), *(0.0 for _ in others))
        for at in map(float, range(0, 3000, 10))
    ]
    return Truth((*COLUMNS, *others), tuple(rows))


def did(kind: Kind, target: str, at: float, for_s: float = 0.0, well_s: float | None = 10.0) -> Deed:
    fault = Fault(number=int(at), kind=kind, target=target, at=at, for_s=for_s)
    well = None if well_s is None else T0 + at + for_s + well_s
    return Deed(fault=fault, began=T0 + at, ended=T0 + at + for_s, well=well, note="" if well else "away")


def good(**changes: Any) -> Log:
    """One limit in force at h07 from the 100th second on, and a site that keeps it."""
    gathered = Gathered(
        at=END,
        stored=(asked(T0 + 99, "t1"), accepted(T0 + 100, "t1"), say("limited", T0 + 100, "c1-2")),
        books={CEM: {"deal-0": deal("on", "t1")}, DSO: {"limits_h07": page("t1")}},
        counts={name: {"arrived": 10, "received": 9, "duplicate": 1} for name in agents_of(TOPOLOGY)},
    )
    gathered = msgspec.structs.replace(gathered, **{k: v for k, v in changes.items() if hasattr(gathered, k)})
    log = Log(
        topology=TOPOLOGY,
        begun=Begun(origin=T0, speed=10.0, quiet=END - 600.0),
        deeds=(),
        gathered=gathered,
        truth=truth(lambda _: LIMIT_W + 500.0),
    )
    return replace(log, **{k: v for k, v in changes.items() if not hasattr(gathered, k)})


def broken(check: Check, log: Log) -> list[str]:
    return [violation.text for violation in check(log).violations]


def test_a_good_log_breaks_nothing_and_the_verdict_says_so() -> None:
    results = [check(good()) for check in ALL]
    assert [violation for result in results for violation in result.violations] == []
    assert "limits hold at the connection point" in table(good(), results)


# -------------------------------------------------------------------- limits


def beyond(since: float, until: float = 3000.0) -> Truth:
    return truth(lambda at: LIMIT_W * (1.5 if since <= at < until else 0.9))


@pytest.mark.parametrize(
    ("doctored", "breaks"),
    [
        ({"truth": beyond(1000.0)}, True),
        ({"truth": beyond(1000.0, 1020.0)}, False),
        ({"truth": beyond(0.0, 180.0)}, False),
        ({"truth": beyond(1000.0, 1150.0), "deeds": (did("kill", CEM, 1000.0, well_s=70.0),)}, False),
        ({"truth": beyond(1000.0), "deeds": (did("kill", CEM, 1000.0, well_s=70.0),)}, True),
        ({"truth": beyond(1000.0), "deeds": (did("cut", "h07", 990.0, 400.0),)}, True),
        ({"truth": beyond(1000.0), "deeds": (did("kill", "h03.cem.main", 990.0, 400.0),)}, True),
    ],
    ids=["for-long", "shortly", "as-it-began", "manager-dead", "long-after-its-death", "cut-off", "another-home's"],
)
def test_a_limit_that_is_exceeded_beyond_its_grace_is_found(doctored: dict[str, Any], breaks: bool) -> None:
    assert bool(broken(keep_limits.limits_hold, good(**doctored))) == breaks


def test_a_households_own_load_breaks_no_limit() -> None:
    log = good(truth=beyond(1000.0))
    rows = tuple((at, percent, power, 0.0, *rest) for at, percent, power, _, *rest in log.truth.rows)
    assert broken(keep_limits.limits_hold, good(truth=Truth(log.truth.columns, rows))) == []


CUT = did("cut", "h07", 1000.0, 300.0)
HELD = (asked(T0 + 99, "t1"), accepted(T0 + 100, "t1"), say("limited", T0 + 100, "c1-2"))


@pytest.mark.parametrize(
    ("said", "breaks"),
    [
        ((say("failsafe", T0 + 1120, "c1-3"), say("limited", T0 + 1330, "c1-4")), False),
        ((), True),
        ((say("failsafe", T0 + 1290, "c1-3"), say("limited", T0 + 1330, "c1-4")), True),
        ((say("failsafe", T0 + 1120, "c1-3"), say("limited", T0 + 1500, "c1-4")), True),
    ],
    ids=["as-it-must", "never-in-failsafe", "too-late-in-failsafe", "too-late-back"],
)
def test_a_site_that_is_cut_off_must_go_to_failsafe_and_come_back(said: tuple[Stored, ...], breaks: bool) -> None:
    assert bool(broken(keep_limits.silence_means_failsafe, good(deeds=(CUT,), stored=(*HELD, *said)))) == breaks


@pytest.mark.parametrize(
    ("mode", "production_w", "breaks"),
    [("limited", LIMIT_W, False), ("unlimited_autonomous", None, True), ("limited", -30_000.0, True)],
)
def test_a_restart_that_forgets_a_limit_is_found(mode: State, production_w: float | None, breaks: bool) -> None:
    stored = (*HELD, say(mode, T0 + 1000, "c2-1", production_w))
    assert bool(broken(keep_limits.restarts_remember, good(stored=stored))) == breaks


def test_what_was_accepted_and_is_not_in_force_is_found() -> None:
    said = (*HELD, accepted(T0 + 500, "t2", "c1-3"), say("limited", T0 + 501, "c1-4", -35_000.0))
    assert broken(keep_limits.restarts_remember, good(stored=said))


def test_a_transformer_above_its_rating_is_found_unless_the_grid_side_was_hit() -> None:
    high = truth(lambda _: LIMIT_W, lambda at: 105.0 if 1000.0 <= at < 1200.0 else 90.0)
    assert len(broken(keep_limits.transformer_holds, good(truth=high))) == 1
    assert broken(keep_limits.transformer_holds, good(truth=high, deeds=(did("kill", "hub", 990.0, 60.0),))) == []
    short = truth(lambda _: LIMIT_W, lambda at: 105.0 if 1000.0 <= at < 1050.0 else 90.0)
    assert broken(keep_limits.transformer_holds, good(truth=short)) == []


# -------------------------------------------------------------------- talks


@pytest.mark.parametrize(
    "doctored",
    [
        {"books": {CEM: {"deal-0": deal("off", "t1")}, DSO: {"limits_h07": page("t1")}}},
        {"books": {CEM: {"deal-0": deal("closing", "t1")}, DSO: {"limits_h07": page("t1")}}},
        {"books": {CEM: {"deal-0": deal("on", "t1")}, DSO: {"limits_h07": page("t0")}}},
        {"books": {DSO: {"limits_h07": page("t1")}}},
        {"stored": (asked(T0 + 99, "t1"), say("limited", T0 + 100, "c1-2"))},
        {"stored": (asked(T0 + 99, "t1"), accepted(T0 + 100, "t1", "c1-9"))},
    ],
    ids=["off-at-the-site", "not-known", "other-at-the-guard", "forgotten", "word-not-there", "another-word"],
)
def test_sides_that_disagree_about_a_deal_are_found(doctored: dict[str, Any]) -> None:
    assert broken(keep_deals.both_sides_agree, good(**doctored))


def test_a_book_that_is_being_written_is_no_witness() -> None:
    books = {CEM: {"deal-0": deal("closing", "t2")}}
    assert broken(keep_deals.both_sides_agree, good(books=books, stored=()))
    assert broken(keep_deals.both_sides_agree, good(books=books, stored=(), moving=(f"{CEM}.deal-0",))) == []


def test_what_is_doubled_is_found() -> None:
    assert broken(keep_deals.nothing_is_doubled, good(stored=(*HELD, accepted(T0 + 200, "t1"))))
    assert broken(keep_deals.nothing_is_doubled, good(stored=(*HELD, accepted(T0 + 200, "t1", "c2-1"))))


def test_an_order_that_nobody_answered_is_found_unless_its_way_was_broken() -> None:
    lost = (*HELD, asked(T0 + 1000, "t2"))
    assert broken(keep_deals.no_order_is_lost, good(stored=lost))
    assert broken(keep_deals.no_order_is_lost, good(stored=lost, deeds=(did("kill", "hub", 995.0),))) == []


# -------------------------------------------------------------------- lives


def gone(name: str, code: int, wanted: bool = False) -> Exit:
    return Exit(name=name, code=code, wall="2026-01-01 12:00:00,000", wanted=wanted)


@pytest.mark.parametrize(
    ("doctored", "breaks"),
    [
        ({"exits": (gone(CEM, -9, True),), "deeds": (did("kill", CEM, 100.0),)}, False),
        ({"exits": (gone("h07", -9),), "deeds": (did("kill", "h07", 100.0),)}, False),
        ({"exits": (gone(CEM, -9),), "deeds": (did("kill", CEM, 100.0),)}, True),
        ({"exits": (gone(CEM, -9, True), gone(CEM, 1)), "deeds": (did("kill", CEM, 100.0),)}, True),
        ({"exits": (gone("hub", -9),)}, True),
        ({"exit_code": 1}, True),
    ],
    ids=["our-kill", "our-kill-of-a-server", "another's", "after-our-kill", "a-server", "the-run"],
)
def test_who_ends_by_himself_is_found(doctored: dict[str, Any], breaks: bool) -> None:
    assert bool(broken(keep_life.nobody_dies_by_itself, good(**doctored))) == breaks


def test_the_launchers_log_tells_who_ended(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(
        "2026-01-01 12:00:00,000 INFO gridparley.run: h07.cem.main ended (signal 9) and is started again; its log x\n"
        "2026-01-01 12:00:01,000 WARNING gridparley.run: the server hub ended (code -9) and is started again\n"
        "2026-01-01 12:00:02,000 WARNING gridparley.run: h07.pv.1 ended (code 1) and is started again; its log x\n"
        "2026-01-01 12:00:03,000 INFO gridparley.run: link of h07 cut\n"
    )
    assert [(one.name, one.code, one.wanted) for one in exits(log)] == [
        (CEM, -9, True),
        ("hub", -9, False),
        ("h07.pv.1", 1, False),
    ]


@pytest.mark.parametrize(
    "doctored",
    [
        {"counts": {}},
        {"ailing": ("h07.pv.1: not ready",)},
        {"unread": {"h07 TALKS h07-cem-main": 3}},
        {"deeds": (did("stop", CEM, 100.0, 50.0, None),)},
    ],
    ids=["nobody-answers", "not-ready", "unread", "never-well-again"],
)
def test_who_is_deaf_stuck_or_away_is_found(doctored: dict[str, Any]) -> None:
    assert broken(keep_life.everybody_is_well, good(**doctored))


def test_a_word_that_nobody_accounts_for_is_found() -> None:
    assert broken(keep_life.everything_is_accounted_for, good(counts={CEM: {"arrived": 10, "received": 8}}))


@pytest.mark.parametrize(
    ("error", "breaks"), [("KeyError: 'x'", True), ("not stored: $KV.STATE.x (TimeoutError)", False)]
)
def test_a_handler_that_fails_is_found_unless_its_store_was_away(error: str, breaks: bool) -> None:
    letter = DeadLetter(at=T0, receiver=CEM, subject="to.x", code="handler_failed", error=error, data="")
    assert bool(broken(keep_life.everything_is_accounted_for, good(letters=(letter,)))) == breaks
