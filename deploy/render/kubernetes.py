"""A deployment as Kubernetes manifests: a kustomize base that holds no secret, and names the files that do.

Secrets are made by kustomize from the deployment's folder, which stays out of any repository; everything else is plain
objects that can be looked at and committed. A changed secret has a new name, so who uses it is made anew.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml

from deploy.render.compose import Images
from deploy.render.deployment import CannotDeploy, Deployment
from deploy.render.kubernetes_nats import hosts, hub
from deploy.render.kubernetes_network import policies
from deploy.render.kubernetes_parts import Object, Plan, each, flat, thing
from deploy.render.kubernetes_pods import grid_side, home, jaeger, laboratory

__all__ = ["FOLDER", "KUSTOMIZATION", "hosts", "manifests", "sites_of", "write"]

FOLDER = "deployment"
"""The deployment's folder, below the kustomization: kustomize reads no file that is elsewhere."""
KUSTOMIZATION = "kustomization.yaml"
_STAMP = {"app.kubernetes.io/name": "gridparley"}


def sites_of(deployment: Deployment, text: str) -> tuple[str, ...]:
    """``all``, ``none``, or names with commas between. Raises CannotDeploy."""
    every = tuple(deployment.topology.sites)
    if text in ("all", "none"):
        return every if text == "all" else ()
    asked = [word.strip() for word in text.split(",")]
    for name in asked:
        if name not in every:
            raise CannotDeploy(f"there is no site {name!r}: give all, none, or some of {', '.join(every)}")
    return tuple(name for name in every if name in asked)


def manifests(
    deployment: Deployment,
    *,
    namespace: str,
    image: str,
    world_image: str,
    nats_image: str,
    sites: Iterable[str] | None = None,
    jaeger_here: bool = False,
    otlp: str = "",
    monitoring: str = "monitoring",
    files: str = FOLDER,
) -> dict[str, list[Object]]:
    """File name -> its objects; ``kustomization.yaml`` is one of them. ``deployment``: prepared with ``hosts``.

    sites         whose part runs in this cluster; default: all
    jaeger_here   a Jaeger beside the agents
    otlp          http://<service>.<namespace>:<port> of a collector that is there already
    monitoring    namespace whose Prometheus may ask for metrics
    files         the deployment's folder as seen from the kustomization

    Raises CannotDeploy.
    """
    if deployment.topology.run.fronts is False:
        raise CannotDeploy("run.fronts is false: in a cluster each gateway has one master, so leave it out")
    if otlp and jaeger_here:
        raise CannotDeploy("spans go to one collector: give either a Jaeger of its own or --otlp")
    chosen = tuple(deployment.topology.sites) if sites is None else tuple(sites)
    images = Images(actor=image, world=world_image, nats=nats_image)
    plan = Plan(deployment, images, chosen, files, otlp=otlp, jaeger=jaeger_here, monitoring=monitoring)
    made = {
        "namespace.yaml": [_namespace(namespace)],
        "topology.yaml": [_topology(plan)],
        "hub.yaml": hub(plan),
        "grid.yaml": grid_side(plan),
        **{f"site-{name}.yaml": home(plan, name) for name in chosen},
        "world.yaml": laboratory(plan),
        "jaeger.yaml": jaeger(plan),
        "network.yaml": policies(plan),
    }
    made = {name: objects for name, objects in made.items() if objects}
    _all_different(made)
    return {KUSTOMIZATION: [_kustomization(plan, namespace, list(made))], **made}


def write(made: dict[str, list[Object]], out: Path) -> None:
    """Write the files of ``manifests``; those of sites that are no longer there go away."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("site-*.yaml"):
        if stale.name not in made:
            stale.unlink()
    for name, objects in made.items():
        text = yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=120)
        (out / name).write_text(text, encoding="utf-8")


class _Plain(yaml.SafeDumper):
    """Without anchors: what is the same twice is written twice."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _namespace(name: str) -> Object:
    """Nothing that could take over a node is let in."""
    levels = {f"pod-security.kubernetes.io/{how}": "restricted" for how in ("enforce", "audit", "warn")}
    return thing("v1", "Namespace", name, {**_STAMP, **levels})


def _topology(plan: Plan) -> Object:
    data = {flat(name): text for name, text in plan.topology_files().items()}
    return thing("v1", "ConfigMap", "topology", _STAMP, data=data)


def _kustomization(plan: Plan, namespace: str, resources: list[str]) -> Object:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": resources,
        "secretGenerator": [
            {
                "name": secret.name,
                "type": "Opaque",
                "files": [f"{key}={source}" for key, source in secret.files.items()],
            }
            for secret in plan.secrets
        ],
    }


def _all_different(made: dict[str, list[Object]]) -> None:
    counted = Counter((one["kind"], one["metadata"]["name"]) for one in each(made))
    twice = sorted(f"{kind} {name}" for (kind, name), number in counted.items() if number > 1)
    if twice:
        raise CannotDeploy(f"Kubernetes cannot have two of a name: {', '.join(twice)}. Rename an agent or site")
