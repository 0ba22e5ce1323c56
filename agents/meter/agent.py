"""A smart meter's agent, at a home's connection point or in the substation."""

from agents.kit.agent import Agent
from agents.kit.hold_tariffs import HoldTariffs
from agents.meter.keep_bands import KeepBands
from agents.meter.keep_load_curve import KeepLoadCurve
from agents.meter.measure import Measure, meter_device
from agents.meter.push_readings import PushReadings
from agents.meter.settings import MeterSettings
from agents.meter.show_prices import ShowPrices
from agents.meter.tell_time import TellTime
from agents.meter.watch_contract import WatchContract
from contracts.roles import METER

AGENT = Agent(
    role=METER,
    settings=MeterSettings,
    skills=(Measure, WatchContract, PushReadings, KeepLoadCurve, KeepBands, TellTime, HoldTariffs, ShowPrices),
    resources=meter_device,
)
