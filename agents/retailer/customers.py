"""Who has subscribed to a tariff. Nobody else is ever told of it. IC-FR-PUC8 R1."""

from agents.kit.agent import Peers
from agents.retailer.settings import RetailerSettings
from bus.address import Address


def of_tariff(settings: RetailerSettings, peers: Peers, tariff: str) -> list[Address]:
    """The agents that are told, in the order of the settings."""
    return [
        peer
        for customer in settings.customers
        if not customer.tariffs or tariff in customer.tariffs
        for peer in peers.addresses
        if peer.site == customer.site and peer.role in customer.to
    ]
