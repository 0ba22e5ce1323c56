"""A deployment's folder gives each container what is its own, and says who has to be made anew."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from bus.address import Address
from deploy.fleet.config import adopt
from deploy.fleet.fleet import Fleet
from deploy.render.compose import Compose, Images
from deploy.render.deployment import CannotDeploy, Deployment, prepare
from deploy.topology import find

IMAGES = Images(actor="a", world="w", nats="n")
FIELD = "tls://hub.example:7422"


def written(folder: Path, name: str = "mine.toml", more: str = "", *, real: bool = False) -> str:
    """A topology of our own: ``pair`` with more homes, or with real gateways."""
    text = find("pair").read_text()
    if real:
        text = text[: text.index("[[disturbance]]")].replace(
            'feeder = "simbench:1-LV-rural1--2-sw"', 'gateway = "10.0.0.1:502"'
        )
        for bus in (7, 8):
            text = text.replace(f"bus = {bus}\n", f'gateway = "10.0.0.{bus}:502"\n')
    path = folder / name
    path.write_text(text + more)
    return str(path)


HOME = """
[[site]]
name = "h09"
bus = 9
agents = [
  { role = "cem", name = "main" },
  { role = "meter", name = "main", device = "eastron_sdm630", unit = 1 },
]
"""


def facts(deployment: Deployment) -> dict[Address, str]:
    return {address: deployment.facts_of(address) for address in deployment.agents}


def test_each_container_is_given_its_own_seed_and_the_authority_alone(tmp_path: Path) -> None:
    made = prepare("pair", tmp_path / "d")
    own = tmp_path / "d" / "agents"
    assert {path.name for path in own.iterdir()} >= {str(address) for address in made.agents}
    for folder in own.iterdir():
        files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        assert files == {Path(f"keys/{folder.name}.nk"), Path("tls/ca.pem")}


def test_the_folder_is_closed_to_others_and_to_git(tmp_path: Path) -> None:
    folder = prepare("pair", tmp_path / "d").folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text().splitlines()[-1] == "*"
    for seed in (folder / "keys").iterdir():
        assert stat.S_IMODE(seed.stat().st_mode) == 0o600


def test_rendering_again_keeps_every_key(tmp_path: Path) -> None:
    before = {p.name: p.read_text() for p in prepare("pair", tmp_path / "d").keys.folder.iterdir()}
    assert {p.name: p.read_text() for p in prepare("pair", tmp_path / "d").keys.folder.iterdir()} == before


def test_a_new_home_makes_anew_who_may_speak_with_it_and_no_other_home(tmp_path: Path) -> None:
    before = facts(prepare(written(tmp_path, "a.toml"), tmp_path / "d"))
    after = facts(prepare(written(tmp_path, "b.toml", HOME), tmp_path / "d"))
    told = {str(address) for address in before if before[address] != after[address]}
    assert "grid.dso.north" in told
    assert not [name for name in told if not name.startswith("grid.")]


def test_a_part_alone_has_only_its_own_and_a_way_to_the_hub(tmp_path: Path) -> None:
    made = prepare(written(tmp_path, real=True), tmp_path / "d", hub_url=FIELD)
    home = yaml.safe_load(Compose(made, IMAGES, made.folder, ("h07",)).text())
    assert {name.split(".")[0] for name in home["services"] if "." in name} == {"h07"}
    assert {name for name in home["services"] if name.startswith("nats")} == {"nats-h07"}
    assert FIELD in (made.folder / "servers/h07/nats.conf").read_text()
    assert not [one for one in home["services"].values() if "ports" in one and "profiles" not in one]
    grid = yaml.safe_load(Compose(made, IMAGES, made.folder, ("grid",)).text())
    assert [one["ports"] for one in grid["services"].values() if "ports" in one and "profiles" not in one] == [
        ["7422:7422"]
    ]


@pytest.mark.parametrize(("only", "cause"), [(("h07",), "one machine"), (("h99",), "no place h99")])
def test_a_part_that_cannot_stand_alone_is_refused(tmp_path: Path, only: tuple[str, ...], cause: str) -> None:
    made = prepare("pair", tmp_path / "d")
    with pytest.raises(CannotDeploy, match=cause):
        Compose(made, IMAGES, made.folder, only)


@pytest.mark.parametrize("url", ["hub.example", "nats://hub.example:7422", "tls://hub.example", "wss://:443"])
def test_a_hub_that_nobody_finds_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(CannotDeploy, match="hub's URL"):
        prepare("pair", tmp_path / "d", hub_url=url)


def test_in_a_fleet_grid_side_containers_are_given_their_jwt_and_rendering_again_leaves_it_a_fleet(
    tmp_path: Path,
) -> None:
    made = prepare("pair", tmp_path / "d")
    fleet = Fleet.found(tmp_path / "fleet", made.permissions)
    adopt(fleet, made.permissions, made.folder)
    own = made.folder / "agents/grid.dso.north/keys"
    assert (own / "grid.dso.north.jwt").exists()
    assert not list((made.folder / "agents/h07.cem.main/keys").glob("*.jwt"))
    again = prepare("pair", tmp_path / "d")
    assert "resolver" in (again.folder / "servers/hub/nats.conf").read_text()


def services(made: Deployment) -> dict[str, Any]:
    return yaml.safe_load(Compose(made, IMAGES, made.folder).text())["services"]  # type: ignore[no-any-return]


def test_what_is_said_at_home_stays_there_unless_it_is_asked_for(tmp_path: Path) -> None:
    made = prepare("home", tmp_path / "d")
    assert not [name for name in services(made) if name.startswith("record-")]
    assert not list((tmp_path / "d" / "agents").glob("h*.ops.recorder"))


def test_a_home_that_is_recorded_is_heard_at_its_own_server_alone(tmp_path: Path) -> None:
    made = prepare("home", tmp_path / "d", record_homes=True)
    having = [one.site for one, _ in made.topology.entries.items() if one.role == "ops" and one.site != "grid"]
    assert having
    every = services(made)
    assert {name for name in every if name.startswith("record-")} == {f"record-{site}" for site in having}
    for site in having:
        one = every[f"record-{site}"]
        assert one["command"] == ["record", "--out", "/records", "--site", site]
        assert one["networks"] == [site]
        assert one["environment"]["GRIDPARLEY_NATS"] == made.url_of(made.server_of(Address(site, "ops", "recorder")))
        assert set(one["depends_on"]) == {f"provision-{site}"}
        own = tmp_path / "d" / "agents" / f"{site}.ops.recorder"
        assert [path.name for path in (own / "keys").iterdir()] == [f"{site}.ops.recorder.nk"]
        assert "records:/records" in one["volumes"], "where the run's records are read from"
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]


def test_a_topology_whose_homes_have_no_recorder_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(CannotDeploy, match="no home of pair is to be recorded: add"):
        prepare("pair", tmp_path / "d", record_homes=True)
