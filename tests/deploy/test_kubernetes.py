"""Manifests: valid to the API's own schema, nothing named that is not there, no secret outside of secrets, no way open
that is not needed; configurations and probes are tried on real servers."""

import http.client
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import kubernetes_validate
import pytest
import typer
from cryptography import x509
from kubernetes_validate import utils as schemas
from typer.testing import CliRunner

from bus.address import Address
from bus.store import State
from bus.transport import Connection, NotStored
from contracts.roles import OPS
from deploy import cli
from deploy.nats.places import CLIENT, HOST, LEAVES, MONITOR, MOUNT, ROUTES, WEBSOCKET
from deploy.nats.ports import free_ports
from deploy.nats.provision import provision
from deploy.nats.servers import nats_server
from deploy.render import cli as render_cli
from deploy.render.deployment import CannotDeploy, Deployment, prepare
from deploy.render.kubernetes import FOLDER, hosts, manifests, sites_of, write
from deploy.render.kubernetes_nats import OUTSIDE, PEERS
from deploy.telemetry.health import serve_health
from deploy.topology import GRID, HUB
from deploy.world_spec import modbus_port
from tests.deploy.cluster_of import Cluster, Pod

ROOT = Path(__file__).parents[2]
SEED = re.compile(r"\bS[UAO][A-Z2-7]{56}\b")
IMAGES = {"image": "gridparley:0.1.0", "world_image": "gridparley-world:0.1.0", "nats_image": "gridparley-nats:0.1.0"}
FIELD = """
name = "field"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T16:00:00+02:00
[grid]
gateway = "10.20.0.5:502"
agents = [
  { role = "dso", name = "north" },
  { role = "meter", name = "substation", device = "eastron_sdm630", unit = 1 },
]
[[site]]
name = "h_07"
gateway = "gateway.h07.example:1502"
agents = [{ role = "cem", name = "main" }, { role = "meter", name = "main", device = "sunspec_meter", unit = 1 }]
[[site]]
name = "h08"
gateway = "10.20.0.8:502"
agents = [{ role = "cem", name = "main" }]
"""


