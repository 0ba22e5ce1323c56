"""Devices that lie, talk nonsense or fall silent; partners that say anything lawful: each is told, nothing is lost."""

import random
from typing import Any

import pytest

from bus.address import Address
from bus.envelope import instant
from bus.talk import Talk
from contracts.device import Announce, Welcome, device_join
from contracts.flexibility import (
    FlexibilityRefused,
    FlexibilityTaken,
    OfferFlexibility,
    StorageFlexibility,
    flexibility_offer,
)
from contracts.instructions import (
    CounterAccepted,
    CounterInstruction,
    CounterRejected,
    Instruct,
    InstructionAccepted,
    InstructionRejected,
    InstructionRevoked,
    ProgressNoted,
    ReportProgress,
    RevokeInstruction,
    RevokeRefused,
    instruction,
    instruction_progress,
    instruction_revocation,
)
from contracts.kit import END, Lapsed
from contracts.own_plans import GiveIncentive, IncentiveDeclined, OwnPlan, incentive
from contracts.profiles import PlannedPower
from tests.kit.test_bargain import JOB
from tests.support.grid import eventually
from tests.support.negotiating import HOME, PLANNED, Lead, Negotiating, negotiating
from world.spec import DeviceSpec

pytestmark = pytest.mark.anyio
STATION = DeviceSpec(name="evse1", kind="evse", product="abb_terra_ac", unit=10, rating_w=11_040)
EVSE, LIAR = "h07.evse.1", "h07.battery.9"


def slots(h: Negotiating, *watts: float, each_s: float = 600.0) -> tuple[PlannedPower, ...]:
    now = h.run.clock.now()
    return tuple(
        PlannedPower(start=instant(now + n * each_s), duration_s=each_s, power_w=w) for n, w in enumerate(watts)
    )


@pytest.mark.use_case("home.reschedule")
async def test_a_device_that_takes_more_than_it_confirmed_is_planned_with_its_worst_and_told_about() -> None:
    async with negotiating(others=(LIAR,)) as h:
        liar = await h.run.bus(LIAR, lambda bus: bus.answer(instruction, accepts))
        announce = Announce(
            device_class="battery",
            maker="t",
            model="t",
            functions=("measure", "setpoint"),
            use_cases=(),
            nominal_lower_w=-5_000.0,
            nominal_upper_w=5_000.0,
        )
        async with liar.talk(device_join, Address.parse(HOME)) as talk:
            await talk.say(announce)
            assert isinstance(await talk.hear(Welcome, *_no_welcome()), Welcome)
        store = StorageFlexibility(
            capacity_wh=10_000.0, level_percent=50.0, fill_upper_w=5_000.0, empty_lower_w=-5_000.0
        )
        absurd = StorageFlexibility(capacity_wh=10_000.0, level_percent=50.0, fill_upper_w=90_000.0)
        assert isinstance(
            await offers(liar, OfferFlexibility(offer=1, flexibility=store, reason=PLANNED)), FlexibilityTaken
        )
        refused = await offers(liar, OfferFlexibility(offer=2, flexibility=absurd, reason=PLANNED))
        assert isinstance(refused, FlexibilityRefused)
        assert refused.reason.code == "beyond_nominal"
        assert h.cem.offered(LIAR) is None  # the one before is void as well
        await offers(liar, OfferFlexibility(offer=3, flexibility=store, reason=PLANNED))
        agreed = await h.cem.instruct(LIAR, power=slots(h, 1_000.0, 1_000.0))
        assert not isinstance(agreed, str)
        current = h.cem.agreed(LIAR)
        assert current is not None
        async with liar.talk(instruction_progress, Address.parse(HOME)) as talk:
            await talk.say(ReportProgress(instruction=current.talk, state="started", reason=PLANNED))
            assert isinstance(await talk.hear(ProgressNoted, Lapsed), ProgressNoted)
        # it is measured with three times as much
        for _ in range(12):
            liar.say(measured(h, 3_000.0), home=True)
            await h.run.clock.sleep(5.0)
        warned = await eventually(lambda: h.said("device_warning", device="battery.9"))
        assert warned[0]["reason"]["code"] == "above_profile"
        assert len(warned) == 1
        known = h.cem.known
        assert known.liars == {Address.parse(LIAR): 3_000.0}
        assert known.reserved_w(Address.parse(LIAR), h.run.clock.now()) == 3_000.0
        # silent in mid-run: its place stays reserved
        await h.run.clock.sleep(60.0)
        assert known.reserved_w(Address.parse(LIAR), h.run.clock.now()) == 3_000.0
        # an instruction that nobody agreed, and a foreigner's offer, change nothing
        async with liar.talk(instruction_progress, Address.parse(HOME)) as talk:
            await talk.say(ReportProgress(instruction="nobody-knows", state="aborted", reason=PLANNED))
            assert isinstance(await talk.hear(ProgressNoted, Lapsed), ProgressNoted)
        assert h.cem.agreed(LIAR) is not None


