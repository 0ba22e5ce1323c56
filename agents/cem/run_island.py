"""The home as an island: own generation and storage carry the load, least important first off. IEC-JWG4.

What shows it is the battery's inverter: it runs, and says that it is not connected to the grid. The connection point
then carries nothing, whatever is wanted: what all devices and the household take together has to come from inside. When
the inverter has synchronised with the grid again, the loads come back after a while, one after the other.
"""

from dataclasses import dataclass, field

from agents.cem.obey_limit import ObeyLimit
from agents.cem.premises import Claim, Premises
from agents.kit.skill import hears, skill
from bus.address import Address
from bus.bus import Bus, Heard
from contracts.device import DeviceReading
from contracts.emergency import DisplayNotice
from contracts.roles import BATTERY

ISLAND = "island"


@skill(says_home=(DisplayNotice,), use_cases=("limits.own-production",))
@dataclass
class RunIsland:
    """Bounds the connection point to nothing while a battery forms the home's own voltage."""

    bus: Bus
    premises: Premises
    obey: ObeyLimit
    alone: bool = False
    _islanded: set[Address] = field(default_factory=set)

    @hears(DeviceReading, of=(BATTERY,), where="home")
    def watch(self, reading: DeviceReading, heard: Heard) -> None:
        if heard.sender not in self.premises.devices or reading.operating in ("off", "fault"):
            return
        if reading.grid_connected is False:
            self._islanded.add(heard.sender)
        else:  # also where it does not say: it says so as long as it is so
            self._islanded.discard(heard.sender)
        alone = bool(self._islanded)
        if alone == self.alone:
            return
        self.alone = alone
        if alone:
            text = (
                "The grid is gone: the battery and what the home generates carry it. What is too much is switched off."
            )
            self.bus.say(DisplayNotice(kind="warning", text=text), home=True)
            self.premises.claim(ISLAND, Claim(why=ISLAND, upper_w=0.0, urgent=True))
        else:
            text = "The home is connected to the grid again: devices come back one after the other."
            self.bus.say(DisplayNotice(kind="info", text=text), home=True)
            self.obey.soft_start()  # before the bound is lifted: nothing comes back at once
            self.premises.claim(ISLAND, None)
