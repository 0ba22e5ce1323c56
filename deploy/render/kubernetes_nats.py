"""NATS in a cluster: the hub as a StatefulSet of one, three or five, each site's server as one of its own."""

from pathlib import Path

from deploy.nats.places import CLIENT, LEAVES, MONITOR, MOUNT, ROUTES, STORE, WEBSOCKET, Hosts, Place
from deploy.nats.provision import consumers, streams
from deploy.render.deployment import CannotDeploy, digest
from deploy.render.kubernetes_parts import (
    KEYS,
    Memory,
    Object,
    Plan,
    claim,
    container,
    labels,
    mounted,
    named,
    our_volumes,
    ours,
    place_of,
    pod,
    service,
    signed_in,
    thing,
)
from deploy.topology import HUB

PEERS = "nats-hub-peers"
"""The headless service that gives each server of the hub a name of its own."""
OUTSIDE = "nats-hub-links"
HEALTHY = ["python3", "-I", "-S", "/app/healthy.py"]
"""Caught up with its cluster? Asked in the pod: NATS' monitor wants no credential, so it is on loopback alone."""
ALIVE = ["python3", "-I", "-S", "-c", (Path(__file__).parent / "kubernetes_alive.py").read_text()]
"""Is it beyond help but for a new start? A server without a majority is not."""
_STORAGE = "3Gi"
"""More than ``max_file`` of the configuration: JetStream refuses before the disk is full."""
_MEMORY = {True: Memory(192, 512, 100), False: Memory(64, 256, 20)}


def hosts(namespace: str) -> Hosts:
    """Names of servers in a cluster; certificates name each short, with its namespace, and in full."""

    def aliases(host: str) -> tuple[str, ...]:
        return tuple(f"{host}.{namespace}{rest}" for rest in ("", ".svc", ".svc.cluster.local"))

    def member(index: int) -> str:
        return f"{server_name(HUB)}-{index}.{PEERS}"

    return Hosts(of=server_name, member=member, name=lambda _: "$POD_NAME", aliases=aliases)


def server_name(server: str) -> str:
    """The StatefulSet of a server and the service that its clients connect to."""
    return named("nats", server)


def links_from_outside(plan: Plan) -> str:
    """Where sites find the hub, if that is not in the cluster; else empty. Raises CannotDeploy for sites that are."""
    hub = server_name(HUB)
    for place in plan.deployment.places:
        for url in place.hubs:
            host = url.rpartition("/")[2].rpartition(":")[0]
            if host == hub or host.endswith(f".{PEERS}"):
                continue
            if plan.sites:
                raise CannotDeploy(
                    f"the links of {', '.join(plan.sites)} go to {url}, which is outside of the cluster: "
                    "render with --sites none and run the sites where they are, or leave out --hub-url"
                )
            if _members(plan)[0].websocket and not url.startswith("wss://"):
                raise CannotDeploy(f"over WebSocket a link's URL begins with wss://, not as in {url}")
            return url
    return ""


def _members(plan: Plan) -> list[Place]:
    """The servers of the hub."""
    return [place for place in plan.deployment.places if place.server == HUB]


def has_cluster(plan: Plan) -> bool:
    """Whether the hub's servers speak to each other."""
    return len(_members(plan)) > 1


def link_port(plan: Plan) -> int:
    """Where the hub takes links."""
    return WEBSOCKET if _members(plan)[0].websocket else LEAVES


def hub(plan: Plan) -> list[Object]:
    """The hub and its services: for clients, for its members to find each other, for sites outside if there are any."""
    members, labelled, link = _members(plan), labels("nats", place_of(HUB)), link_port(plan)
    found = [
        service(server_name(HUB), labelled, {"clients": CLIENT, "links": link}),
        service(
            PEERS,
            labelled,
            {"clients": CLIENT, "links": link, "routes": ROUTES},
            clusterIP="None",
            publishNotReadyAddresses=True,  # they find each other before any is ready
        ),
        _stateful(plan, members[0], len(members)),
    ]
    if len(members) > 1:
        budget = {"maxUnavailable": 1, "selector": {"matchLabels": labelled}}
        found.append(thing("policy/v1", "PodDisruptionBudget", server_name(HUB), labelled, spec=budget))
    if links_from_outside(plan):
        outside = service(OUTSIDE, labelled, {"links": link}, type="LoadBalancer")
        if link == WEBSOCKET:
            outside["spec"]["ports"][0]["port"] = 443
        found.append(outside)
    return found


