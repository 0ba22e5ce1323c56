"""What all pods of a deployment have in common: names, labels, rights, probes, memory and secrets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bus.address import Address
from deploy.render.bundle import FILE
from deploy.render.compose import Images
from deploy.render.deployment import HEALTH, CannotDeploy, Deployment, digest
from deploy.topology import GRID, HUB

Object = dict[str, Any]
LABEL = "gridparley/"
"""Before our own labels and annotations, which say what a pod is: place, role, agent, hardware, facts."""
FIGURES = ("agent", "line", "world", "clock")
"""Components whose pods answer Prometheus."""
USER = 65532
"""Of the images; a number, as the kubelet believes no name."""
CLOCK_AT, TOPOLOGY_AT, KEYS_AT, DATA_AT = "/clock", "/etc/gridparley", "/run/gridparley", "/data"
TOPOLOGY = f"{TOPOLOGY_AT}/{FILE}"
LONGEST_NAME = 52
"""A StatefulSet's name with the hash of its revision is a label, and a label has 63 characters."""
LARGEST = 1 << 20
"""Bytes of a Secret or a ConfigMap that a cluster stores."""
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?\Z")


@dataclass(frozen=True)
class Memory:
    """What a container asks for and what it never gets more of, MiB; and thousandths of a core that it asks for.

    There is no limit of computing time: a container that is held back for 100 ms is late with a heartbeat.
    """

    request_mib: int
    limit_mib: int
    cpu_m: int = 10

    def resources(self) -> Object:
        return {
            "requests": {"cpu": f"{self.cpu_m}m", "memory": f"{self.request_mib}Mi"},
            "limits": {"memory": f"{self.limit_mib}Mi"},
        }


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret that kustomize makes: key -> file below the kustomization's folder, and where its pod sees each."""

    name: str
    files: dict[str, str]
    seen_as: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """What is rendered of a deployment, and how.

    sites        whose server, lines and agents run in this cluster
    files        the deployment's folder as the kustomization names it
    otlp         where agents send spans; empty: nowhere
    jaeger       whether a Jaeger runs beside them
    monitoring   namespace whose Prometheus may ask for metrics
    """

    deployment: Deployment
    images: Images
    sites: tuple[str, ...]
    files: str
    otlp: str = ""
    jaeger: bool = False
    monitoring: str = "monitoring"
    secrets: list[Secret] = field(default_factory=list)

    @property
    def places(self) -> tuple[str, ...]:
        """The grid side first."""
        return (GRID, *self.sites)

    @property
    def agents(self) -> list[Address]:
        return [address for address in self.deployment.agents if address.site in self.places]

    @property
    def lines(self) -> dict[str, str]:
        return {place: hardware for place, hardware in self.deployment.lines.items() if place in self.places}

    def has_line(self, address: Address) -> bool:
        """Whether an agent reaches hardware through its place's line."""
        return bool(self.deployment.topology.entries[address].device) and address.site in self.lines

    @property
    def collector(self) -> tuple[str, int]:
        """Namespace and port of a collector that is not ours. Raises CannotDeploy."""
        url = urlsplit(self.otlp)
        parts = (url.hostname or "").split(".")
        try:
            port = url.port
        except ValueError:
            port = None
        if len(parts) < 2 or port is None:
            raise CannotDeploy(
                f"the collector {self.otlp!r} is not http://<service>.<namespace>:<port>: which pods may be "
                "reached is a matter of their namespace"
            )
        return parts[1], port

    def topology_files(self) -> dict[str, str]:
        """The topology and what it names, by path in its folder. Raises CannotDeploy for more than a cluster stores."""
        folder = self.deployment.folder / "topology"
        found = {
            str(path.relative_to(folder)): path.read_text(encoding="utf-8")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        if sum(len(text.encode()) for text in found.values()) > LARGEST:
            raise CannotDeploy(f"{folder} has more than {LARGEST} bytes, which is what a ConfigMap holds: split it")
        return found

    def facts_of(self, address: Address) -> str:
        """A digest of what an agent is told of the topology, with the content of the files that it is told to read."""
        topology = self.deployment.topology
        told = msgspec.json.encode([topology.entries[address], topology.defaults.get(address.role)]).decode()
        read = [text for name, text in self.topology_files().items() if f"/{name}" in told]
        return digest(self.deployment.facts_of(address), *read)

    def secret(self, name: str, files: dict[str, str]) -> Object:
        """Remember a Secret of files of the deployment's folder, by where its pod sees them; returns its volume.

        Raises CannotDeploy for more than a cluster stores.
        """
        folder = self.deployment.folder
        size = sum((folder / source).stat().st_size for source in files.values())
        if size > LARGEST:
            raise CannotDeploy(
                f"secret {name} has {size} bytes, a cluster stores {LARGEST}: a hub of so many agents wants "
                "signed claims instead of a list of keys (docs/decisions)"
            )
        keys = {source: Path(seen).name for seen, source in files.items()}
        self.secrets.append(
            Secret(
                name=name,
                files={key: f"{self.files}/{source}" for source, key in keys.items()},
                seen_as={keys[source]: seen for seen, source in files.items()},
            )
        )
        items = [{"key": keys[source], "path": seen} for seen, source in files.items()]
        return {"name": "secret", "secret": {"secretName": name, "defaultMode": 0o440, "items": items}}

    def own_secret(self, name: str, identity: str) -> Object:
        """The Secret of one identity: its seed and the authority's certificate, nothing else."""
        return self.secret(
            name,
            {
                f"keys/{identity}.nk": f"agents/{identity}/keys/{identity}.nk",
                "tls/ca.pem": f"agents/{identity}/tls/ca.pem",
            },
        )


# -------------------------------------------------------------------- names


def named(*parts: str) -> str:
    """An object's name. Raises CannotDeploy for what cannot be one."""
    name = "-".join(parts).replace(".", "-").replace("_", "-")
    if not _NAME.match(name) or len(name) > LONGEST_NAME:
        raise CannotDeploy(
            f"{'-'.join(parts)!r} is no name in Kubernetes: begin and end with a letter or digit, "
            f"and keep it within {LONGEST_NAME} characters"
        )
    return name


def place_of(server: str) -> str:
    """The place whose agents a server has."""
    return GRID if server == HUB else server


def labels(component: str, place: str, **more: str) -> dict[str, str]:
    """What a pod is, and whom policies mean. Components: agent, nats, line, world, clock, record, provision, jaeger."""
    return {
        "app.kubernetes.io/name": "gridparley",
        "app.kubernetes.io/component": component,
        f"{LABEL}place": place,
        **{f"{LABEL}{name}": value for name, value in more.items()},
    }


# -------------------------------------------------------------------- objects


def thing(api: str, kind: str, name: str, labelled: dict[str, str], **more: Any) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labelled}, **more}


