"""Which energy manager the control room talks to."""

from agents.dso.routes import managers
from agents.kit.agent import Peers
from bus.address import Address


def test_of_two_energy_managers_the_first_is_taken_as_its_devices_take_it() -> None:
    named = ("h08.cem.main", "h07.cem.main", "h07.cem.other", "h07.gateway.main")
    assert managers(Peers(addresses=tuple(map(Address.parse, named)))) == {
        "h08": Address.parse("h08.cem.main"),
        "h07": Address.parse("h07.cem.main"),
    }
