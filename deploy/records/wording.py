"""Words in plain words: one line per event for console and log. None for what is routine."""

from contracts.device import DeviceWarning
from contracts.emergency import (
    BeginEmergency,
    CommandRefused,
    ControlCommand,
    EmergencyRefused,
    EndEmergency,
)
from contracts.grid_state import (
    ActionReport,
    AdjustmentAgreed,
    AdjustmentDeclined,
    AskAdjustment,
    GridState,
    VoltageNotice,
)
from contracts.kit import Message
from contracts.metering import ContractNotice, ReportMissing
from contracts.power_limit import FailsafeRefused, LimitAccepted, LimitRefused, LimitState, SetLimit
from contracts.system import GroupMessage, Refusal

SIDES = {"consumption": "consumption", "production": "feed-in"}


def kw(watts: float) -> str:
    """``-31.4 kW``: signed, one decimal."""
    return f"{watts / 1000:.1f} kW".replace("-0.0 ", "0.0 ")


def who(address: str) -> str:
    """An agent as people say it: a home by its site, the grid side by its role, a meter there by its name."""
    parts = address.split(".")
    if len(parts) != 3:  # a name inside of a word is whatever its sender wrote
        return address
    site, role, name = parts
    if site != "grid":
        return site if role == "cem" else f"{site} {role}"
    return name if role == "meter" else role.upper()


def in_plain_words(message: Message, sender: str, receiver: str | None) -> str | None:
    """What happened, in one line with cause; None for readings, heartbeats and other routine."""
    me = who(sender)
    you = who(receiver) if receiver else ""
    match message:
        case SetLimit(active=False):
            return f"{me} lifts the {SIDES[message.direction]} limit of {you}: {message.reason.text}"
        case SetLimit(limit_w=None):
            slots = len(message.profile)
            return f"{me} limits {you} {SIDES[message.direction]} by a profile of {slots} slots: {message.reason.text}"
        case SetLimit(limit_w=float() as limit):
            return f"{me} limits {you} {SIDES[message.direction]} to {kw(limit)}: {message.reason.text}"
        case LimitAccepted(limit_w=None):
            return f"{me} is free again ({SIDES[message.direction]})"
        case LimitAccepted(limit_w=float() as limit):
            shares = ", ".join(f"{one.device.split('.', 1)[-1]} {kw(one.share_w)}" for one in message.shares)
            return f"{me} accepts {SIDES[message.direction]} {kw(limit)}" + (f": {shares}" if shares else "")
        case LimitRefused():
            return f"{me} refuses the {SIDES[message.direction]} limit: {message.reason.text}"
        case FailsafeRefused():
            return f"{me} refuses the failsafe values: {message.reason.text}"
        case LimitState():
            return f"{me} {message.state.replace('_', ' ')}: {message.reason.text}"
        case GridState():
            return f"grid state {message.phase} at {message.loading_percent:.0f} %: {message.reason.text}"
        case AskAdjustment():
            return f"{me} asks {you} for {kw(message.change_w)}: {message.reason.text}"
        case AdjustmentAgreed():
            return f"{me} agrees to {kw(message.change_w)}: {message.reason.text}"
        case AdjustmentDeclined():
            return f"{me} declines: {message.reason.text}"
        case ActionReport():
            verdict = "worked" if message.worked else "did not work"
            return f"{message.kind} {verdict}: {kw(message.before_w)} to {kw(message.after_w)}, {message.reason.text}"
        case VoltageNotice(cleared=True):
            return f"voltage back inside at {message.location}: {message.voltage_v:.1f} V"
        case VoltageNotice():
            band = f"{message.lower_v:.0f} to {message.upper_v:.0f} V"
            return f"voltage at {message.location} is {message.voltage_v:.1f} V, outside of {band}"
        case ContractNotice(level="clear"):
            return f"{me}: back below the contract, {kw(message.power_w)} of {kw(message.contract_w)}"
        case ContractNotice():
            return f"{me}: contract {message.level}, {kw(message.power_w)} of {kw(message.contract_w)}"
        case BeginEmergency():
            return f"{me} declares an emergency to {you} ({message.level}): {message.reason.text}"
        case EndEmergency():
            return f"{me} ends the emergency for {you}"
        case EmergencyRefused() | CommandRefused():
            return f"{me} refuses: {message.reason.text}"
        case ControlCommand():
            what = f" for {message.device}" if message.device else ""
            return f"{me} commands {message.kind}{what} at {you}: {message.reason.text}"
        case ReportMissing():
            return f"report of {who(message.meter)} " + ("is back" if message.cleared else "is missing")
        case DeviceWarning():
            return f"{me}: {message.device} " + ("is back" if message.cleared else f"warns: {message.reason.text}")
        case GroupMessage():
            return f"{me} to its group: {message.text}"
        case Refusal():
            return f"{me} turns away a word of {you}: {message.reason.text}"
        case _:
            return None
