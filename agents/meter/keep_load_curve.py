"""Near-real-time blocks every five minutes of the run's clock, numbered, and none lost. NG-05, ENA-07."""

import logging
from dataclasses import dataclass, field

import msgspec

from agents.kit.skill import answers, restores, skill
from agents.meter.measure import Measure, Sample
from agents.meter.settings import MeterSettings
from bus.bus import Bus
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.metering import CheckMeter, MeterStatus, NearRealTime, Quality, meter_check
from contracts.reasons import Reason

log = logging.getLogger("gridparley.meter")


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The block that is open, durable: the registers at its start, read at ``read_at``, outlive a restart.

    ``unsent`` is the block before it until it is recorded. A crash right after that records it again, as it is.
    """

    sequence: int = 1
    start: float
    read_at: float
    import_wh: float
    export_wh: float
    unsent: NearRealTime | None = None


@dataclass
class Means:
    """Mean values since the block began."""

    count: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 5)
    quality: Quality = "measured"

    def add(self, sample: Sample) -> None:
        self.count += 1
        values = (*sample.voltage_by_phase_v, sample.reactive_power_var, sample.frequency_hz)
        self.sums = [total + value for total, value in zip(self.sums, values, strict=True)]
        if sample.quality != "measured":
            self.quality = sample.quality

    def mean(self, n: int) -> float:
        return self.sums[n] / self.count


@skill(says_grid=(NearRealTime,), use_cases=("metering.nrtd",))
@dataclass
class KeepLoadCurve:
    """A block ends with the first sample at or after its boundary and carries the registers of that sample.

    Without samples at a boundary the block goes on until there is one: its energy is right, its length shows the gap.
    """

    bus: Bus
    settings: MeterSettings
    state: State
    measure: Measure
    block: Block | None = None
    means: Means = field(default_factory=Means)

    def __post_init__(self) -> None:
        self.measure.listeners.append(self.take)

    @restores
    async def take_up(self) -> None:
        self.block = await self.state.get("block", Block)

    async def take(self, sample: Sample) -> None:
        self.means.add(sample)
        boundary = sample.at - sample.at % self.settings.block_s
        try:
            await self._send()
            if self.block is None:
                # A start just after a boundary is that boundary's: a run begins on the full minute.
                near = sample.at - boundary <= 2 * self.settings.reading_every_s
                await self._open(sample, 1, boundary if near else sample.at)
            elif boundary > self.block.start:
                await self._close(self.block, sample, boundary)
        except NotStored as problem:
            log.warning("load curve: %s; the block stays open until it can be stored", problem)

    async def _open(self, sample: Sample, sequence: int, start: float, unsent: NearRealTime | None = None) -> None:
        block = Block(
            sequence=sequence,
            start=start,
            read_at=sample.at,
            import_wh=sample.import_wh,
            export_wh=sample.export_wh,
            unsent=unsent,
        )
        await self.measure.keep()
        await self.state.put("block", block)
        self.block, self.means = block, Means()

    async def _close(self, block: Block, sample: Sample, boundary: float) -> None:
        done = self._done(block, sample, boundary - block.start)
        await self._open(sample, block.sequence + 1, boundary, done)
        await self._send()

    async def _send(self) -> None:
        if self.block is not None and self.block.unsent is not None:
            await self.bus.record(self.block.unsent)
            self.block = msgspec.structs.replace(self.block, unsent=None)
            await self.state.put("block", self.block)

    def _done(self, block: Block, sample: Sample, period: float) -> NearRealTime:
        energy = (sample.import_wh - block.import_wh) - (sample.export_wh - block.export_wh)
        whole = period <= self.settings.block_s
        return NearRealTime(
            sequence=block.sequence,
            start=instant(block.start),
            period_s=period,
            quality=self.means.quality if whole else "estimated",
            import_wh=sample.import_wh,
            export_wh=sample.export_wh,
            power_w=energy / (sample.at - block.read_at) * 3600,
            reactive_power_var=self.means.mean(3),
            voltage_by_phase_v=(self.means.mean(0), self.means.mean(1), self.means.mean(2)),
            frequency_hz=self.means.mean(4),
        )

    @answers(meter_check)
    async def on_check(self, talk: Talk, _check: CheckMeter) -> None:
        """The head-end misses a report: look at the device now and say how things are. ENA-07."""
        sample = await self.measure.look()
        latest = self.measure.latest
        reason = Reason(code="ok", text="the device answers")
        if sample is None:
            reason = Reason(code="hardware_silent", text=self.measure.failing, binding="hardware")
        await talk.say(
            MeterStatus(
                device_answers=sample is not None,
                last_reading_at=None if latest is None else instant(latest.at),
                next_sequence=1 if self.block is None else self.block.sequence,
                reason=reason,
            )
        )
