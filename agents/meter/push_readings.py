"""Push the connection point: to the home oftener, to head-end and control room every 10 s. NG-04, IC-PT-PUC-MGCP."""

from dataclasses import dataclass, field

from agents.kit.skill import hears, skill
from agents.meter.measure import Measure, Sample
from agents.meter.settings import MeterSettings
from bus.bus import Bus, Heard
from bus.envelope import instant
from contracts.device import DeviceReading
from contracts.metering import GcpReading
from contracts.roles import PV

PV_YOUNG_S = 30.0
"""A PV agent's limit that is older says nothing any more."""


@skill(
    says_home=(GcpReading,),
    says_grid=(GcpReading,),
    use_cases=("metering.gcp-push", "metering.gcp-to-cem"),
)
@dataclass
class PushReadings:
    """Every value that is said was read just now: what is due goes out with the next sample.

    The PV feed-in limitation factor is the lowest that the home's PV agents read back from their inverters.
    """

    bus: Bus
    settings: MeterSettings
    measure: Measure
    pv_limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    """PV agent -> limit in percent, run clock of its reading."""
    _home_at: float = float("-inf")
    _grid_at: float = float("-inf")
    _home_w: float = 0.0

    def __post_init__(self) -> None:
        self.measure.listeners.append(self.push)

    @hears(DeviceReading, of=(PV,), where="home")
    def pv_says(self, reading: DeviceReading, heard: Heard) -> None:
        if reading.limit_percent is not None:
            self.pv_limits[str(heard.sender)] = (reading.limit_percent, reading.at.timestamp())

    async def push(self, sample: Sample) -> None:
        slack = self.settings.reading_every_s / 2  # the sample nearest to the due instant, early or late
        changed = abs(sample.power_w - self._home_w) >= self.settings.fast_change_w
        home = changed or sample.at - self._home_at >= self.settings.home_push_s - slack
        grid = sample.at - self._grid_at >= self.settings.grid_push_s - slack
        if not home and not grid:
            return
        reading = self._reading(sample)
        if home:
            self._home_at, self._home_w = sample.at, sample.power_w
            self.bus.say(reading, home=True)
        if grid:
            self._grid_at = sample.at
            self.bus.say(reading, home=False)

    def _reading(self, sample: Sample) -> GcpReading:
        young = [percent for percent, at in self.pv_limits.values() if sample.at - at <= PV_YOUNG_S]
        return GcpReading(
            at=instant(sample.at),
            quality=sample.quality,
            power_w=sample.power_w,
            power_by_phase_w=sample.power_by_phase_w,
            current_by_phase_a=sample.current_by_phase_a,
            voltage_by_phase_v=sample.voltage_by_phase_v,
            frequency_hz=sample.frequency_hz,
            reactive_power_var=sample.reactive_power_var,
            import_wh=sample.import_wh,
            export_wh=sample.export_wh,
            pv_limit_percent=min(young, default=None),
        )
