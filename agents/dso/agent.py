"""The control room of one area: sees the grid, guards its limits, orders by hand what an operator orders."""

from agents.dso.announce_grid_fee import AnnounceGridFee
from agents.dso.answer_status import AnswerStatus
from agents.dso.ask_power import AskPower
from agents.dso.call_emergency import CallEmergency
from agents.dso.command_congestion import CommandCongestion
from agents.dso.guard_limits import GuardLimits
from agents.dso.notify_group import NotifyGroup
from agents.dso.plan_limits import PlanLimits
from agents.dso.report_action import ReportAction
from agents.dso.request_help import RequestHelp
from agents.dso.set_bands import SetMeterBands
from agents.dso.settings import DsoSettings
from agents.dso.steer_limits import SteerLimits
from agents.dso.warn_critical import WarnCritical
from agents.dso.watch_grid import WatchGrid
from agents.kit.agent import Agent
from agents.kit.announce_tariffs import AnnounceTariffs
from contracts.roles import DSO

AGENT = Agent(
    role=DSO,
    settings=DsoSettings,
    skills=(
        WatchGrid,
        GuardLimits,
        ReportAction,
        SteerLimits,
        PlanLimits,
        RequestHelp,
        CallEmergency,
        CommandCongestion,
        AskPower,
        NotifyGroup,
        AnnounceTariffs,
        AnnounceGridFee,
        SetMeterBands,
        AnswerStatus,
        WarnCritical,
    ),
)
