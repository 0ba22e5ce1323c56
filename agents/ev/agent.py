"""A car: what it knows of its battery and its driver, and its own plan."""

from agents.ev.plan_charge import PlanCharge
from agents.ev.settings import EvSettings
from agents.ev.watch_charge import WatchCharge
from agents.kit.agent import Agent
from contracts.roles import EV

AGENT = Agent(role=EV, settings=EvSettings, skills=(WatchCharge, PlanCharge))
