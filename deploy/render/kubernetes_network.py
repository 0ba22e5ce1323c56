"""Who may reach whom in a cluster: nobody, but for the connections that a deployment needs."""

import ipaddress

from deploy.nats.places import CLIENT, ROUTES
from deploy.render.compose import MODBUS
from deploy.render.deployment import HEALTH
from deploy.render.kubernetes_nats import has_cluster, link_port, links_from_outside
from deploy.render.kubernetes_parts import FIGURES, Object, Plan, named, place_of, thing
from deploy.render.kubernetes_pods import SPANS
from deploy.topology import GRID, HUB
from deploy.world_spec import modbus_port

Peers = list[Object] | None
"""None: anybody."""
_SIGNED_IN = ("agent", "provision", "record")
_NAMING = ("agent", "line", "nats", "provision", "record")
"""Who looks up names: the world and the clock call nobody."""


def policies(plan: Plan) -> list[Object]:
    """Two for each connection, one at either end, besides the one that forbids everything."""
    found = [
        _policy("default-deny", {}, policyTypes=["Ingress", "Egress"]),
        _policy("names", _is(*_NAMING), egress=[_name_server()]),
        _policy("metrics", _is(*FIGURES), ingress=[_rule("from", [_namespace(plan.monitoring)], HEALTH)]),
        *_spans(plan),
        *_hub(plan),
    ]
    for place in plan.places:
        server = _is("nats", place=place)
        clients = _is(*_SIGNED_IN, place=place)
        found += _way(named("clients", place), clients, server, CLIENT)
    for site in plan.sites:
        found += _way(named("link", site), _is("nats", place=site), _is("nats", place=GRID), link_port(plan))
    for place, hardware in plan.lines.items():
        line = _is("line", place=place)
        found += _way(named("hardware", place), _is("agent", place=place, hardware="line"), line, MODBUS)
        if hardware:
            host, _, number = hardware.rpartition(":")
            found.append(_policy(named("gateway", place), line, egress=[_rule("to", _outside(host), int(number))]))
        else:
            port = modbus_port(plan.deployment.topology, place)
            found += _way(named("gateway", place), line, _is("world"), port)
    return found


def _hub(plan: Plan) -> list[Object]:
    """Its servers among themselves, and sites that are elsewhere."""
    hub = _is("nats", place=place_of(HUB))
    found = _way("routes", hub, hub, ROUTES) if has_cluster(plan) else []
    if links_from_outside(plan):
        found.append(_policy("links-from-outside", hub, ingress=[_rule("from", None, link_port(plan))]))
    return found


def _spans(plan: Plan) -> list[Object]:
    senders = _is("agent")
    if plan.jaeger:
        return _way("spans", senders, _is("jaeger"), SPANS["otlp-http"])
    if plan.otlp:
        namespace, port = plan.collector
        return [_policy("spans", senders, egress=[_rule("to", [_namespace(namespace)], port)])]
    return []


# -------------------------------------------------------------------- forms


def _is(*components: str, **more: str) -> Object:
    """Selects pods of these components, and with these labels of ours."""
    labelled = {f"gridparley/{name}": value for name, value in more.items()}
    if len(components) == 1:
        return {"matchLabels": {"app.kubernetes.io/component": components[0], **labelled}}
    among = {"key": "app.kubernetes.io/component", "operator": "In", "values": list(components)}
    return {"matchExpressions": [among], **({"matchLabels": labelled} if labelled else {})}


def _way(name: str, who: Object, to: Object, port: int) -> list[Object]:
    """Both ends of one connection."""
    return [
        _policy(f"{name}-out", who, egress=[_rule("to", [{"podSelector": to}], port)]),
        _policy(f"{name}-in", to, ingress=[_rule("from", [{"podSelector": who}], port)]),
    ]


def _rule(end: str, peers: Peers, port: int, protocols: tuple[str, ...] = ("TCP",)) -> Object:
    ports = [{"protocol": protocol, "port": port} for protocol in protocols]
    return {**({end: peers} if peers is not None else {}), "ports": ports}


def _name_server() -> Object:
    there = {**_namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    return _rule("to", [there], 53, ("UDP", "TCP"))


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _outside(host: str) -> Peers:
    """A policy knows addresses, no names: hardware that has a name may be anywhere, at its port."""
    try:
        return [{"ipBlock": {"cidr": str(ipaddress.ip_network(host))}}]
    except ValueError:
        return None


def _policy(name: str, who: Object, **rules: object) -> Object:
    kinds = rules.pop("policyTypes", None) or [{"egress": "Egress", "ingress": "Ingress"}[end] for end in rules]
    return thing(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        {"app.kubernetes.io/name": "gridparley"},
        spec={"podSelector": who, "policyTypes": kinds, **rules},
    )
