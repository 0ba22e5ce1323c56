"""Every conversation of the street: whoever answers for real keeps to the table towards a scripted opener."""

from datetime import timedelta
from typing import Any

import pytest

from bus.address import Address
from bus.talk import Talk
from contracts import all as everything
from contracts.device import Announce, AskStatus, SetPower
from contracts.emergency import BeginEmergency, ControlCommand, EndEmergency
from contracts.grid_state import AskAdjustment
from contracts.kit import END, Lapsed, Message
from contracts.metering import AskPower, CheckMeter
from contracts.operator import ORDERS
from contracts.power_limit import Heartbeat, SetFailsafe, SetLimit
from contracts.reasons import Reason
from tests.chaos.test_bad_input import CEM, DSO, EVSE, GATEWAY, HES, METER, street
from tests.support.grid import START

pytestmark = pytest.mark.anyio
WHY = Reason(code="test", text="a test")
ANNOUNCE = Announce(
    device_class="evse",
    maker="test",
    model="scripted",
    functions=("measure",),
    use_cases=(),
    nominal_lower_w=0.0,
    nominal_upper_w=11_000.0,
)
LIMIT = SetLimit(direction="consumption", active=True, limit_w=9_000.0, reason=WHY)
FAILSAFE = SetFailsafe(consumption_w=5_000.0, production_w=-3_000.0, duration_s=7_200.0)
COMMAND = ControlCommand(kind="clearance", device="evse.1", reason=WHY)
ADJUSTMENT = AskAdjustment(
    area="street", change_w=-2_000.0, within_s=300.0, until=START + timedelta(hours=1), reason=WHY
)
# (table, who opens, who answers, with what)
TALKS: list[tuple[str, str, str, Message]] = [
    ("limit_write", DSO, CEM, LIMIT),
    ("failsafe_write", DSO, CEM, FAILSAFE),
    ("power_query", DSO, CEM, AskPower()),
    ("meter_check", HES, METER, CheckMeter(missing_since=START)),
    ("load_request", DSO, CEM, ADJUSTMENT),
    ("emergency_begin", DSO, CEM, BeginEmergency(confirm=True, reason=WHY)),
    ("emergency_begin", DSO, GATEWAY, BeginEmergency(confirm=True, reason=WHY)),
    ("emergency_end", DSO, CEM, EndEmergency(confirm=True)),
    ("emergency_end", DSO, GATEWAY, EndEmergency(confirm=True)),
    ("direct_control", DSO, CEM, COMMAND),
    ("direct_control", DSO, GATEWAY, COMMAND),
    ("direct_control", GATEWAY, EVSE, COMMAND),
    ("device_join", EVSE, CEM, ANNOUNCE),
    ("power_control", CEM, EVSE, SetPower(upper_w=6_900.0, reason=WHY)),
    ("status_check", CEM, EVSE, AskStatus()),
]


def test_no_table_is_left_out() -> None:
    """Operators' orders are opened by tools at the control room, in tests/dso/test_orders.py."""
    assert {name for name, *_ in TALKS} == set(everything.conversations()) - {table.name for table in ORDERS}


async def test_every_answerer_says_what_its_table_allows_and_then_no_more() -> None:
    async with street() as (run, running, _words, _hardware):
        for name, opener, answerer, opening in TALKS:
            table = everything.conversations()[name]
            scripted = run.servers.bus(Address.parse(opener), run.clock)
            scripted.on(Heartbeat, _nothing)
            await scripted.open()
            run.closing(scripted.connection)
            await scripted.run(run._tasks)
            may = tuple(table.says(table.answerer))
            async with scripted.talk(table, Address.parse(answerer)) as talk:
                await talk.say(opening)
                answer = await _hear(talk, (*may, Lapsed))
                assert isinstance(answer, may), f"{name}: {answerer} said {answer} to {opener}"
                assert talk.state == END
            await scripted.close()
        assert {who: bus.counts["handler_failed"] for who, bus in running.items()} == dict.fromkeys(running, 0)


async def _hear(talk: Talk, kinds: tuple[type[Any], ...]) -> object:
    return await talk.hear(*kinds)


def _nothing(_message: object, _heard: object) -> None:
    """The opener takes heartbeats, and does nothing with them."""
