"""Which way an order travels to a site: straight to its CEM, or through its gateway."""

from agents.dso.settings import DsoSettings
from agents.kit.agent import Peers
from bus.address import Address
from contracts.operator import SiteOutcome
from contracts.reasons import Reason
from contracts.roles import CEM, GATEWAY


def managers(peers: Peers) -> dict[str, Address]:
    """Site -> the energy manager of its connection point: the first that is named, which its devices join too.

    A topology names one (decision 0038).
    """
    found: dict[str, Address] = {}
    for address in peers.of(CEM):
        found.setdefault(address.site, address)
    return found


def route(settings: DsoSettings, peers: Peers, site: str, *, to_device: bool = False) -> Address | None:
    """Whom to talk to about a site; None when the site is unknown. Single devices are reached through the gateway."""
    by_gateway = to_device or settings.routes.get(site) == GATEWAY.name
    here = [address for address in peers.of(GATEWAY if by_gateway else CEM) if address.site == site]
    if not here and to_device:
        here = [address for address in peers.of(CEM) if address.site == site]
    return here[0] if here else None


def all_sites(peers: Peers) -> tuple[str, ...]:
    return tuple(sorted({address.site for address in peers.of(CEM)}))


def done(site: str, code: str, text: str) -> SiteOutcome:
    return SiteOutcome(site=site, done=True, reason=Reason(code=code, text=text))


def not_done(site: str, code: str, text: str) -> SiteOutcome:
    return SiteOutcome(site=site, done=False, reason=Reason(code=code, text=text))


def unreachable(site: str) -> SiteOutcome:
    return not_done(site, "unknown_site", f"{site} has no CEM or gateway in this topology; check the site's name.")
