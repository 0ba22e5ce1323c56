"""Two homes and the grid side as containers: the limit story, walls between containers, and every kind of blow."""

import asyncio
import errno
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
import pytest

from bus.address import Address, say
from bus.envelope import Envelope
from contracts.device import DeviceWarning
from contracts.power_limit import LimitAccepted, LimitState, SetFailsafe, SetLimit
from deploy.records.rows import readings
from deploy.records.run_facts import RECORDS
from deploy.topology import GRID
from tests.chaos.storm.gather import all_of
from tests.containers.blows import Blows
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(1500, func_only=True)
DSO, CEM, METER = "grid.dso.north", "h07.cem.main", "h07.meter.main"
NEIGHBOUR, SUBSTATION = "h08.meter.main", "grid.meter.substation"


@pytest.fixture(scope="module")
def blows(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blows]:
    """One stack for all: nobody leaves it worse than it was."""
    here = tmp_path_factory.mktemp("two")
    with Stack("tests/containers/two.toml", images, here) as stack:
        stack.well()
        stack.until(lambda: stack.said("limit_accepted", CEM), "the first limit is accepted", stack.ailing)
        yield Blows(stack)


@pytest.fixture
def stack(blows: Blows) -> Stack:
    return blows.stack


# -------------------------------------------------------------------- facts


def measured(stack: Stack, meter: str) -> float:
    """When the last reading of a meter that came by the hub was made."""
    return max((one.at for one in readings(stack.run_folder() / RECORDS) if one.agent == meter), default=0.0)


def goes_on(stack: Stack, meter: str) -> None:
    """A reading is made from now on and passes the hub."""
    now = stack.now()
    stack.until(lambda: measured(stack, meter) > now, f"{meter} is heard after {now:.0f}", stack.ailing)


def states(stack: Stack, cem: str = CEM) -> list[LimitState]:
    """In the order in which the site entered them."""
    found = [one.message() for one in stack.said("limit_state", cem)]
    return sorted((one for one in found if isinstance(one, LimitState)), key=lambda state: state.since)


def limited(stack: Stack, site: str = "h07") -> bool:
    """A site is told a limit of the grid side, and obeys it."""
    told = states(stack, f"{site}.cem.main")
    return bool(told) and told[-1].state in ("limited", "unlimited_controlled")


def within_limit(stack: Stack, site: str = "h07") -> bool:
    """What really flows at a connection point now is within what is in force there."""
    state, truth = states(stack, f"{site}.cem.main")[-1], stack.truth()
    power_w = truth.column(f"{site}.power_w")[-1]
    assert power_w is not None
    tolerance_w = 150.0 + 0.02 * abs(state.production_w or 0.0)
    return state.production_w is None or power_w >= state.production_w - tolerance_w


def in_failsafe(stack: Stack, site: str, after: float) -> bool:
    """Whether a home has gone to failsafe since an instant, as its manager keeps it on its own server."""

    async def ask() -> list[bytes]:
        async with stack.doors() as doors:
            admin = doors.connection(site, f"{site}.admin", "_R.admin")
            await admin.open()
            try:
                kept = await all_of(admin, "KV_STATE")
            finally:
                await admin.close()
        return [data for _, _, subject, data in kept if subject == f"$KV.STATE.{site}.cem.main.limits"]

    [kept] = asyncio.run(ask())
    return any(one["mode"] == "failsafe" and one["since"] > after for one in json.loads(kept).values())


@contextmanager
def warnings(stack: Stack, site: str) -> Iterator[Callable[[], list[DeviceWarning]]]:
    """What a home's manager warns of at home while the block lasts."""
    heard: list[DeviceWarning] = []
    listens, over = threading.Event(), threading.Event()

    async def listen() -> None:
        decode = msgspec.json.Decoder(Envelope[DeviceWarning]).decode
        async with stack.doors() as doors:
            who = Address(site, "ops", "recorder")
            ear = doors.connection(site, str(who), who.inbox)
            await ear.open()
            try:
                subject = say(Address(site, "cem", "main"), DeviceWarning, home=True)
                await ear.subscribe(subject, lambda _subject, payload: heard.append(decode(payload).body))
                await ear.barrier()
                listens.set()
                await asyncio.to_thread(over.wait)
            finally:
                await ear.close()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: asyncio.run(listen()))
        try:
            stack.until(lambda: listens.is_set() or done.done(), "somebody listens at home")
            yield lambda: list(heard)
        finally:
            over.set()
            done.result()