def service(name: str, labelled: dict[str, str], ports: dict[str, int], **more: Any) -> Object:
    """A Service of the pods that have these labels."""
    listed = [{"name": port, "port": number, "targetPort": number} for port, number in ports.items()]
    return thing("v1", "Service", name, labelled, spec={"selector": labelled, "ports": listed, **more})


def claim(name: str, labelled: dict[str, str], size: str) -> Object:
    """Storage of one node at a time."""
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return thing("v1", "PersistentVolumeClaim", name, labelled, spec=asked)


def claimed(volume: str, name: str) -> Object:
    return {"name": volume, "persistentVolumeClaim": {"claimName": name}}


def container(name: str, image: str, args: list[str], memory: Memory, **more: Any) -> Object:
    """A container that may do nothing but compute, talk, and write to what it is given."""
    return {
        "name": name,
        "image": image,
        "args": args,
        "resources": memory.resources(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def ours(plan: Plan, image: str, args: list[str], memory: Memory, *, clock: bool, health: bool, **more: Any) -> Object:
    """A container of our image, that knows the topology.

    clock    it lives in the run's time
    health   it tells how it is, at ``HEALTH``
    """
    environment = {"GRIDPARLEY_TOPOLOGY": TOPOLOGY, **more.pop("environment", {})}
    mounts = [mounted("topology", TOPOLOGY_AT, read_only=True), mounted("tmp", "/tmp")]  # noqa: S108  the container's
    if clock and plan.deployment.simulated:
        environment["GRIDPARLEY_CLOCK"] = f"{CLOCK_AT}/clock"
        mounts.append(mounted("clock", CLOCK_AT))
    ports = [*more.pop("ports", []), *([{"name": "health", "containerPort": HEALTH}] if health else [])]
    return container(
        "gridparley",
        image,
        args,
        memory,
        env=[{"name": name, "value": value} for name, value in environment.items()],
        ports=ports,
        volumeMounts=[*mounts, *more.pop("mounts", [])],
        **(_probes() if health else {}),
        **more,
    )


def our_volumes(plan: Plan, *, clock: bool) -> list[Object]:
    """Volumes that ``ours`` mounts."""
    items = [{"key": flat(name), "path": name} for name in plan.topology_files()]
    found: list[Object] = [
        {"name": "topology", "configMap": {"name": "topology", "items": items}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
    ]
    return [*found, claimed("clock", "clock")] if clock and plan.deployment.simulated else found


def flat(path: str) -> str:
    """A file's key in a ConfigMap, which knows no folders."""
    return path.replace("/", "..")


def signed_in(plan: Plan, server: str) -> dict[str, str]:
    """Environment of who connects to a server; ``Plan.own_secret`` is mounted beside it, by ``KEYS``."""
    return {"GRIDPARLEY_NATS": plan.deployment.url_of(server), "GRIDPARLEY_KEYS": KEYS_AT}


def mounted(volume: str, at: str, *, read_only: bool = False) -> Object:
    return {"name": volume, "mountPath": at, **({"readOnly": True} if read_only else {})}


KEYS = mounted("secret", KEYS_AT, read_only=True)


def _probes() -> Object:
    """Alive is who answers at all: to wait for a server is no reason to be killed. Ready is who is well."""
    alive = {"httpGet": {"path": "/livez", "port": "health"}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**alive, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**alive, "periodSeconds": 30, "failureThreshold": 3},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "health"}, "timeoutSeconds": 5, "periodSeconds": 10},
    }