class Rendered:
    """A kustomization in a folder, as a cluster sees it, and what it was made from."""

    def __init__(self, folder: Path, topology: str, *, hub_url: str = "", hubs: int = 3, **how: Any) -> None:
        where = hosts("gridparley")
        self.folder = folder
        self.deployment: Deployment = prepare(topology, folder / FOLDER, hosts=where, hubs=hubs, hub_url=hub_url)
        self.write(**how)

    def write(self, **how: Any) -> None:
        write(manifests(self.deployment, namespace="gridparley", **IMAGES, **how), self.folder)
        self.cluster = Cluster(self.folder)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return Rendered(tmp_path_factory.mktemp("street"), "street", jaeger_here=True)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Real hardware, a collector that is there already."""
    folder = tmp_path_factory.mktemp("field")
    (folder / "field.toml").write_text(FIELD)
    return Rendered(folder, str(folder / "field.toml"), otlp="http://collector.observed:4317")


@pytest.fixture(params=["street", "field"])
def rendered(request: pytest.FixtureRequest) -> Rendered:
    made: Rendered = request.getfixturevalue(request.param)
    return made


# -------------------------------------------------------------------- the objects


def test_every_object_is_what_the_api_takes(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "schema_contents", lru_cache(schemas.schema_contents))
    generated = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": files}
        for name, files in rendered.cluster.secrets.items()
    ]
    for one in [*rendered.cluster.objects, *generated]:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_is_strict(street: Rendered) -> None:
    wrong = {**street.cluster.of_kind("StatefulSet")["nats-hub"], "spce": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="spce"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_kustomize_builds_it_and_names_secrets_by_their_content(street: Rendered) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here: kustomize itself was not asked")
    built = subprocess.run(
        ["kubectl", "kustomize", str(street.folder)], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"secretName: (\S+)", built)
    assert {re.sub(r"-[a-z0-9]{10}$", "", name) for name in names} == set(street.cluster.secrets)
    assert all(f"\n  name: {name}\n" in built for name in names)


def test_all_that_is_named_is_there(rendered: Rendered) -> None:
    cluster = rendered.cluster
    named: set[tuple[str, str]] = set()
    for pod in cluster.pods:
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        templates = cluster.of_kind("StatefulSet").get(pod.name, {}).get("spec", {}).get("volumeClaimTemplates", [])
        mounts = [mount["name"] for mount in pod.container.get("volumeMounts", ())]
        assert set(mounts) == volumes.keys() | {one["metadata"]["name"] for one in templates}, pod.name
        for volume in volumes.values():
            if "secret" in volume:
                name = volume["secret"]["secretName"]
                assert {item["key"] for item in volume["secret"]["items"]} == cluster.secrets[name].keys()
                named.add(("Secret", name))
            elif "configMap" in volume:
                keys = {item["key"] for item in volume["configMap"]["items"]}
                assert keys == cluster.of_kind("ConfigMap")[volume["configMap"]["name"]]["data"].keys()
                named.add(("ConfigMap", volume["configMap"]["name"]))
            elif "persistentVolumeClaim" in volume:
                named.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
            else:
                assert "emptyDir" in volume
    assert named == {("Secret", name) for name in cluster.secrets} | {
        (kind, name) for kind in ("ConfigMap", "PersistentVolumeClaim") for name in cluster.of_kind(kind)
    }
    for name, service in cluster.of_kind("Service").items():
        (behind,) = cluster.selected(service["spec"]["selector"])
        listening = {port["containerPort"] for port in behind.container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= listening, name
    for one in cluster.of_kind("StatefulSet").values():
        assert one["spec"]["serviceName"] in cluster.of_kind("Service")
    assert (rendered.folder / FOLDER / ".gitignore").read_text().endswith("*\n")


def test_every_actor_has_one_pod_and_never_two(rendered: Rendered) -> None:
    cluster = rendered.cluster
    commands = Counter(
        tuple(pod.container["args"]) for pod in cluster.pods if pod.container.get("args", [""])[0] == "agent"
    )
    wanted = {
        str(address)
        for address, entry in rendered.deployment.topology.entries.items()
        if address.role != OPS.name and not entry.attach
    }
    assert commands == {("agent", address): 1 for address in wanted}
    for one in cluster.of_kind("Deployment").values():
        assert (one["spec"]["replicas"], one["spec"]["strategy"]) == (1, {"type": "Recreate"})
        unreachable = {t["key"] for t in one["spec"]["template"]["spec"]["tolerations"] if "tolerationSeconds" not in t}
        assert "node.kubernetes.io/unreachable" in unreachable  # not replaced while it may still run there
        (selected,) = cluster.selected(one["spec"]["selector"]["matchLabels"])
        assert selected.name == one["metadata"]["name"]


def test_no_secret_is_written_down_outside_of_the_deployments_folder(rendered: Rendered) -> None:
    seeds = [path.read_text().strip() for path in (rendered.folder / FOLDER / "keys").glob("*.nk")]
    assert seeds
    for path in rendered.folder.glob("*.yaml"):
        text = path.read_text()
        assert "PRIVATE KEY" not in text
        assert not SEED.search(text)
        assert not any(seed in text for seed in seeds)


def test_no_two_pods_have_the_same_secret(rendered: Rendered) -> None:
    cluster = rendered.cluster
    holders: dict[str, set[str]] = {}
    for pod in cluster.pods:
        for volume in pod.spec["volumes"]:
            for text in cluster.secrets.get(volume.get("secret", {}).get("secretName", ""), {}).values():
                for found in [*SEED.findall(text), *([text] if "PRIVATE KEY" in text else [])]:
                    holders.setdefault(found, set()).add(pod.name)
    assert {frozenset(pods) for pods in holders.values() if len(pods) > 1} == set()
    signed_in = [pod for pod in cluster.pods if "GRIDPARLEY_KEYS" in pod.environment]
    links = [pod for pod in cluster.pods if pod.name.startswith("nats-") and pod.name != "nats-hub"]
    seeds = {seed for seed in holders if SEED.fullmatch(seed)}
    assert len(seeds) == len(signed_in) + len(links)


def test_pods_may_do_nothing_that_they_need_not(rendered: Rendered) -> None:
    (namespace,) = rendered.cluster.of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in rendered.cluster.pods:
        held = pod.spec["securityContext"]
        assert (held["runAsNonRoot"], held["seccompProfile"]) == (True, {"type": "RuntimeDefault"}), pod.name
        assert pod.spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"memory", "cpu"} == pod.container["resources"]["requests"].keys()
        assert "memory" in pod.container["resources"]["limits"]
        assert all("hostPort" not in port for port in pod.container.get("ports", ()))


# -------------------------------------------------------------------- the network

STRANGERS = [
    Pod("names", {"k8s-app": "kube-dns"}, "kube-system"),
    Pod("prometheus", {}, "monitoring"),
    Pod("collector", {}, "observed"),
    Pod("neighbour", {"app.kubernetes.io/component": "agent", "gridparley/place": "grid"}, "else"),
    Pod("world-wide", {}, address="203.0.113.9"),
    Pod("gateway-grid", {}, address="10.20.0.5"),
]


def needed(rendered: Rendered, sites: list[str]) -> set[tuple[str, str, int]]:
    """Every connection that a deployment needs, from its topology."""
    topology = rendered.deployment.topology
    entries = {GRID: topology.grid.agents, **{name: topology.sites[name].agents for name in sites}}
    ways: set[tuple[str, str, int]] = {("nats-hub", "nats-hub", 6222)}
    callers = {"nats-hub"}
    measured = set()
    for place, agents in entries.items():
        slug, server = place.replace("_", "-"), "nats-hub" if place == GRID else f"nats-{place.replace('_', '-')}"
        if place != GRID:
            ways.add((server, "nats-hub", 7422))
            callers.add(server)
        job = next(
            p.name for p in rendered.cluster.pods if p.name.startswith(f"provision-{server.removeprefix('nats-')}-")
        )
        ways.add((job, server, 4222))
        callers.add(job)
        for entry in agents:
            if entry.attach or entry.role == OPS.name:
                continue
            name = f"agent-{slug}-{entry.role}-{entry.name}"
            ways.add((name, server, 4222))
            callers.add(name)
            measured.add(name)
            if rendered.deployment.simulated:
                ways.add((name, "jaeger", 4318))
            else:
                ways.add((name, "collector", 4317))
            if entry.device:
                ways.add((name, f"line-{slug}", 5020))
        if any(entry.device for entry in agents):
            callers.add(f"line-{slug}")
            measured.add(f"line-{slug}")
            if rendered.deployment.simulated:
                ways.add((f"line-{slug}", "world", modbus_port(topology, place)))
    if rendered.deployment.simulated:
        ways.add(("record", "nats-hub", 4222))
        callers.add("record")
        measured |= {"world", "clock"}
    ways |= {(caller, "names", 53) for caller in callers}
    return ways | {("prometheus", name, 8080) for name in measured}


def test_the_network_lets_through_what_a_street_needs_and_nothing_else(street: Rendered) -> None:
    assert set(street.cluster.ways(STRANGERS)) == needed(street, list(street.deployment.topology.sites))


def test_lines_reach_real_hardware_and_nothing_else_does(field: Rendered) -> None:
    wanted = needed(field, ["h_07", "h08"]) | {("line-grid", "gateway-grid", 502)}
    # A policy knows no names: hardware that is named may be anywhere, at its port alone.
    anywhere = {("line-h-07", one, 1502) for one in [*(s.name for s in STRANGERS)]}
    assert set(field.cluster.ways(STRANGERS)) == wanted | anywhere


def test_only_links_come_in_from_outside(tmp_path: Path) -> None:
    (tmp_path / "field.toml").write_text(FIELD)
    made = Rendered(tmp_path, str(tmp_path / "field.toml"), hub_url="tls://hub.example:7422", sites=())
    wanted = needed(made, []) - {way for way in needed(made, []) if way[1] == "collector"}
    wanted |= {("line-grid", "gateway-grid", 502)} | {(one.name, "nats-hub", 7422) for one in STRANGERS}
    assert set(made.cluster.ways(STRANGERS)) == wanted
    door = made.cluster.of_kind("Service")[OUTSIDE]["spec"]
    assert (door["type"], [port["port"] for port in door["ports"]]) == ("LoadBalancer", [7422])
    assert not list(tmp_path.glob("site-*.yaml"))
    names = _names(tmp_path / FOLDER / "servers" / HUB / "tls" / "server.pem")
    assert "hub.example" in names
    with pytest.raises(CannotDeploy, match="--sites none"):
        made.write(sites=["h08"])


def test_whoever_a_pod_is_told_to_call_is_there_and_shows_that_name(rendered: Rendered) -> None:
    cluster = rendered.cluster
    services = cluster.of_kind("Service")
    ways = set(cluster.ways(STRANGERS))
    seen = set()
    for pod in cluster.pods:
        told = [pod.environment.get(name, "") for name in ("GRIDPARLEY_NATS", "GRIDPARLEY_GATEWAY")]
        told += [pod.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "") if rendered.deployment.simulated else ""]
        if "--upstream" in pod.container.get("args", ()) and rendered.deployment.simulated:
            told.append(pod.container["args"][pod.container["args"].index("--upstream") + 1])
        for url in filter(None, told):
            host, _, port = url.rpartition("/")[2].rpartition(":")
            (target,) = cluster.selected(services[host]["spec"]["selector"])
            assert int(port) in {one["port"] for one in services[host]["spec"]["ports"]}
            assert (pod.name, target.name, int(port)) in ways
            seen.add(target.name)
            if url.startswith("tls:"):
                assert host in _names_of_server(rendered, target)
    for site in rendered.deployment.topology.sites:
        place = next(place for place in rendered.deployment.places if place.name == site)
        for url in place.hubs:
            host = url.rpartition("/")[2].rpartition(":")[0]
            pod, _, service = host.partition(".")
            assert service == PEERS
            assert services[service]["spec"]["publishNotReadyAddresses"] is True
            assert re.fullmatch(r"nats-hub-[012]", pod)
            assert host in _names(rendered.folder / FOLDER / "servers" / HUB / "tls" / "server.pem")
    assert seen >= {"nats-hub", "line-grid"}


def _names_of_server(rendered: Rendered, target: Pod) -> set[str]:
    server = next(s for s in rendered.deployment.topology.servers if target.name == f"nats-{s.replace('_', '-')}")
    found = _names(rendered.folder / FOLDER / "servers" / server / "tls" / "server.pem")
    assert f"{target.name}.gridparley.svc.cluster.local" in found
    return found


def _names(certificate: Path) -> set[str]:
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


# -------------------------------------------------------------------- commands, settings


def test_containers_are_told_what_their_command_takes(rendered: Rendered) -> None:
    tried = set()
    for pod in rendered.cluster.pods:
        args = pod.container.get("args", [])
        if not args or args[0] == "--config" or args[0] in tried:
            continue
        command = _command(args[0])
        command.make_context(args[0], list(args[1:]))
        known = {name for option in command.params for name in _environment(option)}
        unknown = {name for name in pod.environment if name.startswith("GRIDPARLEY_")} - known
        assert unknown - ({"GRIDPARLEY_TOPOLOGY"} if "--topology" in args else set()) == set(), args
        tried.add(args[0])
    assert tried >= {"agent", "line", "provision"}


def _command(name: str) -> Any:
    """As ``gridparley NAME`` finds it: what is not asked for is not imported."""
    before = sys.argv
    sys.argv = ["gridparley", name]
    try:
        cli._mount()
    finally:
        sys.argv = before
    return typer.main.get_command(cli.app).commands[name]  # type: ignore[attr-defined]


def _environment(option: Any) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


def test_prometheus_finds_those_that_have_figures(rendered: Rendered) -> None:
    for one in rendered.cluster.of_kind("Deployment").values():
        template = one["spec"]["template"]
        told = template["metadata"].get("annotations", {})
        if template["metadata"]["labels"]["app.kubernetes.io/component"] in ("agent", "line", "world", "clock"):
            (only,) = template["spec"]["containers"]
            ports = {str(port["containerPort"]) for port in only["ports"]}
            assert (told["prometheus.io/scrape"], told["prometheus.io/path"]) == ("true", "/metrics")
            assert told["prometheus.io/port"] in ports
        else:
            assert "prometheus.io/scrape" not in told


def test_a_simulated_run_shares_its_clock_on_one_node(street: Rendered, field: Rendered) -> None:
    for pod in street.cluster.pods:
        lives_in_run_time = pod.labels.get("app.kubernetes.io/component") in ("agent", "world", "record", "clock")
        assert ("GRIDPARLEY_CLOCK" in pod.environment) == lives_in_run_time, pod.name
        if lives_in_run_time and pod.name != "clock":
            (term,) = pod.spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            (keeper,) = street.cluster.selected(term["labelSelector"]["matchLabels"])
            assert (keeper.name, term["topologyKey"]) == ("clock", "kubernetes.io/hostname")
    assert not any("GRIDPARLEY_CLOCK" in pod.environment for pod in field.cluster.pods)
    assert not {"clock", "world"} & {pod.name for pod in field.cluster.pods}


def test_the_hub_keeps_its_majority(street: Rendered, field: Rendered) -> None:
    for made, how in ((street, "preferred"), (field, "required")):
        hub = made.cluster.of_kind("StatefulSet")["nats-hub"]["spec"]
        assert (hub["replicas"], hub["podManagementPolicy"]) == (3, "Parallel")
        assert hub["volumeClaimTemplates"]
        apart = hub["template"]["spec"]["affinity"]["podAntiAffinity"]
        assert list(apart) == [f"{how}DuringSchedulingIgnoredDuringExecution"]
        budget = made.cluster.of_kind("PodDisruptionBudget")["nats-hub"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert [pod.name for pod in made.cluster.selected(budget["selector"]["matchLabels"])] == ["nats-hub"]
        (job,) = [pod for pod in made.cluster.pods if pod.name.startswith("provision-hub-")]
        assert job.container["args"] == ["provision", "hub", "--replicas", "3"]


def test_who_is_told_something_else_is_made_anew_and_nobody_else(tmp_path: Path) -> None:
    source = tmp_path / "field.toml"

    def facts(text: str, prices: str = "hour,eur_per_kwh\n0,0.3\n") -> dict[str, str]:
        source.write_text(text)
        (tmp_path / "prices.csv").write_text(prices)
        cluster = Rendered(tmp_path / "out", str(source)).cluster
        made = {
            name: one["spec"]["template"]["metadata"]["annotations"]["gridparley/facts"]
            for name, one in cluster.of_kind("Deployment").items()
        }
        return made | dict.fromkeys(cluster.of_kind("Job"), "job")

    tariff = '{ name = "day", file = "./prices.csv" }'
    retailer = f'{{ role = "retailer", name = "main", settings = {{ tariffs = [{tariff}] }} }},'
    text = FIELD.replace('{ role = "dso", name = "north" },', '{ role = "dso", name = "north" },' + retailer)
    before = facts(text)
    assert facts(text) == before
    settings = facts(text + "[defaults.meter]\nreading_every_s = 5.0\n")
    assert {name for name, _ in before.items() ^ settings.items()} == {
        "agent-grid-meter-substation",
        "agent-h-07-meter-main",
    }
    prices = facts(text, "hour,eur_per_kwh\n0,0.4\n")
    assert {name for name, _ in before.items() ^ prices.items()} == {"agent-grid-retailer-main"}
    more = facts(text.replace('name = "h08"', 'name = "h09"'))
    other = {name for name, _ in before.items() ^ more.items()}
    assert {"agent-h08-cem-main", "agent-h09-cem-main"} <= other
    assert any(name.startswith("provision-hub-") for name in other)
    assert not any("h-07" in name for name in other)


def test_some_of_the_sites(field: Rendered, tmp_path: Path) -> None:
    shutil.copytree(field.folder, tmp_path, dirs_exist_ok=True)
    write(
        manifests(field.deployment, namespace="gridparley", **IMAGES, sites=sites_of(field.deployment, "h08")), tmp_path
    )
    cluster = Cluster(tmp_path)
    assert {pod.labels["gridparley/place"] for pod in cluster.pods} == {"grid", "h08"}
    assert not (tmp_path / "site-h_07.yaml").exists()
    assert {name for name in cluster.secrets if "h-07" in name} == set()
    assert sites_of(field.deployment, "none") == ()
    assert sites_of(field.deployment, "all") == ("h_07", "h08")
    with pytest.raises(CannotDeploy, match="no site 'h09'"):
        sites_of(field.deployment, "h08,h09")


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (("h08", "h-07"), "two of a name"),
        (("h08", "h" * 58), "no name in Kubernetes"),
        (("[run]", "[run]\nfronts = false"), "one master"),
    ],
)
def test_what_a_cluster_cannot_have_is_refused(tmp_path: Path, wrong: tuple[str, str], cause: str) -> None:
    (tmp_path / "field.toml").write_text(FIELD.replace(*wrong))
    with pytest.raises(CannotDeploy, match=cause):
        Rendered(tmp_path, str(tmp_path / "field.toml"))


def test_the_command_renders_again_with_the_same_secrets(tmp_path: Path) -> None:
    (tmp_path / "field.toml").write_text(FIELD)
    out = tmp_path / "out"
    asked = ["k8s", str(tmp_path / "field.toml"), "--out", str(out)]
    assert CliRunner().invoke(render_cli.app, asked).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert CliRunner().invoke(render_cli.app, asked).exit_code == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    refused = CliRunner().invoke(render_cli.app, [*asked, "--sites", "h09"])
    assert (refused.exit_code, "no site 'h09'" in refused.output) == (2, True)
    asked += ["--sites", "none", "--websocket", "--hub-url"]
    assert CliRunner().invoke(render_cli.app, [*asked, "tls://hub.example:443"]).exit_code == 2
    outside = CliRunner().invoke(render_cli.app, [*asked, "wss://hub.example:443"])
    assert outside.exit_code == 0, outside.output
    cluster = Cluster(out)
    (door,) = cluster.of_kind("Service")[OUTSIDE]["spec"]["ports"]
    assert (door["port"], door["targetPort"]) == (443, WEBSOCKET)
    assert "hub.example" in _names(out / FOLDER / "servers" / HUB / "tls" / "server.pem")


def test_a_collector_without_a_namespace_is_refused(field: Rendered) -> None:
    with pytest.raises(CannotDeploy, match="namespace"):
        manifests(field.deployment, namespace="gridparley", **IMAGES, otlp="http://collector:4317")


# -------------------------------------------------------------------- real servers


class Server:
    """A rendered server on this machine: its own folder, this machine's ports, members of the hub on loopback."""

    def __init__(self, rendered: Rendered, name: str, ports: dict[str, int], folder: Path) -> None:
        self.name, self.ports, self.folder = name, ports, folder
        own = HUB if name.startswith("nats-hub") else name
        text = (rendered.folder / FOLDER / "servers" / own / "nats.conf").read_text()
        text = text.replace(MOUNT, str(rendered.folder / FOLDER / "servers" / own))
        text = text.replace('"/data"', f'"{folder}/{name}"').replace("0.0.0.0", HOST)
        for number in (CLIENT, LEAVES, MONITOR):
            text = text.replace(f"{HOST}:{number}", f"{HOST}:{ports[f'{name}:{number}']}")
        text = text.replace(f'"{HOST}:{ROUTES}"', f'"{HOST}:{ports[f"{name}:{ROUTES}"]}"')
        for member in ("nats-hub-0", "nats-hub-1", "nats-hub-2"):
            for number in (LEAVES, ROUTES):
                text = text.replace(f"{member}.{PEERS}:{number}", f"{HOST}:{ports[f'{member}:{number}']}")
        self.config = folder / f"{name}.conf"
        self.config.write_text(text)
        self.process: subprocess.Popen[bytes] | None = None
        pod = next(pod for pod in rendered.cluster.pods if pod.name == ("nats-hub" if own == HUB else f"nats-{name}"))
        self.probes = pod.container

    def run(self, *more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(nats_server()), "--config", str(self.config), *more],
                env={**os.environ, "POD_NAME": self.name},
                stdout=log,
                stderr=log,
            )
        return self.process

    def asked(self, probe: str) -> bool:
        """The exit code of the pod's own probe, at this machine's port."""
        monitor = self.ports[f"{self.name}:{MONITOR}"]
        command = [part.replace(str(MONITOR), str(monitor)) for part in self.probes[probe]["exec"]["command"]]
        command = [
            part.replace("/app/", f"{ROOT}/deploy/containers/").replace('"/data"', f'"{self.folder}"')
            for part in command
        ]
        environment = {"GRIDPARLEY_HEALTH": str(monitor), "PATH": os.environ["PATH"]}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


