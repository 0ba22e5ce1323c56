"""Which energy manager's word a device listens to, at a home that has two."""

from typing import Any, cast

import pytest

from agents.kit.agent import Peers
from agents.kit.join import JoinHome
from bus.address import Address
from bus.bus import Heard
from contracts.device import Announce, Inventory
from contracts.system import Hello

pytestmark = pytest.mark.anyio
OURS, OTHER = Address.parse("h07.cem.main"), Address.parse("h07.cem.other")
CAR = Address.parse("h07.evse.1")
ANNOUNCE = Announce(
    device_class="evse", maker="test", model="test", nominal_lower_w=0.0, nominal_upper_w=11_000.0, functions=(),
    use_cases=(),
)  # fmt: skip


def joined() -> JoinHome:
    """Welcomed by ``OURS``; nothing here speaks, so there is neither bus nor hardware."""
    none = cast(Any, None)
    return JoinHome(none, CAR, none, Peers(()), none, none, joined=True, cem=OURS, _announced=ANNOUNCE)


def from_(sender: Address, at: float) -> Heard:
    return Heard(sender=sender, id="1", at=at, talk=None, trace=None, home=True)


@pytest.mark.parametrize(("sender", "stays"), [(OURS, False), (OTHER, True)])
async def test_only_the_inventory_of_the_one_that_it_joined_makes_it_announce_itself_again(
    sender: Address, stays: bool
) -> None:
    device = joined()
    device.listed(Inventory(devices={}), from_(sender, 0.0))
    assert device.joined is stays


async def test_the_inventory_that_lists_it_changes_nothing() -> None:
    device = joined()
    device.listed(Inventory(devices={str(CAR): ANNOUNCE}), from_(OURS, 0.0))
    assert device.joined


@pytest.mark.parametrize(("sender", "stays"), [(OURS, False), (OTHER, True)])
async def test_a_hello_between_two_others_is_a_new_life_of_the_one_that_it_joined_only(
    sender: Address, stays: bool
) -> None:
    device, hello = joined(), Hello(role="cem", software="test", every_s=10.0)
    device.cem_is_there(hello, from_(OURS, 0.0))
    device.cem_is_there(hello, from_(sender, 4.0))
    assert device.joined is stays
