"""Topology files: those that come with gridparley are sound, and each mistake is named with place, cause and remedy."""

from pathlib import Path

import msgspec
import pytest

from deploy import topology as form
from deploy.durations import duration_s
from deploy.topology import Topology, TopologyError, load
from deploy.topology_faults import faults
from deploy.world_spec import world_spec
from world import street
from world.grid import rural_grid
from world.spec import SubstationSpec, WorldSpec
from world.world import World

GOOD = """
name = "mini"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T11:00:00+02:00
[grid]
agents = [
  { role = "dso", name = "north" },
  { role = "meter", name = "substation", device = "eastron_sdm630", unit = 1 },
]
[[site]]
name = "h07"
bus = 7
household = { profile = "H0-A", power_w = 4000.0 }
agents = [
  { role = "cem", name = "main" },
  { role = "meter", name = "main", device = "eastron_sdm630", unit = 1 },
  { role = "evse", name = "1", device = "abb_terra_ac", unit = 10, rating_w = 11000.0 },
]
"""


def read(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "mini.toml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize("name", form.names())
def test_every_topology_that_comes_with_gridparley_is_sound(name: str) -> None:
    assert faults(load(name)) == []


OURS = {"h02.whitegoods1", "h03.waterheater1", "h07.evse1", "h08.whitegoods1", "h13.hvac1"}
"""What the street has besides: SimBench knows no appliances, and somebody has to plan at h07."""


def rated(own: WorldSpec) -> SubstationSpec:
    """The substation of a spec, its transformer as SimBench rates it."""
    return msgspec.structs.replace(own.substation, rated_va=rural_grid().transformer.rated_va)


def test_the_streets_are_simbench_s_own() -> None:
    evening = world_spec(load("evening"))
    assert (evening.start, evening.sites, evening.substation) == (
        street.evening().start,
        street.evening().sites,
        rated(street.evening()),
    )
    assert evening.events == street.evening().events


def test_the_street_is_simbench_s_own_but_for_a_few_devices() -> None:
    made, own = world_spec(load("street")), street.day()
    assert (made.start, made.substation) == (own.start, rated(own))
    more = {f"{site.name}.{device.name}" for site in made.sites for device in site.devices} - {
        f"{site.name}.{device.name}" for site in own.sites for device in site.devices
    }
    assert more == OURS
    for site, simbench in zip(made.sites, own.sites, strict=True):
        devices = tuple(device for device in site.devices if f"{site.name}.{device.name}" not in OURS)
        same = msgspec.structs.replace(site, devices=devices)
        if site.name == "h07":  # its contract has to do for a car
            same = msgspec.structs.replace(same, contract_w=simbench.contract_w)
        assert same == simbench


def test_a_sound_topology_has_no_faults(tmp_path: Path) -> None:
    assert faults(read(tmp_path, GOOD)) == []


def test_what_stores_heat_and_what_generates_has_a_role_a_product_and_physics(tmp_path: Path) -> None:
    more = """  { role = "waterheater", name = "1", device = "mypv_ac_elwa_2", unit = 30, rating_w = 3500 },
  { role = "waterheater", name = "2", device = "water_heater_waveshare_relay", unit = 31, rating_w = 2000.0 },
  { role = "hvac", name = "1", device = "intesis_daikin_inmbsdai", unit = 32, rating_w = 1000, phases = 1 },
  { role = "fuelcell", name = "1", device = "kwenergie_smartblock", unit = 33, rating_w = 4000.0 },
]
"""
    made = read(tmp_path, GOOD.rstrip().removesuffix("]") + more)
    assert faults(made) == []
    world = World(world_spec(made), served=False)
    for _ in range(60):
        world.step(1.0)
    kinds = {one.spec.name: one.spec.kind for one in world.sites[0].devices}
    assert kinds == {
        "evse1": "evse",
        "waterheater1": "waterheater",
        "waterheater2": "waterheater",
        "hvac1": "hvac",
        "fuelcell1": "fuelcell",
    }


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('role = "dso"', 'role = "dsoo"', ("grid.agents[0] (dsoo.north)", "'dsoo' is no role", "Did you mean dso?")),
        ('name = "1", device', 'name = "X 1", device', ("site[0] (h07).agents[2]", "'X 1' cannot be used")),
        (
            '{ role = "cem", name = "main" },',
            '{ role = "cem", name = "main" }, { role = "cem", name = "main" },',
            ("site[0] (h07).agents[1] (cem.main)", "used 2 times", "its own name"),
        ),
        ('  { role = "cem", name = "main" },\n', "", ("site[0] (h07)", "has devices but no cem", "Add { role = 'cem'")),
        ('"abb_terra_ac"', '"abb_tera_ac"', ("agents[2] (evse.1).device", "abb_terra_ac", "devices list")),
        ("unit = 10", "unit = 1", ("agents[2] (evse.1).unit", "1 is used 2 times at this gateway", "its own")),
        ("unit = 10", "unit = 300", ("agents[2] (evse.1).unit", "300 is no Modbus unit", "1 to 247")),
        ('device = "abb_terra_ac", unit = 10, ', "", ("agents[2] (evse.1)", "has no device", "devices list")),
        ("until = 2016-05-20T11", "until = 2016-05-20T09", ("run.until", "is not after start", "later instant")),
        ("+02:00\nuntil", "\nuntil", ("run.start", "has no time zone")),
        ("[grid]\n", "speed = -1.0\n[grid]\n", ("run.speed", "-1 is not above 0")),
        ('name = "h07"', 'name = "hub"', ("site[0] (hub)", "cannot be used")),
        ("bus = 7", 'bus = 7\ngateway = "nowhere"', ("gateway", "not host:port", "192.0.2.7:502")),
        ("bus = 7", "bus = 7\nfuse_a = -35.0", ("site[0] (h07).fuse_a", "is negative")),
        (
            "rating_w = 11000.0 }",
            "rating_w = 11000.0, settings = { raitng = 1 } }",
            ("h07.evse.1", "raitng", "evse takes", "rating_w"),
        ),
        ("[grid]\n", "[defaults.evs]\nx = 1\n[grid]\n", ("defaults.evs", "is no role", "Did you mean evse?")),
        (
            "[[site]]",
            '[[disturbance]]\nat = 2016-05-20T10:10:00+02:00\naction = "cut"\nsite = "h99"\n[[site]]',
            ("disturbance[0].site", "there is no site 'h99'", "h07"),
        ),
        (
            "[[site]]",
            '[[disturbance]]\nat = 2016-05-20T19:10:00+02:00\naction = "cut"\nsite = "h07"\n[[site]]',
            ("disturbance[0].at", "not between the run's start and end"),
        ),
        (
            "[[site]]",
            '[[disturbance]]\nat = 2016-05-20T10:10:00+02:00\naction = "kill"\naddress = "h07.cem.x"\n[[site]]',
            ("disturbance[0].address", "there is no 'h07.cem.x'"),
        ),
        (
            "[[site]]",
            '[[disturbance]]\nat = 2016-05-20T10:10:00+02:00\naction = "plug_in"\nsite = "h07"\ndevice = "evse2"\n'
            "[[site]]",
            ("disturbance[0].device", "h07 has no 'evse2'", "evse1"),
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, good: str, bad: str, said: tuple[str, ...]) -> None:
    assert good in GOOD
    found = "\n".join(faults(read(tmp_path, GOOD.replace(good, bad, 1))))
    for part in said:
        assert part in found


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("bus = 7", "buss = 7", ("site[0]", "buss", "spelling")),
        ("bus = 7", 'bus = "seven"', ("site[0].bus", "expected `int", "Correct the value")),
        ("[grid]", "[grid", ("is not TOML", "line")),
        ("until = ", "till = ", ("run", "till")),
    ],
)
def test_a_file_that_has_not_the_form_is_refused(tmp_path: Path, good: str, bad: str, said: tuple[str, ...]) -> None:
    with pytest.raises(TopologyError) as caught:
        read(tmp_path, GOOD.replace(good, bad, 1))
    for part in (str(tmp_path / "mini.toml"), *said):
        assert part in str(caught.value)


def test_an_unknown_topology_is_answered_with_what_there_is() -> None:
    with pytest.raises(TopologyError, match="Did you mean street"):
        load("streat")


def test_the_settings_of_an_agent_are_its_place_its_role_and_its_own(tmp_path: Path) -> None:
    from deploy.roster import agent_of
    from deploy.settings import settings_of

    text = GOOD.replace("[grid]\n", "[defaults.evse]\nreading_every_s = 7.0\nfault_after = 5\n[grid]\n", 1)
    text = text.replace("rating_w = 11000.0 }", "rating_w = 11000.0, settings = { fault_after = 9 } }")
    made = read(tmp_path, text)
    address = next(one for one in made.entries if one.role == "evse")
    settings = msgspec.to_builtins(settings_of(made, address, agent_of("evse"), {"h07": ("192.0.2.7", 1502)}))
    wanted = {
        "host": "192.0.2.7",
        "port": 1502,
        "unit": 10,
        "device": "abb_terra_ac",
        "rating_w": 11000.0,
        "reading_every_s": 7.0,
        "fault_after": 9,
    }
    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400)])
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-3m", "0", "soon", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  float says it in its own words
        duration_s(text)
