"""What a world is made of. The launcher fills it from a topology; ``world.street`` fills it from SimBench."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

DeviceKind = Literal[
    "heatpump",
    "evse",
    "pv",
    "battery",
    "whitegoods",
    "waterheater",
    "hvac",
    "fuelcell",
    "switch",
    "submeter",
]
Action = Literal[
    "plug_in",
    "unplug",
    "start_programme",
    "open_door",
    "load",
    "blackout",
    "restore",
    "fault",
    "clear_fault",
]


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One controllable device of a site.

    name           of the device within its site, such as ``evse1``; also a column of the truth log
    product        device file by name or path
    unit           Modbus unit at the site's gateway
    rating_w       electrical rating, a magnitude
    rating_var     reactive power at the rating, + = inductive
    profile        SimBench profile; for a charging point empty means that cars come by events only
    phases         1 or 3
    phase          the one that a single-phase device hangs on; None: drawn from the seed
    capacity_wh, efficiency_share, self_discharge_percent_per_day  of a battery
    soc_percent    of a battery at the start; one that has served a house without PV is at its reserve
    backup         of a battery: it carries its site as an island while the street is dark
    silence_s      setting of the device: after so long without its master it goes into its own safe state (0: never). A
                   charging point that nobody reads then gives ``failsafe_a`` per phase; a battery or heat pump that
                   nobody writes to works for itself again
    measures       of a submeter: the device whose circuit it measures; empty: one that nobody controls
    """

    name: str
    kind: DeviceKind
    product: str
    unit: int
    rating_w: float
    rating_var: float = 0.0
    profile: str = ""
    phases: Literal[1, 3] = 3
    phase: Literal[1, 2, 3] | None = None
    capacity_wh: float = 0.0
    efficiency_share: float = 0.95
    self_discharge_percent_per_day: float = 0.13
    backup: bool = False
    soc_percent: float = 5.0
    silence_s: float = 0.0
    failsafe_a: float = 0.0
    measures: str = ""


class HouseholdSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a customer draws without being asked: a profile of one times its peak."""

    profile: str
    power_w: float
    reactive_var: float = 0.0


class MeterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A meter: device file and Modbus unit at its site's gateway."""

    product: str
    unit: int = 1


class SiteSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer: connection point, meter, household, devices.

    bus         of the grid
    port        TCP port of the site's gateway; 0 takes a free one
    contract_w  contracted import, a magnitude; the world does not enforce it
    fuse_a      per phase; the world lets it hold
    """

    name: str
    bus: int
    meter: MeterSpec
    household: HouseholdSpec
    devices: tuple[DeviceSpec, ...] = ()
    port: int = 0
    contract_w: float = 0.0
    fuse_a: float = 0.0


class SubstationSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The transformer's own meter, on the low side. ``rated_va``: what 100 % of load is; 0: the grid's own rating."""

    name: str
    meter: MeterSpec
    port: int = 0
    rated_va: float = 0.0


class EventSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happens from outside.

    plug_in          a car at ``site``/``device`` wants ``energy_wh`` and stays ``stays_s``
    unplug           the car at ``site``/``device`` goes
    start_programme  ``programme`` (``world.physics.appliance.PROGRAMMES``) at ``site``/``device``; without a device a
                     ``dishwasher`` or ``washing_machine`` of the household that nobody controls
    open_door        of ``site``/``device``: its programme is over
    load             ``power_w`` more at ``site`` on ``phase`` (1..3; 0 = all) for ``stays_s``
    blackout         no voltage in the whole street, until ``restore``; an overload beyond all voltages does the same
    fault            ``fault`` (``world.live.FAULTS``) in the registers of ``site``/``device``, until ``clear_fault``;
                     the device ``meter`` is the site's meter
    """

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    action: Action
    site: str = ""
    device: str = ""
    energy_wh: float = 0.0
    capacity_wh: float = 60_000.0
    stays_s: float = 14_400.0
    programme: str = ""
    power_w: float = 0.0
    phase: Literal[0, 1, 2, 3] = 0
    fault: str = ""


class WorldSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A street for a run.

    start        instant of the first step, with its time zone
    step_s       length of a step, run time
    log_every_s  distance of two rows of the truth log, run time
    """

    start: Annotated[datetime, msgspec.Meta(tz=True)]
    seed: int
    sites: tuple[SiteSpec, ...]
    substation: SubstationSpec
    events: tuple[EventSpec, ...] = ()
    step_s: float = 1.0
    log_every_s: float = 10.0
    host: str = "127.0.0.1"


class WorldError(Exception):
    """A specification or an event that the world cannot carry out. ``where`` names the site or device."""

    def __init__(self, where: str, cause: str) -> None:
        self.where, self.cause = where, cause
        super().__init__(f"{where}: {cause}")
