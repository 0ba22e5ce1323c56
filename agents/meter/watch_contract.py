"""Warn near the contract and alarm above it, with the very sample that crossed. NG-03, IC-IT-PUC-5C."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from agents.kit.skill import skill
from agents.meter.measure import Measure, Sample
from agents.meter.settings import MeterSettings
from bus.bus import Bus
from bus.envelope import instant
from contracts.metering import ContractNotice

Level = Literal["clear", "warning", "alarm"]
_RANK: dict[Level, int] = {"clear": 0, "warning": 1, "alarm": 2}


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """One direction: the level that stands and when it was said last (run clock)."""

    level: Level = "clear"
    said_at: float = float("-inf")


def step(watch: Watch, power_w: float, contract_w: float, at: float, settings: MeterSettings) -> tuple[Watch, bool]:
    """The watch after a sample and whether a notice is due. Pure; both powers are magnitudes of one direction.

    A level is entered at its threshold (warning: at its share or above; alarm: above the contract) and left by
    ``clear_share`` below it. What stands is repeated; clear is said once; below the share nothing is ever said.
    """
    share = power_w / contract_w
    back = settings.clear_share
    level: Level = "alarm" if share > 1 else "warning" if share >= settings.warning_share else "clear"
    if _RANK[level] < _RANK[watch.level]:
        if watch.level == "alarm" and share > 1 - back:
            level = "alarm"
        elif share >= settings.warning_share - back:
            level = "warning"
    changed = level != watch.level
    again = level != "clear" and at - watch.said_at >= settings.repeat_every_s
    if changed or again:
        return Watch(level=level, said_at=at), True
    return watch, False


@skill(says_home=(ContractNotice,), use_cases=("limits.near-limit",))
@dataclass
class WatchContract:
    """Both directions, as far as there is a contract; production's figures are negative, as everywhere."""

    bus: Bus
    settings: MeterSettings
    measure: Measure
    watches: dict[int, Watch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # First of all listeners: the notice must not wait for anything that is stored.
        self.measure.listeners.insert(0, self.watch)

    @property
    def _production_w(self) -> float:
        return self.settings.contract_production_w if self.settings.watch_production else 0.0

    async def watch(self, sample: Sample) -> None:
        for sign, contract_w in ((1, self.settings.contract_consumption_w), (-1, self._production_w)):
            if contract_w <= 0:
                continue
            before = self.watches.get(sign, Watch())
            self.watches[sign], due = step(before, sign * sample.power_w, contract_w, sample.at, self.settings)
            if due:
                self._say(sample, self.watches[sign].level, sign * contract_w)

    def _say(self, sample: Sample, level: Level, contract_w: float) -> None:
        notice = ContractNotice(
            level=level,
            metered_at=instant(sample.at),
            power_w=sample.power_w,
            contract_w=contract_w,
            warning_share=self.settings.warning_share,
        )
        self.bus.say(notice, home=True)
