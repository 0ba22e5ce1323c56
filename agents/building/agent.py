"""The manager of a building or quarter over several energy managers: it recommends, never commands."""

from agents.building.follow_prices import FollowPrices
from agents.building.judge_changes import JudgeChanges
from agents.building.keep_report import KeepReport
from agents.building.pass_preferences import PassPreferences
from agents.building.recommend import RecommendSchedules
from agents.building.settings import BuildingSettings
from agents.building.watch_sites import WatchSites
from agents.kit.agent import Agent
from agents.kit.hold_tariffs import HoldTariffs
from contracts.roles import BUILDING

AGENT = Agent(
    role=BUILDING,
    settings=BuildingSettings,
    skills=(WatchSites, JudgeChanges, HoldTariffs, FollowPrices, RecommendSchedules, PassPreferences, KeepReport),
)
