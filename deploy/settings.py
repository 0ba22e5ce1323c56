"""An agent's settings: what the topology knows of its place, then the role's defaults, then its own."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agents.kit.agent import Agent, Settings
from bus.address import Address
from deploy.topology import Topology, split

Gateways = Mapping[str, tuple[str, int]]
"""Site -> host and port of its Modbus gateway."""
_NAMED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class BadSettings(ValueError):
    """Settings that a role does not take. ``where`` is the field."""

    def __init__(self, address: Address, where: str, cause: str, fields: tuple[str, ...]) -> None:
        known = f"{address.role} takes {', '.join(fields)}" if fields else f"{address.role} takes no settings"
        super().__init__(f"{address}: {f'{where}: ' if where else ''}{cause}: {known}")
        self.address, self.where, self.cause = address, where, cause


def gateways(topology: Topology) -> dict[str, tuple[str, int]]:
    """The gateways of real hardware that the topology names. Raises ValueError for what is not host:port."""
    named = {site.name: site.gateway for site in topology.site} | {"grid": topology.grid.gateway}
    found = {}
    for place, text in named.items():
        if text:
            try:
                found[place] = host_port(text)
            except ValueError as problem:
                raise ValueError(f"{place}: gateway {problem}") from None
    return found


def host_port(text: str) -> tuple[str, int]:
    """Of ``192.0.2.7:502``, ``gateway.example:502`` or ``[2001:db8::7]:502``. Raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_host(host) or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        raise ValueError(f"{text!r} is not host:port")
    if not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} has no port of 1 to 65535")
    return host, int(port)


def _is_host(text: str) -> bool:
    try:
        return bool(_NAMED.match(text)) or ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def facts_of(topology: Topology, address: Address, where: Gateways, data: Path | None = None) -> dict[str, Any]:
    """What the topology itself knows, by the names that settings use for it. ``data``: folder of agents' files."""
    entry = topology.entries[address]
    known: dict[str, Any] = {"area": topology.grid.area, "transformer_va": topology.grid.transformer_va}
    if data is not None:
        known["database"] = str(data / f"{address}.sqlite")
    site = topology.sites.get(address.site)
    if site is not None:
        for name in ("contract_consumption_w", "contract_production_w", "fuse_a"):
            if getattr(site, name):
                known[name] = getattr(site, name)
    if entry.device:
        known["device"] = entry.device
        for name in ("unit", "rating_w", "capacity_wh", "measures"):
            if getattr(entry, name):
                known[name] = getattr(entry, name)
        if entry.phases == 1:
            known["phases"] = (entry.phase,)
        if address.site in where:
            known["host"], known["port"] = where[address.site]
    return known


def settings_of(
    topology: Topology, address: Address, agent: Agent, where: Gateways, data: Path | None = None
) -> Settings:
    """Raises BadSettings."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(agent.settings)}
    chosen = {name: value for name, value in facts_of(topology, address, where, data).items() if name in fields}
    chosen |= topology.settings_of(topology.entries[address])
    try:
        return msgspec.convert(chosen, agent.settings, strict=True)
    except msgspec.ValidationError as problem:
        cause, field = split(problem)
        raise BadSettings(address, field, cause, tuple(fields)) from problem
