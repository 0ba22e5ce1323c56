"""A site's gateway: the grid side's way in, which relays without deciding."""

from agents.gateway.advise_devices import AdviseDevices
from agents.gateway.command_device import CommandDevice
from agents.gateway.relay_emergency import GatewaySettings, RelayEmergency
from agents.gateway.relay_prices import RelayPrices
from agents.kit.agent import Agent
from contracts.roles import GATEWAY

AGENT = Agent(
    role=GATEWAY, settings=GatewaySettings, skills=(RelayEmergency, CommandDevice, AdviseDevices, RelayPrices)
)