def site(plan: Plan, name: str) -> list[Object]:
    """A site's server and its service."""
    place = next(place for place in plan.deployment.places if place.server == name)
    return [service(server_name(name), labels("nats", name), {"clients": CLIENT}), _stateful(plan, place, 1)]


def _stateful(plan: Plan, place: Place, replicas: int) -> Object:
    """Servers with storage of their own. Each sees its server's files alone; new files make new pods, one by one."""
    name, is_hub = server_name(place.server), place.server == HUB
    folder = plan.deployment.folder / "servers" / place.server
    inside = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    secret = plan.secret(name, {file: f"servers/{place.server}/{file}" for file in inside})
    ports = {"clients": CLIENT}
    if place.leaves:
        ports["links"] = link_port(plan)
    if place.cluster:
        ports["routes"] = ROUTES
    memory = _MEMORY[is_hub]
    well: Object = {"timeoutSeconds": 5}
    environment: list[Object] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "GRIDPARLEY_HEALTH", "value": str(MONITOR)},
        {"name": "GOMEMLIMIT", "value": f"{memory.limit_mib * 3 // 4}MiB"},
    ]
    one = container(
        "nats",
        plan.images.nats,
        ["--config", f"{MOUNT}/{place.config.rpartition('/')[2]}"],
        memory,
        env=environment,
        ports=[{"name": port, "containerPort": number} for port, number in ports.items()],
        volumeMounts=[mounted("secret", MOUNT, read_only=True), mounted("store", STORE)],
        startupProbe={"exec": {"command": ALIVE}, **well, "periodSeconds": 2, "failureThreshold": 90},
        livenessProbe={"exec": {"command": ALIVE}, **well, "periodSeconds": 30, "failureThreshold": 3},
        readinessProbe={"exec": {"command": HEALTHY}, **well, "periodSeconds": 10},
    )
    labelled = labels("nats", place_of(place.server))
    template = pod(labelled, one, [secret], **_apart(plan, replicas, labelled))
    template["spec"]["terminationGracePeriodSeconds"] = 30
    stored = {
        part: content for part, content in claim("store", labelled, _STORAGE).items() if part in ("metadata", "spec")
    }
    spec = {
        "replicas": replicas,
        "serviceName": PEERS if is_hub else name,
        "podManagementPolicy": "Parallel",  # no server of a cluster is ready before it has a majority
        "updateStrategy": {"type": "RollingUpdate"},
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": labelled},
        "template": template,
        "volumeClaimTemplates": [stored],
    }
    return thing("apps/v1", "StatefulSet", name, labelled, spec=spec)


def _apart(plan: Plan, replicas: int, labelled: dict[str, str]) -> Object:
    """The hub's servers on different nodes; a simulated run lives on one node, so there it is a wish only."""
    if replicas == 1:
        return {}
    term: Object = {"labelSelector": {"matchLabels": labelled}, "topologyKey": "kubernetes.io/hostname"}
    if plan.deployment.simulated:
        kept = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    else:
        kept = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    zones: Object = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labelled},
    }
    return {"affinity": {"podAntiAffinity": kept}, "topologySpreadConstraints": [zones]}


def provision(plan: Plan, server: str) -> Object:
    """The Job that makes a server's streams and consumers. A Job cannot be changed: its name has what it depends on."""
    members = sum(place.server == server for place in plan.deployment.places)
    admin = plan.deployment.keys(f"{server}.admin").public
    wanted = streams(plan.deployment.permissions, server), consumers(plan.deployment.permissions, server)
    short = digest(plan.images.actor, admin, members, *wanted)
    labelled = labels("provision", place_of(server))
    secret = plan.own_secret(named("provision", server), f"{server}.admin")
    one = ours(
        plan,
        plan.images.actor,
        ["provision", server, *(["--replicas", str(members)] if members > 1 else [])],
        Memory(96, 256),
        clock=False,
        health=False,
        environment=signed_in(plan, server),
        mounts=[KEYS],
    )
    template = pod(labelled, one, [*our_volumes(plan, clock=False), secret], restartPolicy="OnFailure")
    spec = {"backoffLimit": 30, "ttlSecondsAfterFinished": 3600, "template": template}
    return thing("batch/v1", "Job", named("provision", server, short), labelled, spec=spec)