async def accepts(talk: Talk, word: Instruct) -> None:
    await talk.say(InstructionAccepted(power=word.power))


def _no_welcome() -> Any:
    from contracts.device import TurnedAway

    return TurnedAway, Lapsed


async def offers(device: Any, word: OfferFlexibility) -> FlexibilityTaken | FlexibilityRefused | Lapsed:
    async with device.talk(flexibility_offer, Address.parse(HOME)) as talk:
        await talk.say(word)
        return await talk.hear(FlexibilityTaken, FlexibilityRefused, Lapsed)  # type: ignore[no-any-return]


def measured(h: Negotiating, power_w: float) -> Any:
    from contracts.device import DeviceReading

    third = power_w / 3
    return DeviceReading(
        at=instant(h.run.clock.now()),
        power_w=power_w,
        power_by_phase_w=(third, third, third),
        operating="running",
        lower_w=-5_000.0,
        upper_w=5_000.0,
    )


async def test_who_has_not_joined_is_not_planned_with() -> None:
    async with negotiating(others=(LIAR,)) as h:
        stranger = await h.run.bus(LIAR)
        refused = await offers(stranger, OfferFlexibility(offer=1, flexibility=JOB, reason=PLANNED))
        assert isinstance(refused, FlexibilityRefused)
        assert refused.reason.code == "not_joined"


@pytest.mark.use_case("home.reschedule")
async def test_a_device_keeps_to_its_tables_towards_a_cem_that_says_anything_lawful() -> None:
    rng = random.Random(7)
    async with negotiating(STATION, evse1={"rating_w": 11_040.0}, agents={}) as h:
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.cem.offer(EVSE)
        lead: Lead = h.cem
        device, ends = Address.parse(EVSE), 0
        for turn in range(24):
            number = lead.known.offers[device].offer if turn % 4 < 3 else rng.choice([0, 999])
            power = slots(h, *(rng.uniform(-9e3, 2e4) for _ in range(rng.randrange(4))))
            word = rng.choice(
                [
                    Instruct(offer=number, power=power, reason=PLANNED),
                    Instruct(offer=number, start=instant(h.run.clock.now() + rng.uniform(-1e4, 1e4)), reason=PLANNED),
                    Instruct(offer=number, start_in_s=rng.uniform(0, 1e5), mode="x", replaces="y", reason=PLANNED),
                ]
            )
            async with lead.known.bus.talk(instruction, device) as talk:
                await lead.known.deals.open(talk, _intent(h, word), until=h.run.clock.now() + 9e4)
                await talk.say(word)
                answer = await talk.hear(InstructionAccepted, InstructionRejected, CounterInstruction, Lapsed)
                assert not isinstance(answer, Lapsed), word
                if isinstance(answer, CounterInstruction):
                    assert len(answer.reason.text) > 10
                    await talk.say(rng.choice([CounterAccepted(), CounterRejected(reason=PLANNED)]))
                elif isinstance(answer, InstructionRejected):
                    assert answer.reason.code
                assert talk.state == END
                ends += 1
            async with lead.known.bus.talk(instruction_revocation, device) as talk:
                await talk.say(RevokeInstruction(instruction=rng.choice(["unknown", talk.id]), reason=PLANNED))
                refused = await talk.hear(InstructionRevoked, RevokeRefused, Lapsed)
                assert isinstance(refused, RevokeRefused)
                assert refused.reason.code == "unknown"
        async with lead.known.bus.talk(incentive, device) as talk:
            await talk.say(GiveIncentive())
            assert isinstance(await talk.hear(OwnPlan, IncentiveDeclined, Lapsed), IncentiveDeclined)
        assert ends == 24
        # whatever was said: it is where it was, and obeys
        seen = len(h.said("device_reading"))
        await eventually(lambda: len(h.said("device_reading")) > seen + 1)


def _intent(h: Negotiating, word: Instruct) -> Any:
    from agents.cem.agreed import Intent

    return Intent(instruct=word, said=h.run.clock.now())
