"""Prices and green share from A or B to CEM, devices, meter and display: IEC-JWG2112, IEC-WGSP2112, IEC-FP-PRICE."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bus.address import Address
from bus.envelope import instant
from contracts.device_form import Value
from contracts.preferences import DevicePreferences
from contracts.profiles import PriceSlot
from contracts.tariff import TariffRefused, TariffTaken
from tests.cem.home import CEM, DSO, SITE
from tests.support.grid import START, Words, grid
from tests.support.home import products
from tests.support.priced import APP, METER, RETAILER, announce, price_at, priced_home, slots

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.price-info")]
T0 = START.timestamp()
HOUR = 3600.0
GATEWAY = f"{SITE}.gateway.main"
MAINS: dict[str, Value] = {"power_w": 900.0, "import_wh": 1_000.0, "export_wh": 0.0}


async def test_price_information_from_b_reaches_the_cem_and_by_the_meter_the_display() -> None:
    names = (DSO, GATEWAY, CEM, METER, APP)
    async with products(mains=("eastron_sdm630", 1, MAINS)) as hardware, grid(*names) as run:
        words = await run.words(SITE)
        operator = await run.bus(DSO)
        for name in (APP, CEM, GATEWAY):
            await run.start(name)
        await run.start(METER, hardware.line("mains"))
        answer = await announce(operator, slots(T0, [0.2, 0.4, 0.6]), to=GATEWAY)
        assert isinstance(answer, TariffTaken)

        def by(sender: str, word: str) -> list[dict[str, Any]]:
            return [e["body"] for s, e in words.of(word) if f".{sender}.tariff." in s]

        passed_on = await words.until(lambda w: len(found := w.of("announce_tariff")) > 1 and found)
        told = [s.split(".")[2:5] for s, _ in passed_on]
        assert sorted(told) == [["h07", "cem", "main"], ["h07", "meter", "main"]]
        assert all(body["issuer"] == DSO for body in by(GATEWAY, "announce_tariff"))
        await words.until(lambda _: by(METER, "price_info") and by(CEM, "price_info"))
        for sender in (METER, CEM):
            assert price_at(by(sender, "price_info")[-1]["slots"], T0 + 1.5 * HOUR) == pytest.approx(0.4)
        await words.until(lambda w: [1 for _, e in w.of("shown") if e["body"].get("price_eur_per_kwh") == 0.2])


async def test_the_display_gets_prices_by_the_meter_where_there_is_no_cem() -> None:
    async with products(mains=("eastron_sdm630", 1, MAINS)) as hardware, grid(DSO, GATEWAY, METER, APP) as run:
        words = await run.words(SITE)
        operator = await run.bus(DSO)
        for name in (APP, GATEWAY):
            await run.start(name)
        await run.start(METER, hardware.line("mains"))
        assert isinstance(await announce(operator, slots(T0, [0.2, 0.4]), to=GATEWAY), TariffTaken)
        await words.until(lambda w: [1 for _, e in w.of("shown") if e["body"].get("price_eur_per_kwh") == 0.2])


async def test_only_the_devices_that_the_cem_finds_relevant_get_it() -> None:
    async with priced_home(f"{SITE}.heatpump.1", f"{SITE}.evse.1") as h:
        await h.device("heatpump.1", 1000.0, use_cases=("tariffs.price-info",))
        await h.device("evse.1", 4000.0)
        assert isinstance(await announce(h.retailer, slots(T0, [0.2, 0.4])), TariffTaken)
        await h.until(lambda: h.infos(f"{SITE}.heatpump.1"))
        await h.until_price(T0 + 1.5 * HOUR, 0.4)
        assert h.infos(f"{SITE}.evse.1") == []
        crossed = [s for s, _ in h.beyond.all if "price_info" in s]
        assert crossed == [], "the sum of a home's prices stays at home"


async def test_a_green_share_above_its_threshold_starts_a_device_and_one_below_does_not() -> None:
    wants = {"heatpump.1": DevicePreferences(green_above_percent=60.0)}
    async with priced_home(f"{SITE}.heatpump.1", preferences=wants) as h:
        pump = await h.device("heatpump.1", 2000.0)
        await announce(h.retailer, slots(T0, [0.3] * 6, green_percent=60.0), tariff="even")
        await h.until(lambda: pump.order is not None and pump.order.upper_w == 0)
        assert pump.power_w == 0, "equal is not above"
        await announce(h.retailer, slots(T0, [0.3] * 6, green_percent=75.0), tariff="green")
        await h.until(lambda: pump.power_w > 5000)
        assert pump.orders[-1].reason.code == "green"
        assert pump.orders[-1].reason.inputs == {"green_percent": 75.0, "threshold_percent": 60.0}


async def test_the_customer_is_told_before_a_dearer_period_begins() -> None:
    async with priced_home(speed=600.0) as h:
        dear = [0.2, 0.2, 0.2, 0.5, 0.5, 0.2, 0.2, 0.2]
        await announce(h.retailer, slots(T0, dear, each_s=HOUR / 2))
        said = (await h.until(lambda: h.notices("warning")))[0]
        early = T0 + 1.5 * HOUR - datetime.fromisoformat(said["at"]).timestamp()
        assert 0 < early <= HOUR + 60, "an hour before, and never after it has begun"
        assert "13:30 to Fri 14:30: 0.500 EUR/kWh instead of 0.200 now" in said["body"]["text"]
        await h.until(lambda: said["body"]["text"] in h.shown()["notices"])


async def test_a_warning_of_load_control_and_a_changed_tariff_are_shown() -> None:
    async with priced_home() as h:
        await announce(h.retailer, slots(T0, [0.2] * 4))
        warning = "Load will be switched off at 14:00 unless less is consumed."
        await announce(h.retailer, slots(T0, [0.3] * 4), tariff="new", warning=warning)
        await h.until(lambda: warning in h.shown()["notices"])
        await h.until(lambda: [n for n in h.shown()["notices"] if n.startswith("Prices have changed: new")])


async def test_a_price_is_the_sum_of_components_of_several_issuers_each_of_whom_changes_only_its_own() -> None:
    async with priced_home() as h:
        await announce(h.retailer, slots(T0, [0.20] * 4))
        await announce(h.dso, slots(T0, [0.05, 0.15, 0.05, 0.05]), component="grid_fee", tariff="fee")
        await announce(h.retailer, slots(T0, [0.08] * 4), component="feed_in", tariff="sun")
        at = T0 + 1.5 * HOUR
        await h.until_price(at, 0.35)
        await announce(h.retailer, slots(T0, [0.25] * 4), tariff="later")
        await h.until_price(at, 0.40)  # the fee stands
        info = h.infos(APP)[-1]
        assert price_at(info["feed_in"], at) == pytest.approx(0.08)
        assert info["issuers"] == [DSO, RETAILER]


async def test_all_price_forms_are_taken_with_their_conditions() -> None:
    async with priced_home(energy_kind="renewable") as h:
        tiered = PriceSlot(
            start=instant(T0), duration_s=HOUR, price_eur_per_kwh=0.2, threshold_wh=4000.0, beyond_eur_per_kwh=0.5
        )
        kinds = PriceSlot(
            start=instant(T0 + HOUR),
            duration_s=HOUR,
            price_eur_per_kwh=0.2,
            by_kind_eur_per_kwh={"renewable": 0.26},
            binding="forecast",
        )
        assert isinstance(await announce(h.retailer, [tiered, kinds], form="price_and_volume"), TariffTaken)
        now_slot = slots(T0 + 2 * HOUR, [0.31], each_s=300.0)
        assert isinstance(await announce(h.retailer, now_slot, form="real_time", tariff="now"), TariffTaken)
        await h.until(lambda: h.infos(APP) and len(h.infos(APP)[-1]["slots"]) > 4)
        told = h.infos(APP)[-1]["slots"]
        first = next(s for s in told if s["start"].startswith("2016-05-20T10:15"))
        assert (first["threshold_wh"], first["beyond_eur_per_kwh"]) == (1000.0, pytest.approx(0.5))
        assert price_at(told, T0 + 1.5 * HOUR) == pytest.approx(0.26), "who chose renewable energy pays for that"
        later = next(s for s in told if s["start"].startswith("2016-05-20T11"))
        assert later["binding"] == "forecast"


BAD = {
    "no_slots": [],
    "unordered": [*slots(T0 + HOUR, [0.2]), *slots(T0, [0.2])],
    "overlap": [*slots(T0, [0.2]), *slots(T0 + 1800, [0.2])],
    "in_the_past": slots(T0 - 10 * HOUR, [0.2, 0.3]),
    "absurd_price": slots(T0, [85.3]),
    "too_far_ahead": slots(T0 + 500 * 24 * HOUR, [0.2]),
    "half_threshold": [PriceSlot(start=instant(T0), duration_s=HOUR, price_eur_per_kwh=0.2, threshold_wh=5.0)],
    "absurd_share": slots(T0, [0.2], green_percent=140.0),
    "no_duration": slots(T0, [0.2], each_s=0.0),
}


async def test_bad_prices_are_refused_with_a_reason_and_the_earlier_ones_stand() -> None:
    async with priced_home() as h:
        await announce(h.retailer, slots(T0, [0.21] * 6))
        for code, bad in BAD.items():
            answer = await announce(h.retailer, bad, tariff=code)
            assert isinstance(answer, TariffRefused), code
            assert answer.reason.code == code
            assert len(answer.reason.text) > 20
        other = await announce(h.dso, slots(T0, [0.9] * 6), tariff="second seller")
        assert isinstance(other, TariffRefused)
        assert other.reason.code == "second_supplier"
        await h.until_price(T0 + HOUR, 0.21)


async def test_a_gap_and_what_comes_after_the_last_price_are_filled_and_never_called_binding() -> None:
    async with priced_home(fallback_price_eur_per_kwh=0.33) as h:
        await announce(h.retailer, [*slots(T0, [0.2]), *slots(T0 + 2 * HOUR, [0.4])])
        await h.until_price(T0 + 1.5 * HOUR, 0.33)
        told = {s["start"][11:16]: s.get("binding", "binding") for s in h.infos(APP)[-1]["slots"]}
        assert told == {"10:00": "binding", "11:00": "forecast", "12:00": "binding"}


async def test_prices_outlive_a_restart() -> None:
    async with priced_home(start=False) as h:
        await h.run.start(CEM)
        await announce(h.retailer, slots(T0, [0.2, 0.7, 0.2]))
        await h.run.stop(CEM)
        seen = len(h.infos(APP))
        await h.run.start(CEM)
        await h.until(lambda: len(h.infos(APP)) > seen)
        assert price_at(h.infos(APP)[-1]["slots"], T0 + 1.5 * HOUR) == pytest.approx(0.7)


async def test_the_grid_operator_announces_its_time_variable_fee_to_those_who_chose_it() -> None:
    fee = {
        "sites": (SITE,),
        "otherwise_eur_per_kwh": 0.08,
        "windows": ({"start": "13:10:00", "end": "14:20:00", "eur_per_kwh": 0.16},),
    }
    async with grid(DSO, CEM, "h08.cem.main", APP, speed=60.0) as run:
        home, beyond = await run.words(SITE), await run.words()
        for name in (APP, CEM, "h08.cem.main"):
            await run.start(name)
        await run.start(DSO, {"grid_fees": (fee,)})
        await beyond.until(lambda w: w.of("tariff_taken"))
        receivers = {str(Address(*s.split(".")[1:4])) for s, _ in beyond.of("announce_tariff")}
        assert receivers == {CEM}
        [(_, word), *_] = beyond.of("announce_tariff")
        starts = {s["start"][11:16]: s["price_eur_per_kwh"] for s in word["body"]["slots"]}
        assert starts == {"22:00": 0.08, "11:10": 0.16, "12:20": 0.08}
        at = datetime(2016, 5, 20, 11, 16, tzinfo=UTC).timestamp()

        def prices(words: Words) -> list[float]:
            """Of that instant, as they were told."""
            return [round(price_at(e["body"]["slots"], at), 6) for _, e in words.of("price_info")]

        await home.until(lambda w: 0.46 in prices(w))