def pod(labelled: dict[str, str], one: Object, volumes: list[Object], **more: Any) -> Object:
    """A pod of one container, as the profile *restricted* wants it, without a key to the cluster."""
    annotations = more.pop("annotations", {})
    return {
        "metadata": {"labels": labelled, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [one],
            "volumes": volumes,
            **more,
        },
    }


def on_the_clocks_node(plan: Plan) -> Object:
    """Processes share the clock of a run through memory of one machine: they live where its keeper lives."""
    if not plan.deployment.simulated:
        return {}
    keeper = {"matchLabels": {"app.kubernetes.io/component": "clock"}}
    wanted = [{"labelSelector": keeper, "topologyKey": "kubernetes.io/hostname"}]
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": wanted}}}


def noted(facts: str, labelled: dict[str, str]) -> dict[str, str]:
    """Annotations: a pod is made anew when it is told other facts, and Prometheus finds who keeps figures."""
    told = {f"{LABEL}facts": facts}
    if labelled["app.kubernetes.io/component"] not in FIGURES:
        return told
    return told | {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(HEALTH),
        "prometheus.io/path": "/metrics",
    }


def deployment(name: str, labelled: dict[str, str], template: Object) -> Object:
    """One pod, never two on purpose: the old one has ended before a new one is made.

    A pod of a node that no longer answers is not replaced by itself: it may still be running there.
    """
    gone = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    template["spec"]["tolerations"] = [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in gone]
    passing = (f"{LABEL}hardware", f"{LABEL}role")  # a selector cannot be changed, these can
    selector = {label: value for label, value in labelled.items() if label not in passing}
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": selector},
        "template": template,
    }
    return thing("apps/v1", "Deployment", name, labelled, spec=spec)


def each(objects: dict[str, list[Object]]) -> Iterator[Object]:
    """All objects of all files."""
    for listed in objects.values():
        yield from listed