# -------------------------------------------------------------------- the story


def test_every_container_is_well(stack: Stack) -> None:
    assert stack.ailing() == []
    prepared = [name for name in stack.rendered["services"] if name.startswith("provision-")]
    assert {name: stack.container(name).attrs["State"]["ExitCode"] for name in prepared} == dict.fromkeys(prepared, 0)
    assert len(prepared) == 3


def test_a_limit_is_said_accepted_and_kept_at_the_meter(stack: Stack) -> None:
    def agreed() -> list[SetLimit]:
        talks = {one.talk for one in stack.said("limit_accepted", CEM)}
        asked = [one.message() for one in stack.said("set_limit", DSO, CEM) if one.talk in talks]
        return [one for one in asked if isinstance(one, SetLimit) and one.active]

    order = stack.until(agreed, f"{CEM} has accepted a limit")[0]
    assert order.reason.text
    stack.until(
        lambda: any(one.state == "limited" and one.production_w == order.limit_w for one in states(stack)),
        "it is in force",
        lambda: states(stack),
    )
    stack.until(lambda: within_limit(stack), "what flows is within it", lambda: stack.truth().rows[-3:])
    loading = "transformer_loading_percent"
    stack.until(lambda: (stack.truth().column(loading)[-1] or 999.0) <= 100.0, "the transformer is within its rating")


# -------------------------------------------------------------------- walls


INSIDE = """
import os
try:
    open("/here", "w")
except OSError as problem:
    print(os.getuid(), problem.errno)
"""


def test_no_container_has_rights_that_it_does_not_need(stack: Stack) -> None:
    for service in stack.services:
        one = stack.container(service)
        held = one.attrs["HostConfig"]
        assert one.attrs["Config"]["User"] == "65532:65532", service
        assert (held["ReadonlyRootfs"], held["Privileged"], held["CapDrop"]) == (True, False, ["ALL"]), service
        assert "no-new-privileges:true" in held["SecurityOpt"], service
        assert not held["PortBindings"], service
        seen = stack.python(service, INSIDE)
        assert seen == f"65532 {errno.EROFS}", f"{service}: it runs as somebody else, or can write"


TRY = """
import json, socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

def there(place):
    try:
        socket.create_connection(tuple(place), 3.0).close()
        return True
    except OSError:
        return False

places = json.loads({places!r})
with ThreadPoolExecutor(len(places)) as pool:
    print(json.dumps(dict(zip(places, pool.map(there, places.values())))))
"""


def everywhere(stack: Stack) -> dict[str, tuple[str, int]]:
    """Every door of servers, lines and the world at its address on each network: ``nats-hub:4222@links``."""
    doors = {"nats-hub": (4222, 7422), "nats-h07": (4222,), "nats-h08": (4222,), "world": (15020, 15021, 15022)}
    doors |= {f"line-{place}": (5020,) for place in (GRID, "h07", "h08")}
    return {
        f"{service}:{port}@{name.rpartition('_')[2]}": (network["IPAddress"], port)
        for service, ports in doors.items()
        for name, network in stack.container(service).attrs["NetworkSettings"]["Networks"].items()
        for port in ports
    }


@pytest.mark.parametrize(
    ("service", "allowed"),
    [
        ("h07.pv.1", {"nats-h07:4222@h07", "line-h07:5020@h07"}),
        ("h07.cem.main", {"nats-h07:4222@h07", "line-h07:5020@h07"}),
        ("grid.dso.north", {"nats-hub:4222@grid", "nats-hub:7422@grid", "line-grid:5020@grid"}),
        (
            "nats-h07",
            {"nats-h07:4222@h07", "line-h07:5020@h07", "nats-h07:4222@links"}
            | {"nats-hub:4222@links", "nats-hub:7422@links", "nats-h08:4222@links"},
        ),
    ],
)
def test_a_container_reaches_its_own_site_and_nothing_else(stack: Stack, service: str, allowed: set[str]) -> None:
    places = everywhere(stack)
    reached: dict[str, bool] = json.loads(stack.python(service, TRY.format(places=json.dumps(places))))
    assert set(reached) == set(places)
    assert {name for name, there in reached.items() if there} == allowed


