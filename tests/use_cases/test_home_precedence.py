"""Several controllers at one home: the user's hand, momentary limits, an aggregator's orders, advice, in this order."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.forecast import AskSiteForecast, SiteForecastIs, site_forecast
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.home_rules import Rule, RulesRefused, RulesTaken, SetRules, Trigger, rules_write
from contracts.kit import Lapsed
from contracts.metering import SitePower
from contracts.preferences import PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from contracts.profiles import Estimate, PlannedPower
from contracts.roles import CEM as CEM_ROLE
from contracts.site_power import (
    EnvelopeRefused,
    EnvelopeSlot,
    EnvelopeTaken,
    OrderAccepted,
    OrderFlexibility,
    OrderRefused,
    Recommend,
    RecommendationDeclined,
    RecommendationFollowed,
    SetEnvelope,
    flexibility_order,
    recommendation,
    site_envelope,
)
from tests.support.grid import grid
from tests.support.open_home import CAR, CEM, WHY, OpenHome, open_home
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.precedence")]
AGGREGATOR, BUILDING, APP, ESP = "grid.aggregator.main", "grid.building.main", "h07.app.display", "grid.esp.main"
CONTRACT = {"flexibility_contracts": [AGGREGATOR]}
HOME = Address.parse(CEM)


async def order(aggregator: Bus, h: OpenHome, for_s: float = 3_600.0, **bounds: Any) -> OrderAccepted | OrderRefused:
    now = instant(h.run.clock.now())
    word = OrderFlexibility(
        **{"device": "evse.1", "start": now, "until": now + timedelta(seconds=for_s), "reason": WHY, **bounds}
    )
    async with aggregator.talk(flexibility_order, HOME) as talk:
        await talk.say(word)
        answer = await talk.hear(OrderAccepted, OrderRefused, Lapsed)
    assert not isinstance(answer, Lapsed)
    return answer


async def advise(
    building: Bus, h: OpenHome, power_w: float, device: str | None = "evse.1"
) -> RecommendationFollowed | RecommendationDeclined:
    slots = (PlannedPower(start=instant(h.run.clock.now()), duration_s=7_200.0, power_w=power_w),)
    async with building.talk(recommendation, HOME) as talk:
        await talk.say(Recommend(device=device, slots=slots, reason=WHY))
        answer = await talk.hear(RecommendationFollowed, RecommendationDeclined, Lapsed)
    assert not isinstance(answer, Lapsed)
    return answer


async def by_hand(app: Bus, action: str) -> ControlTaken | ControlRefused:
    async with app.talk(take_control, HOME) as talk:
        await talk.say(TakeControl(user="anna", device="evse.1", action=action))  # type: ignore[arg-type]
        answer = await talk.hear(ControlTaken, ControlRefused, Lapsed)
    assert not isinstance(answer, Lapsed)
    return answer


async def prefer(app: Bus, **wanted: Any) -> None:
    async with app.talk(preferences, HOME) as talk:
        await talk.say(SetPreferences(user="anna", **wanted))
        assert isinstance(await talk.hear(PreferencesTaken, PreferencesRefused, Lapsed), PreferencesTaken)


async def bounded(esp: Bus, h: OpenHome, upper_w: float | None) -> None:
    now = instant(h.run.clock.now())
    slots = () if upper_w is None else (EnvelopeSlot(start=now, duration_s=7_200.0, upper_w=upper_w),)
    async with esp.talk(site_envelope, HOME) as talk:
        await talk.say(SetEnvelope(slots=slots, reason=WHY))
        assert isinstance(await talk.hear(EnvelopeTaken, EnvelopeRefused, Lapsed), EnvelopeTaken)


async def test_the_hand_goes_before_the_limit_it_before_the_order_and_it_before_advice() -> None:
    parties = (AGGREGATOR, BUILDING, APP, ESP)
    async with open_home(CAR, others=parties, cem=CONTRACT) as h:
        aggregator, building, app, esp = [await h.run.bus(who) for who in parties]
        h.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.metered(above_w=10_000.0)
        assert isinstance(await advise(building, h, 0.0), RecommendationFollowed)
        await h.metered(below_w=3_000.0)
        assert isinstance(await order(aggregator, h, lower_w=8_000.0), OrderAccepted)
        await h.metered(above_w=7_500.0)  # the order goes before advice
        declined = await advise(building, h, 0.0)
        assert isinstance(declined, RecommendationDeclined)
        assert declined.reason.binding == "order"
        await bounded(esp, h, 6_500.0)
        await h.metered(below_w=6_500.0, above_w=4_000.0)  # the momentary limit goes before the order
        refused = await order(aggregator, h, device=None, lower_w=9_000.0)
        assert isinstance(refused, OrderRefused)
        assert refused.reason.binding == "momentary_limit"
        taken = await by_hand(app, "off")
        assert isinstance(taken, ControlTaken), taken
        await h.metered(below_w=3_000.0)  # the hand goes before all of them
        refused = await order(aggregator, h, lower_w=8_000.0)
        assert isinstance(refused, OrderRefused)
        assert refused.reason.code == "users_hand"
        await by_hand(app, "on")
        await h.metered(above_w=10_000.0)  # also where it wants more than the momentary limit


async def test_under_a_contract_the_hand_may_be_set_behind_the_order_until_flexibility_is_cancelled() -> None:
    settings = {**CONTRACT, "order_beats_hand": True}
    async with open_home(CAR, others=(AGGREGATOR, APP), cem=settings) as h:
        aggregator, app = await h.run.bus(AGGREGATOR), await h.run.bus(APP)
        h.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.metered(above_w=10_000.0)
        assert isinstance(await order(aggregator, h, upper_w=0.0), OrderAccepted)
        await h.metered(below_w=3_000.0)
        await by_hand(app, "on")
        await h.metered(below_w=3_000.0, times=6)  # the contract is active and not cancelled
        await prefer(app, flexibility=False)
        await h.metered(above_w=10_000.0)  # cancelled: it has no effect any more
        refused = await order(aggregator, h, upper_w=0.0)
        assert isinstance(refused, OrderRefused)
        assert refused.reason.code == "flexibility_off"


async def test_without_a_contract_nobody_orders_and_an_order_survives_the_energy_manager() -> None:
    async with open_home(CAR, others=(AGGREGATOR, ESP), cem=CONTRACT) as h:
        aggregator, esp = await h.run.bus(AGGREGATOR), await h.run.bus(ESP)
        h.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.metered(above_w=10_000.0)
        refused = await order(esp, h, upper_w=0.0)
        assert isinstance(refused, OrderRefused)
        assert refused.reason.code == "no_contract"
        assert isinstance(await order(aggregator, h, upper_w=5_000.0, for_s=900.0), OrderAccepted)
        await h.metered(below_w=6_500.0)
        await h.run.stop(CEM)
        before = len(h.told("evse.1"))
        await h.start(CEM)
        told = await h.until(lambda: [o for o in h.told("evse.1")[before:] if o["upper_w"] is not None])
        assert told[0]["upper_w"] <= 5_000.0
        assert told[0]["reason"]["code"] == "order"
        await h.metered(above_w=10_000.0)  # it ends by itself


async def test_advice_that_leaves_the_car_empty_is_declined_and_it_charges_by_need() -> None:
    ready = {"evse.1": {"ready_by": "14:00:00", "charge_lower_percent": 60.0}}
    async with open_home(CAR, others=(BUILDING,), cem={"preferences": ready}) as h:
        building = await h.run.bus(BUILDING)
        h.world.happens("plug_in", "evse1", energy_wh=30_000.0)
        await h.until(
            lambda: any((o["flexibility"] or {}).get("type") == "storage" for o in h.said("offer_flexibility"))
        )
        await h.metered(above_w=10_000.0)
        declined = await advise(building, h, 0.0)
        assert isinstance(declined, RecommendationDeclined)
        assert declined.reason.binding == "users_need"
        await h.metered(above_w=10_000.0, times=5)


async def test_an_ad_hoc_rule_is_reported_to_the_orchestrator_as_power_alone() -> None:
    load = DeviceSpec(
        name="switch1", kind="switch", product="waveshare_relay_switch", unit=60, rating_w=2_000, phases=1
    )
    async with open_home(load, others=(BUILDING, APP)) as h:
        app = await h.run.bus(APP)
        await h.start(BUILDING, advise_every_s=1e6)
        rule = Rule(name="quiet", device="switch.1", trigger=Trigger(power_above_w=500.0), action="off")
        async with app.talk(rules_write, HOME) as talk:
            await talk.say(SetRules(user="anna", rules=(rule,)))
            assert isinstance(await talk.hear(RulesTaken, RulesRefused, Lapsed), RulesTaken)
        report = (await h.beyond_until(lambda: h.said("report_change", kind="ad_hoc_rule")))[0]
        assert (report["device_class"], report["power_w"]) == ("switch", 0.0)
        assert set(report) == {"kind", "device_class", "power_w", "rating_w"}
        await h.beyond_until(lambda: h.said("change_fine"))


class FlatSettings(Settings, frozen=True, kw_only=True):
    """``power_w`` is what this home takes, + consumed; ``secret_c`` what is nobody's business."""

    power_w: float = 1_000.0
    secret_c: float = 17.23


