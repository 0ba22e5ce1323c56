"""What a cluster makes of manifests: pods, the objects that they name, and who may reach whom."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
PODS = ("Deployment", "StatefulSet", "Job")


@dataclass
class Pod:
    """A pod of a workload, or somebody else: of another namespace, or an address outside."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    address: str = ""
    spec: Object = field(default_factory=dict)

    @property
    def container(self) -> Object:
        only: Object
        (only,) = self.spec["containers"]
        return only

    @property
    def environment(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.container.get("env", ()) if "value" in one}


class Cluster:
    """Read from the files of a kustomization, its generated secrets included."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kustomization: Object = yaml.safe_load((folder / "kustomization.yaml").read_text())
        self.objects: list[Object] = [
            one for name in self.kustomization["resources"] for one in yaml.safe_load_all((folder / name).read_text())
        ]
        self.namespace: str = self.kustomization["namespace"]
        self.secrets: dict[str, dict[str, str]] = {
            made["name"]: {
                key: (folder / source).read_text() for key, _, source in (f.partition("=") for f in made["files"])
            }
            for made in self.kustomization["secretGenerator"]
        }
        self.pods = [
            Pod(one["metadata"]["name"], template["metadata"]["labels"], self.namespace, spec=template["spec"])
            for one in self.objects
            if one["kind"] in PODS
            for template in [one["spec"]["template"]]
        ]

    def of_kind(self, kind: str) -> dict[str, Object]:
        return {one["metadata"]["name"]: one for one in self.objects if one["kind"] == kind}

    def selected(self, labels: dict[str, str]) -> list[Pod]:
        return [pod for pod in self.pods if labels.items() <= pod.labels.items()]

    def ways(self, strangers: list[Pod]) -> Iterator[tuple[str, str, int]]:
        """Every (from, to, port) that the network policies let through, among the pods and with strangers."""
        policies = list(self.of_kind("NetworkPolicy").values())
        everybody = [*self.pods, *strangers]
        for one in everybody:
            out = self._rules(policies, one, "Egress")
            for other in everybody:
                into = self._rules(policies, other, "Ingress")
                if out is None and into is None:
                    continue  # neither is ours
                open_out = None if out is None else _ports(out, "to", other, self.namespace)
                open_in = None if into is None else _ports(into, "from", one, self.namespace)
                both = open_in if open_out is None else open_out if open_in is None else open_out & open_in
                for port in both or ():
                    yield one.name, other.name, port

    def _rules(self, policies: list[Object], pod: Pod, kind: str) -> list[Object] | None:
        """None: no policy isolates it, so everything goes."""
        if pod.namespace != self.namespace:
            return None
        found = None
        for policy in policies:
            spec = policy["spec"]
            if kind in spec["policyTypes"] and matches(spec["podSelector"], pod.labels):
                found = (found or []) + spec.get(kind.lower(), [])
        return found


def matches(selector: Object, labels: dict[str, str]) -> bool:
    for wanted in selector.get("matchExpressions", ()):
        assert wanted["operator"] == "In"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    wanted_labels: dict[str, str] = selector.get("matchLabels", {})
    return wanted_labels.items() <= labels.items()


def _ports(rules: list[Object], end: str, peer: Pod, namespace: str) -> set[int]:
    return {
        port["port"]
        for rule in rules
        if end not in rule or any(_is_meant(one, peer, namespace) for one in rule[end])
        for port in rule["ports"]
    }


def _is_meant(peer: Object, pod: Pod, namespace: str) -> bool:
    if "ipBlock" in peer:
        return bool(pod.address) and ipaddress.ip_address(pod.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if pod.address:
        return False
    where = {"kubernetes.io/metadata.name": pod.namespace}
    if "namespaceSelector" in peer:
        return matches(peer["namespaceSelector"], where) and matches(peer.get("podSelector", {}), pod.labels)
    return pod.namespace == namespace and matches(peer["podSelector"], pod.labels)
