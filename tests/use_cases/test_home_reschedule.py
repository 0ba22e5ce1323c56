"""A new situation: the CEM sends an updated profile, the device verifies it, confirms, and never exceeds it."""

from typing import Any

import msgspec
import pytest

from agents.cem.agreed import Agreed
from bus.address import Address
from bus.envelope import instant
from contracts.device import PowerRefused, SetPower, power_control
from contracts.instructions import Instruct, InstructionRejected, instruction
from contracts.kit import Lapsed
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from tests.support.grid import eventually
from tests.support.negotiating import PLANNED, Negotiating, negotiating
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.reschedule")]
STATION = DeviceSpec(name="evse1", kind="evse", product="abb_terra_ac", unit=10, rating_w=11_040)
EVSE, OTHER = "h07.evse.1", "h07.cem.second"


def profile(h: Negotiating, *watts: float, each_s: float = 300.0, start_s: float = 0.0) -> tuple[PlannedPower, ...]:
    begins = h.run.clock.now() + start_s
    return tuple(
        PlannedPower(start=instant(begins + n * each_s), duration_s=each_s, power_w=w) for n, w in enumerate(watts)
    )


async def settles(h: Negotiating, most_w: float, least_w: float = 0.0) -> None:
    """Until three readings in a row lie there."""

    def there() -> bool:
        last = [r["power_w"] for r in h.said("device_reading")[-3:]]
        return len(last) == 3 and all(least_w <= w <= most_w for w in last)

    await eventually(there)


def readings_from(h: Negotiating, since: float) -> list[tuple[float, float]]:
    from datetime import datetime

    return [
        (at, r["power_w"])
        for r in h.said("device_reading")
        if (at := datetime.fromisoformat(r["at"]).timestamp()) >= since
    ]


async def test_an_updated_profile_is_confirmed_and_never_exceeded_in_any_slot() -> None:
    async with negotiating(STATION, speed=60.0, others=(OTHER,), evse1={"rating_w": 11_040.0}) as h:
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.cem.offer(EVSE)
        await settles(h, 11_500, 9_000)
        first = await h.cem.instruct(EVSE, power=profile(h, 9_000, 9_000))
        assert isinstance(first, Agreed), first
        assert await h.cem.tells(EVSE, "started") == "started"
        await settles(h, 9_000, 7_500)
        # a request from the grid: the CEM sends less, and it replaces what was agreed
        updated = await h.cem.instruct(EVSE, power=profile(h, 5_000, 4_500, 0, each_s=120.0))
        assert isinstance(updated, Agreed), updated
        assert updated.instruct.replaces == first.talk
        assert [p.power_w for p in updated.power] == [5_000, 4_500, 0]
        began = updated.power[0].start.timestamp()
        await settles(h, 5_000, 4_140)
        await h.cem.order(EVSE, upper_w=11_040.0)  # what the fast loop gives does not widen what was confirmed
        assert await h.cem.tells(EVSE, "succeeded") == "done"
        for at, watts in readings_from(h, began + 40):
            slot = next((p for p in updated.power if p.start.timestamp() + 40 <= at), None)
            now = next((p for p in updated.power if 40 <= at - p.start.timestamp() < p.duration_s), None)
            if now is not None:
                assert watts <= now.power_w + 1, (at - began, watts, slot)
        await settles(h, 11_500, 9_000)  # it is over: the device is free again
        # beyond what it can: the counter is what it can do
        counter: list[Any] = []
        more = await h.cem.instruct(EVSE, lambda c: bool(counter.append(c)), power=profile(h, 50_000, 2_000))
        assert isinstance(more, Reason)
        assert [p["power_w"] for p in msgspec.to_builtins(counter[0].power)] == [11_040, 0]
        # another CEM claims it: refused with the reason, in talks about plans and about power
        bus = await h.run.bus(OTHER)
        async with bus.talk(instruction, Address.parse(EVSE)) as talk:
            await talk.say(Instruct(offer=1, power=profile(h, 4_500), reason=PLANNED))
            answer = await talk.hear(*_answers())
        assert isinstance(answer, InstructionRejected)
        assert answer.reason.code == "not_my_cem"
        async with bus.talk(power_control, Address.parse(EVSE)) as talk:
            await talk.say(SetPower(upper_w=0.0, reason=PLANNED))
            refused = await talk.hear(*_power_answers())
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "not_my_cem"
        # unplugged in mid-run: aborted, nothing is left agreed
        assert isinstance(await h.cem.instruct(EVSE, power=profile(h, 6_000, 6_000)), Agreed)
        assert await h.cem.tells(EVSE, "started") == "started"
        h.home.happens("unplug", "evse1")
        assert await h.cem.tells(EVSE, "aborted") == "gone"
        await eventually(lambda: h.cem.offered(EVSE) is None and h.cem.agreed(EVSE) is None)


def _answers() -> Any:
    from contracts.instructions import CounterInstruction, InstructionAccepted

    return InstructionAccepted, InstructionRejected, CounterInstruction, Lapsed


def _power_answers() -> Any:
    from contracts.device import PowerApplied

    return PowerApplied, PowerRefused, Lapsed


async def test_what_is_agreed_holds_over_a_kill_of_either_side() -> None:
    async with negotiating(STATION, speed=60.0, evse1={"rating_w": 11_040.0}) as h:
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.cem.offer(EVSE)
        agreed = await h.cem.instruct(EVSE, power=profile(h, 5_000, 5_000, each_s=600.0))
        assert isinstance(agreed, Agreed)
        await settles(h, 5_000, 4_140)
        await h.run.stop("h07.cem.main")
        await h.run.stop(EVSE)
        await h.run.start("h07.cem.main")
        assert h.cem.agreed(EVSE) is not None
        assert h.cem.agreed(EVSE).talk == agreed.talk  # type: ignore[union-attr]
        await h.start(EVSE)
        seen = len(h.said("device_reading"))
        await eventually(lambda: len(h.said("device_reading")) > seen + 5)
        assert max(r["power_w"] for r in h.said("device_reading")[seen + 2 :]) <= 5_001
        assert await h.cem.known.revoke(Address.parse(EVSE), PLANNED)
        await settles(h, 11_500, 9_000)
