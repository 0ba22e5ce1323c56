"""Near and over the contracted power: heard from the meter, and compared by the CEM itself with each reading."""

from dataclasses import dataclass, field
from typing import Literal

from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import hears, skill
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from contracts.emergency import DisplayNotice
from contracts.metering import ContractNotice
from contracts.power_limit import Direction
from contracts.roles import METER

Level = Literal["clear", "warning", "alarm"]


def level_of(power_w: float, contract_w: float, before: Level, warning_share: float, clear_share: float) -> Level:
    """Both powers as magnitudes of one direction. What was raised is cleared only below ``clear_share``."""
    if power_w > contract_w:
        return "alarm"
    if power_w > warning_share * contract_w or (before != "clear" and power_w > clear_share * contract_w):
        return "warning"
    return "clear"


@skill(says_home=(ContractNotice, DisplayNotice), use_cases=("limits.near-limit",))
@dataclass
class FollowContract:
    """IEC-JWG2113-S2: the CEM compares each time; devices and display hear it. NG-03: it holds the meter's notice."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    held: dict[Direction, ContractNotice] = field(default_factory=dict)
    """The latest notice of the meter per direction."""
    _levels: dict[Direction, Level] = field(default_factory=dict)
    _said_at: dict[Direction, float] = field(default_factory=dict)
    _shown: dict[Direction, Level] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.premises.on_meter.append(self._compare)

    @hears(ContractNotice, of=(METER,), where="home")
    def hear_notice(self, notice: ContractNotice, _heard: Heard) -> None:
        direction: Direction = "consumption" if notice.contract_w >= 0 else "production"
        self.held[direction] = notice
        self._show(direction, notice.level, abs(notice.power_w), abs(notice.contract_w))

    def _compare(self) -> None:
        gcp, s = self.premises.gcp, self.settings
        if gcp is None:
            return
        sides: tuple[tuple[Direction, float, float], ...] = (
            ("consumption", 1.0, s.contract_consumption_w),
            ("production", -1.0, s.contract_production_w),
        )
        for direction, sign, contract_w in sides:
            if not contract_w:
                continue
            before = self._levels.get(direction, "clear")
            level = level_of(sign * gcp.power_w, contract_w, before, s.warning_share, s.clear_share)
            again = level != "clear" and self.clock.now() - self._said_at.get(direction, 0.0) >= s.notice_repeat_s
            if level == before and not again:
                continue
            self._levels[direction], self._said_at[direction] = level, self.clock.now()
            notice = ContractNotice(
                level=level,
                metered_at=instant(self.premises.gcp_at),
                power_w=gcp.power_w,
                contract_w=sign * contract_w,
                warning_share=s.warning_share,
            )
            self.bus.say(notice, home=True)
            self._show(direction, level, sign * gcp.power_w, contract_w)

    def _show(self, direction: Direction, level: Level, power_w: float, contract_w: float) -> None:
        """Once per level, whoever noticed first."""
        if self._shown.get(direction, "clear") == level:
            return
        self._shown[direction] = level
        what = {"alarm": "is above", "warning": "is near", "clear": "is well below again"}[level]
        text = f"The {direction} of {power_w:.0f} W {what} the contracted {contract_w:.0f} W."
        self.bus.say(DisplayNotice(kind="info" if level == "clear" else "warning", text=text), home=True)