def test_no_container_has_a_way_out(stack: Stack, images: dict[str, str]) -> None:
    listen = ["-m", "http.server", "8000", "--directory", "/tmp"]
    outside = stack.engine.containers.run(images["gridparley"], listen, entrypoint="python3", detach=True)
    try:
        outside.reload()
        place = (outside.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], 8000)
        stack.until(lambda: connects(place), "somebody listens outside")
        with ThreadPoolExecutor(8) as pool:
            code = TRY.format(places=json.dumps({"outside": place}))
            found = dict(
                zip(stack.services, pool.map(lambda one: stack.python(one, code), stack.services), strict=True)
            )
        assert {service for service, said in found.items() if json.loads(said) != {"outside": False}} == set()
    finally:
        outside.remove(force=True)


def connects(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, 3.0).close()
        return True
    except OSError:
        return False


# -------------------------------------------------------------------- every kind of container, killed

HOME_AND_GRID = (NEIGHBOUR, SUBSTATION)
KILLED: dict[str, tuple[str, ...]] = {
    "traces": (METER, *HOME_AND_GRID),
    "clock": (METER, *HOME_AND_GRID),
    "grid.hes.main": (METER, *HOME_AND_GRID),
    "h07.pv.1": (METER, *HOME_AND_GRID),
    "h07.meter.main": HOME_AND_GRID,
    "h07.cem.main": (METER, *HOME_AND_GRID),
    "grid.dso.north": (METER, *HOME_AND_GRID),
    "line-h07": HOME_AND_GRID,
    "nats-h07": HOME_AND_GRID,
}
"""Who is killed, and whose readings are heard meanwhile all the same."""


@pytest.mark.parametrize("service", KILLED)
def test_when_one_is_killed_the_rest_goes_on_and_it_comes_back(blows: Blows, service: str) -> None:
    stack = blows.stack
    others = stack.running() - {service}
    with blows.dead(service):
        for meter in KILLED[service]:
            goes_on(stack, meter)
        assert service not in stack.running(), "docker restarts nobody who was killed by hand"
        assert stack.running() == others
    for meter in (METER, *HOME_AND_GRID):
        goes_on(stack, meter)
    stack.until(lambda: limited(stack) and within_limit(stack), f"{CEM} keeps a limit", lambda: states(stack)[-3:])


def test_a_killed_manager_knows_its_limits_without_being_told(blows: Blows) -> None:
    stack = blows.stack
    stack.until(lambda: limited(stack), f"{CEM} has a limit")
    before = stack.now()
    with blows.dead(CEM):
        pass
    first = stack.until(lambda: stack.said("limit_state", CEM, after=before), f"{CEM} says its state")[0]
    state, held = first.message(), feed_in_limits(stack, until=first.at)
    assert isinstance(state, LimitState)
    assert state.state in ("limited", "unlimited_controlled"), state
    assert state.production_w == held[-1]


def feed_in_limits(stack: Stack, until: float) -> list[float | None]:
    """What the home has said that it is bound to, in the order of saying it."""
    said = [*stack.said("limit_state", CEM), *stack.said("limit_accepted", CEM)]
    words = [one.message() for one in sorted(said, key=lambda event: event.at) if one.at < until]
    return [
        one.production_w if isinstance(one, LimitState) else one.limit_w
        for one in words
        if isinstance(one, LimitState) or (isinstance(one, LimitAccepted) and one.direction == "production")
    ]


def test_when_the_world_is_killed_agents_stay_and_measure_again(blows: Blows) -> None:
    stack = blows.stack
    others = stack.running() - {"world"}
    with blows.dead("world"):
        now = stack.now()
        stack.until(lambda: stack.now() > now + 30.0, "time goes on")
        assert stack.running() == others
    for meter in (METER, *HOME_AND_GRID):
        goes_on(stack, meter)


def test_a_killed_recorder_has_what_was_said_meanwhile(blows: Blows) -> None:
    stack = blows.stack
    with blows.dead("record"):
        began = stack.now()
        with blows.dead(DSO):  # whose new life meets the sites: durable words are said
            pass
        stack.until(lambda: stack.now() > began + 60.0, "the sites are told anew")
        ended = stack.now()
    stored = stack.until(
        lambda: [one for one in stack.said("limit_accepted") if began < one.at < ended],
        "what was stored while it was dead is recorded",
    )
    assert len({one.id for one in stored}) == len(stored)