@skill(says_grid=(SitePower,))
@dataclass
class Flat:
    """The energy manager of a home that lets its forecast be known and follows advice."""

    bus: Bus
    clock: Clock
    settings: FlatSettings

    @answers(site_forecast)
    async def tell(self, talk: Talk, _question: AskSiteForecast) -> None:
        now = self.clock.now() // 900 * 900
        values = tuple(
            Estimate(start=instant(now + n * 900.0), duration_s=900.0, power_w=self.settings.power_w) for n in range(4)
        )
        await talk.say(SiteForecastIs(at=instant(now), power_w=self.settings.power_w, values=values))

    @answers(recommendation)
    async def follow(self, talk: Talk, _advice: Recommend) -> None:
        await talk.say(RecommendationFollowed(reason=WHY))


async def test_managers_join_and_leave_and_none_sees_the_others_data() -> None:
    flat = Agent(role=CEM_ROLE, settings=FlatSettings, skills=(Flat,))
    homes = ("h01.cem.main", "h02.cem.main", "h03.cem.main")
    async with grid(BUILDING, *homes, agents={"cem": flat}, speed=60.0) as run:
        words = await run.words()
        await run.start("h01.cem.main", {"power_w": -6_000.0})
        await run.start("h02.cem.main", {"power_w": 500.0})
        await run.start(BUILDING, {"advise_every_s": 60.0, "subscribed_w": 20_000.0})
        first = await words.until(lambda w: w.of("recommend"))
        assert ".h02.cem." in first[0][0], "who has a surplus is not advised to use it"
        assert first[0][1]["body"]["slots"][0]["power_w"] == pytest.approx(6_000.0)
        await run.start("h03.cem.main", {"power_w": 500.0})
        shared = await words.until(lambda w: [s for s, _ in w.of("recommend") if ".h03.cem." in s])
        assert shared, "one that joins is advised from then on"
        await run.stop("h02.cem.main")
        count = len(words.of("recommend"))
        await words.until(lambda w: any(".h03.cem." in s for s, _ in w.of("recommend")[count:]))
        for subject, payload in words.all:
            for home in ("h01", "h02", "h03"):
                if f"to.{home}." in subject:
                    others = {"h01", "h02", "h03"} - {home}
                    assert not any(f"{other}.".encode() in payload or f".{other}." in subject for other in others)
            assert b"17.23" not in payload