@pytest.fixture
def servers(field: Rendered, tmp_path: Path) -> Iterator[dict[str, Server]]:
    names = ["nats-hub-0", "nats-hub-1", "nats-hub-2", "h08"]
    doors = [f"{name}:{number}" for name in names for number in (CLIENT, LEAVES, ROUTES, MONITOR)]
    ports = dict(zip(doors, free_ports(len(doors)), strict=True))
    made = {name: Server(field, name, ports, tmp_path) for name in names}
    yield made
    for server in made.values():
        if server.process is not None:
            server.process.kill()
            server.process.wait()


def test_every_rendered_configuration_is_valid_to_the_server_itself(servers: dict[str, Server]) -> None:
    for server in servers.values():
        assert server.run("-t").wait() == 0, (server.folder / f"{server.name}.log").read_text()


def test_a_server_without_a_majority_is_alive_but_not_ready(servers: dict[str, Server]) -> None:
    alone = servers["nats-hub-0"]
    process = alone.run()
    until(lambda: alone.asked("startupProbe"))
    assert not alone.asked("readinessProbe")
    assert alone.asked("livenessProbe")
    process.kill()
    process.wait()
    assert not alone.asked("livenessProbe")


def test_the_hub_of_three_is_ready_together_and_with_one_killed(servers: dict[str, Server]) -> None:
    for server in servers.values():
        server.run()
    for server in servers.values():
        until(lambda server=server: server.asked("readinessProbe"))
    killed = servers["nats-hub-1"].process
    assert killed is not None
    killed.kill()
    killed.wait()
    until(lambda: all(servers[name].asked("readinessProbe") for name in ("nats-hub-0", "nats-hub-2", "h08")))
    servers["nats-hub-1"].run()
    until(lambda: servers["nats-hub-1"].asked("readinessProbe"))


