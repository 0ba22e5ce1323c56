"""The customer energy manager: one per home, the one owner of its devices' setpoints."""

from agents.cem.act_in_emergency import ActInEmergency
from agents.cem.allow_hand import AllowHand
from agents.cem.answer_request import AnswerRequest
from agents.cem.answer_start import AnswerStart
from agents.cem.carry_out_plan import CarryOutPlan
from agents.cem.expect import Expect
from agents.cem.explain import Explain
from agents.cem.export_less import ExportLess
from agents.cem.follow_contract import FollowContract
from agents.cem.follow_threshold import FollowThreshold
from agents.cem.give_incentive import EncourageDevices
from agents.cem.held_by_hand import HeldByHand
from agents.cem.help_hot_water import HelpHotWater
from agents.cem.join_devices import JoinDevices
from agents.cem.keep_balance import KeepBalance
from agents.cem.keep_envelope import KeepEnvelope
from agents.cem.keep_limits import KeepLimits
from agents.cem.keep_rules import KeepRules
from agents.cem.keep_set_points import KeepSetPoints
from agents.cem.keep_time import KeepTime
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.know_prices import KnowPrices
from agents.cem.learn_heat import LearnHeat
from agents.cem.obey_command import ObeyCommand
from agents.cem.obey_limit import ObeyLimit
from agents.cem.obey_order import ObeyOrder
from agents.cem.own_plans import OwnPlans, PlanAround
from agents.cem.plan_home import PlanHome
from agents.cem.preferences import Preferences
from agents.cem.premises import Premises
from agents.cem.propose_plan import AskLeave
from agents.cem.protect_fuse import ProtectFuse
from agents.cem.report_change import ReportChanges
from agents.cem.report_power import ReportPower
from agents.cem.run_island import RunIsland
from agents.cem.serve_car import ServeCar
from agents.cem.settings import CemSettings
from agents.cem.start_when_green import StartWhenGreen
from agents.cem.steer_devices import SteerDevices
from agents.cem.take_hand import TakeHand
from agents.cem.tell_forecast import TellForecast
from agents.cem.third_parties import ThirdParties
from agents.cem.use_surplus import UseSurplus
from agents.cem.watch_devices import WatchDevices
from agents.cem.weigh_advice import WeighAdvice
from agents.cem.wishes import Wishes
from agents.kit.agent import Agent
from contracts.roles import CEM

AGENT = Agent(
    role=CEM,
    settings=CemSettings,
    skills=(
        Premises,
        Preferences,
        JoinDevices,
        Wishes,
        KeepTime,
        KnowPrices,
        Expect,
        KnowFlexibility,
        LearnHeat,
        ThirdParties,
        KeepEnvelope,
        ObeyOrder,
        ExportLess,
        ProtectFuse,
        SteerDevices,
        UseSurplus,
        KeepLimits,
        ObeyLimit,
        RunIsland,
        ActInEmergency,
        ObeyCommand,
        FollowContract,
        WatchDevices,
        AnswerRequest,
        ReportPower,
        KeepBalance,
        ReportChanges,
        HeldByHand,
        AllowHand,
        TakeHand,
        HelpHotWater,
        KeepRules,
        KeepSetPoints,
        AnswerStart,
        OwnPlans,
        EncourageDevices,
        FollowThreshold,
        StartWhenGreen,
        ServeCar,
        PlanHome,
        PlanAround,
        CarryOutPlan,
        AskLeave,
        Explain,
        WeighAdvice,
        TellForecast,
    ),
)
