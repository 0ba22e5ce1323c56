"""The default street is SimBench's, with a product for each of its devices."""

import tomllib

import msgspec
import pytest

from contracts import device_file
from world.grid import rural_grid
from world.spec import WorldError, WorldSpec
from world.street import EVENING_HOMES, day, evening, toml
from world.world import World

HOMES = ["h01", "h02", "h03", "h05", "h06", "h07", "h08", "h09", "h10", "h11", "h12", "h13", "h14"]


@pytest.mark.parametrize("spec", [day(), evening()], ids=["day", "evening"])
def test_what_is_printed_reads_back_as_the_same_world(spec: WorldSpec) -> None:
    assert msgspec.convert(tomllib.loads(toml(spec)), WorldSpec) == spec


def test_thirteen_homes_by_bus_with_all_that_simbench_gives_them() -> None:
    spec, grid = day(), rural_grid()
    assert [site.name for site in spec.sites] == HOMES
    devices = [device for site in spec.sites for device in site.devices]
    assert sum(one.kind == "pv" for one in devices) == len(grid.pv) == 8
    assert sum(one.kind == "battery" for one in devices) == len(grid.storage) == 5
    assert sum(one.kind == "heatpump" for one in devices) == 8
    assert {site.name: sum(one.kind == "evse" for one in site.devices) for site in spec.sites} == {
        name: {"h08": 2, "h11": 2, "h05": 1, "h10": 1, "h14": 1}.get(name, 0) for name in HOMES
    }


def test_the_evening_has_a_charging_point_more_at_its_homes() -> None:
    more = {site.name: len(site.devices) for site in evening().sites}
    assert {name: more[name] - len(site.devices) for name, site in ((one.name, one) for one in day().sites)} == {
        name: int(name in EVENING_HOMES) for name in HOMES
    }


@pytest.mark.parametrize("spec", [day(), evening()], ids=["day", "evening"])
def test_every_product_has_a_file_of_its_class(spec: WorldSpec) -> None:
    for site in spec.sites:
        assert device_file.load(site.meter.product).class_ == "meter"
        for device in site.devices:
            assert device_file.load(device.product).class_ == device.kind


def test_two_sites_of_one_name_and_an_unknown_bus_are_refused() -> None:
    spec = day()
    with pytest.raises(WorldError, match="unique"):
        World(msgspec.structs.replace(spec, sites=(spec.sites[0], spec.sites[0])), served=False)
    stray = msgspec.structs.replace(spec.sites[0], bus=77)
    with pytest.raises(WorldError, match="77"):
        World(msgspec.structs.replace(spec, sites=(stray,)), served=False)