@pytest.mark.anyio
async def test_a_server_that_cannot_write_any_more_is_not_alive_once_it_could(
    servers: dict[str, Server], field: Rendered
) -> None:
    home = servers["h08"]
    process = home.run()
    until(lambda: home.asked("readinessProbe"))
    agent, made = Address.parse("h08.cem.main"), field.deployment
    url, ca = f"tls://{HOST}:{home.ports[f'h08:{CLIENT}']}", made.certificates.authority
    await provision(made.permissions, "h08", url, made.keys("h08.admin"), ca)
    connection = Connection(url, name=str(agent), inbox=agent.inbox, keys=made.keys(str(agent)), ca=ca)
    await connection.open()
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))  # as a full disk is to the server
    with pytest.raises(NotStored):
        await State(connection, agent).put("probe", 1)
    await connection.close()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    until(lambda: not home.asked("livenessProbe"))
    process.kill()
    process.wait()
    home.run()
    until(lambda: home.asked("readinessProbe") and home.asked("livenessProbe"))


def until(holds: Callable[[], bool], wall_s: float = 100.0) -> None:
    end = time.monotonic() + wall_s
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.2)


@pytest.mark.anyio
async def test_who_waits_for_its_server_is_alive_but_not_ready(street: Rendered) -> None:
    (agent,) = [pod for pod in street.cluster.pods if pod.name == "agent-h07-cem-main"]
    probes = {kind: agent.container[kind]["httpGet"] for kind in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert {probe["port"] for probe in probes.values()} == {"health"}
    (port,) = free_ports(1)

    def ask(path: str) -> int:
        line = http.client.HTTPConnection(HOST, port, timeout=20)
        until(lambda: _connects(line))
        line.request("GET", path)
        status = line.getresponse().status
        line.close()
        return status

    async with anyio.create_task_group() as group:
        group.start_soon(serve_health, HOST, port, lambda: "it waits for its server")
        codes = {kind: await anyio.to_thread.run_sync(ask, probe["path"]) for kind, probe in probes.items()}
        group.cancel_scope.cancel()
    assert codes == {"livenessProbe": 200, "readinessProbe": 503, "startupProbe": 200}


def _connects(line: http.client.HTTPConnection) -> bool:
    try:
        line.connect()
    except ConnectionRefusedError:
        return False
    return True
