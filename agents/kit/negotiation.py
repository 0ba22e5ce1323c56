"""The skills by which a device agent negotiates, in the order in which they need one another."""

from agents.kit.announce_start import AskToStart
from agents.kit.do_job import DoJob
from agents.kit.negotiate import Negotiate
from agents.kit.plan_itself import PlanItself
from agents.kit.tell_flexibility import TellFlexibility

NEGOTIATION: tuple[type, ...] = (AskToStart, DoJob, TellFlexibility, Negotiate, PlanItself)
"""After the class's own `Offers`, which they need."""
