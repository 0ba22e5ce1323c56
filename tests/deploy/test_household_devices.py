"""White goods, switches, submeters and stations that know the car, from topology to world."""

from pathlib import Path

import msgspec
import pytest

from deploy.roster import Roster
from deploy.settings import settings_of
from deploy.topology import AgentEntry, Topology, load
from deploy.topology_faults import faults
from deploy.world_spec import world_spec
from world.world import World

HOME = """
name = "mini"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T12:00:00+02:00
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
  { role = "whitegoods", name = "washer", device = "netio_powercable_appliance", unit = 40, rating_w = 2200.0, phases = 1, phase = 2 },
  { role = "whitegoods", name = "dishes", device = "netio_powercable_appliance", unit = 41, rating_w = 2200.0, phases = 1, settings = { appliance = "dishwasher", longest_wait_s = 7200.0 } },
  { role = "switch", name = "light", device = "wirenboard_mdm3", unit = 42, rating_w = 200.0, phases = 1 },
  { role = "switch", name = "plug", device = "netio_powercable_101", unit = 43, rating_w = 90.0, phases = 1 },
  { role = "switch", name = "pump", device = "waveshare_relay_switch", unit = 44, rating_w = 400.0, phases = 1 },
  { role = "submeter", name = "light", device = "eastron_sdm72d", unit = 45, rating_w = 200.0, measures = "switchlight" },
  { role = "evse", name = "1", device = "goe_charger", unit = 10, rating_w = 11000.0, settings = { switches_phases = true } },
  { role = "evse", name = "2", device = "bender_cc613", unit = 11, rating_w = 11000.0 },
]
[[disturbance]]
at = 2016-05-20T10:10:00+02:00
action = "start_programme"
site = "h07"
device = "whitegoodswasher"
programme = "cotton_60"
[[disturbance]]
at = 2016-05-20T10:20:00+02:00
action = "open_door"
site = "h07"
device = "whitegoodswasher"
"""  # noqa: E501


@pytest.fixture
def home(tmp_path: Path) -> Topology:
    path = tmp_path / "mini.toml"
    path.write_text(HOME)
    return load(path)


def test_the_topology_is_sound_and_each_agent_gets_its_settings(home: Topology) -> None:
    assert faults(home) == []
    settings = {
        str(one): settings_of(home, one, agent, {"h07": ("127.0.0.1", 5020)})
        for one in home.entries
        if (agent := Roster()(one.role)) is not None
    }
    washer, dishes = settings["h07.whitegoods.washer"], settings["h07.whitegoods.dishes"]
    assert (washer.unit, washer.rating_w, washer.phases) == (40, 2200.0, (2,))  # type: ignore[attr-defined]
    assert dishes.appliance == "dishwasher"  # type: ignore[attr-defined]
    assert settings["h07.submeter.light"].measures == "switchlight"  # type: ignore[attr-defined]


def test_the_world_builds_and_runs_it(home: Topology) -> None:
    world = World(world_spec(home))
    for _ in range(12 * 60):
        world.step(1.0)
    site = world.sites[0]
    assert site.device("whitegoodswasher").power_w == 120.0
    assert site.device("switchlight").power_w == 200.0
    assert site.device("submeterlight").readings(world._moments["h07"])["power_w"] == 200.0
    for _ in range(10 * 60):
        world.step(1.0)
    assert site.device("whitegoodswasher").power_w < 10.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": {"appliance": "oven"}}, "appliance"),
        ({"settings": {"programme_steps": 3}}, "programme_steps"),
        ({"device": ""}, "has no device"),
    ],
)
def test_a_mistake_is_named(home: Topology, change: dict[str, object], named: str) -> None:
    site = home.site[0]
    agents = tuple(
        msgspec.convert({**msgspec.structs.asdict(one), **change}, AgentEntry) if one.name == "washer" else one
        for one in site.agents
    )
    wrong = msgspec.structs.replace(home, site=(msgspec.structs.replace(site, agents=agents),))
    assert any(named in fault for fault in faults(wrong)), faults(wrong)
