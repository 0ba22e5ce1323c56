"""What a topology may set for a forecaster: where it is, what stands there, and whose weather it knows."""

import msgspec

from agents.kit.agent import Settings


class Plant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a site's PV stands: tilt from the horizontal; azimuth from north over east (180: south)."""

    tilt_deg: float = 30.0
    azimuth_deg: float = 180.0
    yearly_wh: float | None = None
    """The household's consumption of a year."""


class ForecasterSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``weather``: a file as ``agents.forecaster.weather`` reads it; empty: the climate of the place.

    ``loss_share`` is what cables, inverter, soiling and mismatch take of a PV plant's power.
    """

    latitude_deg: float = 51.3
    longitude_deg: float = 9.5
    time_zone: str = "Europe/Berlin"
    weather: str = ""
    plant: Plant = Plant()
    plants: dict[str, Plant] = msgspec.field(default_factory=dict)
    """By site, where it stands otherwise."""
    loss_share: float = 0.14
    yearly_wh: float = 3_500_000.0
    longest_s: float = 8 * 86_400.0
    hub_height_m: float = 100.0