def test_when_the_hub_is_killed_homes_go_on_and_join_again(blows: Blows) -> None:
    stack = blows.stack
    others = stack.running() - {"nats-hub"}
    with blows.dead("nats-hub"):
        at = stack.truth().column("instant")[-1] or 0.0
        stack.until(lambda: (stack.truth().column("instant")[-1] or 0.0) > at + 30.0, "the homes live on")
        assert within_limit(stack)
        assert stack.running() == others
        assert [name for name in ("h07.cem.main", "h07.pv.1", "nats-h07", "h08.pv.1") if stack.ails(name)] == []
    for meter in (METER, *HOME_AND_GRID):
        goes_on(stack, meter)
    stack.until(lambda: limited(stack) and limited(stack, "h08"), "both are told limits again", stack.ailing)


# -------------------------------------------------------------------- silence


def test_a_home_that_is_cut_off_goes_to_failsafe_by_itself_and_is_back_afterwards(blows: Blows) -> None:
    stack = blows.stack
    stack.until(lambda: limited(stack), f"{CEM} has a limit")
    began = stack.now()
    with blows.cut_off("h07"):
        stack.until(lambda: in_failsafe(stack, "h07", began), "failsafe at home")
        agreed = stack.said("set_failsafe", DSO, CEM)[-1].message()
        assert isinstance(agreed, SetFailsafe)
        floor_w = agreed.production_w - 150.0
        stack.until(
            lambda: (stack.truth().column("h07.power_w")[-1] or -1e6) >= floor_w,
            f"no more than its failsafe value, {floor_w:.0f} W, is fed in",
            lambda: stack.truth().rows[-1],
        )
        goes_on(stack, NEIGHBOUR)
        assert not stack.said("limit_state", CEM, after=began), "the hub cannot know of it"
        mended = stack.now()
    told = stack.until(
        lambda: [one for one in stack.said("limit_state", CEM, after=began) if b'"failsafe"' in bytes(one.body)],
        "what happened at home is told when the way is there again",
    )
    assert told[0].at < mended < told[0].heard
    stack.until(lambda: limited(stack), "it is told a limit again", lambda: states(stack)[-3:])
    goes_on(stack, METER)


def heeds(stack: Stack, fact: Callable[[], object], what: str) -> None:
    stack.until(fact, what, stack.ailing)


def test_a_device_that_stands_still_is_missed(blows: Blows) -> None:
    stack = blows.stack

    def told(code: str) -> bool:
        return any((one.device, one.reason.code) == ("pv.1", code) for one in heard())

    with warnings(stack, "h07") as heard:
        with blows.paused("h07.pv.1"):
            heeds(stack, lambda: told("missing"), f"{CEM} warns of the PV")
            goes_on(stack, METER)
        heeds(stack, lambda: told("back"), "it is back")
    heeds(stack, lambda: limited(stack) and within_limit(stack), "the limit is kept with it")


def test_a_manager_that_stands_still_wakes_in_failsafe_and_is_told_anew(blows: Blows) -> None:
    stack = blows.stack
    stack.until(lambda: limited(stack), f"{CEM} has a limit")
    began = stack.now()
    with blows.paused(CEM):
        heeds(stack, lambda: stack.now() > began + 150.0, "longer than a heartbeat may be missing")
        goes_on(stack, NEIGHBOUR)
    heeds(stack, lambda: stack.said("limit_accepted", CEM, after=began), "it is told anew")
    heeds(stack, lambda: limited(stack) and within_limit(stack), "it keeps its limit")


def test_a_hub_that_stands_still_is_a_silent_guard_to_every_home(blows: Blows) -> None:
    stack = blows.stack
    began = stack.now()
    with blows.paused("nats-hub"):
        for site in ("h07", "h08"):
            heeds(
                stack,
                lambda site=site: in_failsafe(stack, site, began),  # type: ignore[misc]
                f"{site} is in failsafe",
            )
    for site in ("h07", "h08"):
        heeds(stack, lambda site=site: limited(stack, site), f"{site} is told a limit again")  # type: ignore[misc]
        assert any(
            one.state == "failsafe" and one.since.timestamp() > began for one in states(stack, f"{site}.cem.main")
        )


# -------------------------------------------------------------------- at last


def test_after_all_blows_every_invariant_holds_in_what_was_said(blows: Blows) -> None:
    blows.judge()
