"""Own and local renewable energy first: the home plans for it, foretells, and tells how well it went."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bus.address import Address
from contracts.forecast import AskSiteForecast, SiteForecastIs, SiteForecastUnknown, site_forecast
from contracts.kit import Lapsed
from tests.support.grid import START
from tests.support.open_home import CEM, STORE, SUN, open_home
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.self-consumption")]
FORECASTER, ESP, STRANGER = "grid.forecaster.main", "grid.esp.main", "grid.esp.other"
SUNNY_FROM, SUNNY_UNTIL = START + timedelta(hours=2), START + timedelta(hours=4)
MACHINE = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)


def weather(folder: Path) -> dict[str, str]:
    """Clouds, then two hours of sun, then clouds."""
    rows = ["time,ghi"]
    for n in range(-1, 30):
        at = START + timedelta(hours=n)
        rows.append(f"{at:%Y-%m-%dT%H:%MZ},{700 if SUNNY_FROM <= at < SUNNY_UNTIL else 5}")
    file = folder / "sun.csv"
    file.write_text("\n".join(rows) + "\n")
    return {"weather": str(file)}


async def test_flexible_starts_move_into_pv_hours_and_the_forecast_is_plan_plus_experience(tmp_path: Path) -> None:
    settings = {"plan": True, "consents": {ESP: ["forecast"]}}
    waits = {"ended_after_s": 60.0, "programme": "easy_care_40"}
    others = (ESP, STRANGER, FORECASTER)
    async with open_home(SUN, MACHINE, others=others, cem=settings, speed=20.0, whitegoods1=waits) as h:
        await h.run.start(FORECASTER, weather(tmp_path))
        h.world.happens("start_programme", "whitegoods1", programme="easy_care_40")

        def sunny() -> datetime | None:
            """Its start as last agreed, once that lies where the PV hours are."""
            starts = [datetime.fromisoformat(i["start"]) for i in h.said("instruct") if i["start"]]
            here = bool(starts) and SUNNY_FROM - timedelta(minutes=10) <= starts[-1] < SUNNY_UNTIL
            return starts[-1] if here else None

        begins = await h.until(sunny)
        esp, stranger = await h.run.bus(ESP), await h.run.bus(STRANGER)

        async def asked(bus: object) -> SiteForecastIs | SiteForecastUnknown | Lapsed:
            async with bus.talk(site_forecast, Address.parse(CEM)) as talk:  # type: ignore[attr-defined]
                await talk.say(AskSiteForecast(horizon_s=6 * 3_600.0))
                return await talk.hear(SiteForecastIs, SiteForecastUnknown, Lapsed)

        unknown = await asked(stranger)
        assert isinstance(unknown, SiteForecastUnknown)
        assert unknown.reason.code == "no_consent"
        told = await asked(esp)
        assert isinstance(told, SiteForecastIs)
        assert len(told.values) == 24
        shown = next(i for i in h.said("plan_shown")[-1]["items"] if i["device"] == "whitegoods.1")
        planned = max(p["power_w"] for p in shown["power"])
        washing = next(v for v in told.values if v.start <= begins < v.start + timedelta(seconds=900))
        done = next(v for v in told.values if v.start >= begins + timedelta(minutes=75))
        assert done.start < SUNNY_UNTIL
        assert washing.power_w - done.power_w == pytest.approx(planned, abs=700.0), "the plan is in it"
        assert washing.lower_w is not None
        assert washing.upper_w is not None
        assert washing.lower_w < washing.power_w < washing.upper_w, "with the band of what is not planned"
        assert any(v.power_w < -1_000.0 for v in told.values), "the sun is in it too"


async def test_energy_and_share_of_own_use_and_what_was_carried_out_come_out() -> None:
    settings = {"balance_every_s": 30.0}
    async with open_home(SUN, STORE, cem=settings) as h:
        await h.metered(below_w=500.0, above_w=-500.0)  # the battery takes what the house does not
        balances = lambda: [b for b in h.said("balance") if b["generated_wh"] > 150.0 and b["activations_done"] >= 1]  # noqa: E731
        balance = (await h.until(balances))[-1]
        assert 0.0 < balance["self_consumed_wh"] <= balance["generated_wh"]
        assert balance["self_consumed_wh"] == pytest.approx(balance["generated_wh"] - balance["export_wh"])
        assert balance["activations_asked"] >= balance["activations_done"]
        assert balance["unplanned_cost_eur"] <= balance["cost_eur"] + 1e-6, "without it more would have been fed in"
