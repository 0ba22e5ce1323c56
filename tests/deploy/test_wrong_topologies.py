"""Topologies that strangers write: names, addresses and numbers that would break something later are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deploy.render.cli import app
from deploy.settings import host_port
from deploy.topology import TopologyError, find, load
from deploy.topology_faults import faults

PAIR = find("pair").read_text()


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """A file of `pair` in which texts are replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = PAIR
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    "name", ["ca", "authority", "links", "field", "hardware", "desk", "world", "lines", "substation", "all", "hub-1"]
)
def test_a_site_is_not_called_like_something_else(written: Callable[..., Path], name: str) -> None:
    (fault,) = faults(load(written(('name = "h08"', f'name = "{name}"'))))
    assert fault.startswith(f"site[1] ({name})")
    assert "something else is called so" in fault


def test_a_connection_point_has_one_energy_manager(written: Callable[..., Path]) -> None:
    meter = '{ role = "meter", name = "main", device = "eastron_sdm630"'
    second = '{ role = "cem", name = "other" },'
    (fault,) = faults(load(written((meter, f"{second}\n  {meter}"))))
    assert fault.startswith("site[1] (h08)")
    assert "has 2 energy managers (cem.main, cem.other)" in fault
    assert "Keep one" in fault


@pytest.mark.parametrize("name", ["-h08", "h" * 59, "h08\\n", "h.08", "", "\u0661"])
def test_a_name_that_would_be_an_option_or_no_hosts_is_refused_for_sites_and_agents(
    written: Callable[..., Path], name: str
) -> None:
    for old in ('name = "h08"', 'name = "north"'):
        found = faults(load(written((old, f'name = "{name}"'))))
        assert found
        assert "cannot be used. Write a-z, 0-9, _ and -, at most 58" in found[0]


def test_long_names_and_names_of_digits_are_names(written: Callable[..., Path]) -> None:
    for name in ("h" * 58, "123", "h-9_0", "yes"):
        assert faults(load(written(('name = "h08"', f'name = "{name}"')))) == []


@pytest.mark.parametrize(
    "text",
    [
        *("nohost", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:502222", ":502", "h:-1", "h:5\u00b2"),
        *("h:\u0665", "http://h:502", "a b:502", "$HOME:502", "h;rm:502", "-h:502", "[h]:502:", "[]:502", "h:502\n"),
    ],
)
def test_what_is_no_address_of_a_gateway_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not host:port|has no port of 1 to 65535"):
        host_port(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.7:502", ("192.0.2.7", 502)),
        ("line-h07:5020", ("line-h07", 5020)),
        ("gateway.h07.example:1502", ("gateway.h07.example", 1502)),
        ("[2001:db8::7]:502", ("2001:db8::7", 502)),
        ("my_box:65535", ("my_box", 65_535)),
    ],
)
def test_names_and_addresses_are_read(text: str, meant: tuple[str, int]) -> None:
    assert host_port(text) == meant


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("fuse_a = 63.0", "fuse_a = nan", "site[0].fuse_a"),
        ("transformer_va = 18000.0", "transformer_va = inf", "grid.transformer_va"),
        ("speed = 10.0", "speed = nan", "run.speed"),
        ("grid_push_s = 5.0", "grid_push_s = -inf", "grid.agents[2].settings.grid_push_s"),
        ("tick_s = 5.0", "tick_s = nan", "defaults.cem.tick_s"),
    ],
)
def test_a_number_without_end_is_refused_where_it_stands(
    written: Callable[..., Path], old: str, new: str, where: str
) -> None:
    with pytest.raises(TopologyError, match="is no finite number") as told:
        load(written((old, new)))
    assert told.value.where == where


def test_hardware_of_the_grid_side_without_gateway_is_not_rendered_when_nothing_simulates_it(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    path = written(("bus = 7\n", 'gateway = "10.0.0.7:502"\n'), ("bus = 8\n", 'gateway = "10.0.0.8:502"\n'))
    path.write_text(path.read_text().partition("[[disturbance]]")[0])
    told = CliRunner().invoke(app, ["compose", str(path), "--folder", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "grid: has hardware, but no gateway" in told.output


def test_a_topology_of_any_name_is_a_project_of_compose(written: Callable[..., Path], tmp_path: Path) -> None:
    for name, project in (("Two Homes", "two-homes"), ("../Stra\u00dfe 7", "stra-e-7"), ("\u8def", "gridparley")):
        path = written(('name = "pair"', f'name = "{name}"'))
        told = CliRunner().invoke(app, ["compose", str(path), "--folder", str(tmp_path / "out")])
        assert told.exit_code == 0, told.output
        assert yaml.safe_load(told.stdout)["name"] == project
