"""What a meter can be told."""

from agents.kit.agent import Settings
from contracts.metering import GRID_PUSH_S, HOME_PUSH_S, NRTD_S


class MeterSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One meter at one connection point.

    port, unit              None: as the product is delivered
    reading_every_s         how often the device is read; a near-limit notice is never later than this
    home_push_s             CEM and display get the connection point this often (IC-PT-PUC-MGCP), and
    fast_change_w           at once when power has changed by so much: the faster, the oftener (IEC-JWG2111-S2)
    grid_push_s             head-end and control room get it this often (NG-04); a substation's meter is set to 5
    block_s                 length of a block of the load curve (NG-05: at most 300)
    contract_consumption_w  0: no contract is watched
    contract_production_w   a magnitude; watched only with
    watch_production        set, as feeding in all that was agreed is no reason to warn anybody
    warning_share           of the contract, from which a warning is due
    clear_share             of the contract, by which power has to fall below a threshold to leave it
    repeat_every_s          a warning or alarm that stands is said again
    fuse_a                  per phase; no reading can be more than twice that. None: no bound but a megawatt
    tariff_repeat_s         register in force and prices are said again, for who has come since
    cem_off_by_s            an energy manager whose stamps are further off is told the time (IEC-WGSP2141-2),
    sync_again_s            again after so long
    """

    host: str = "127.0.0.1"
    port: int | None = None
    unit: int | None = None
    device: str = "eastron_sdm630"
    reading_every_s: float = 1.0
    home_push_s: float = HOME_PUSH_S
    fast_change_w: float = 500.0
    grid_push_s: float = GRID_PUSH_S
    block_s: float = NRTD_S
    contract_consumption_w: float = 0.0
    contract_production_w: float = 0.0
    watch_production: bool = False
    warning_share: float = 0.9
    clear_share: float = 0.05
    repeat_every_s: float = 60.0
    fuse_a: float | None = None
    tariff_repeat_s: float = 900.0
    cem_off_by_s: float = 5.0
    sync_again_s: float = 900.0

    @property
    def most_w(self) -> float:
        """What no reading here can exceed: beyond it is a fault of the device, not power."""
        return 1e6 if self.fuse_a is None else 2 * 3 * 230.0 * self.fuse_a
