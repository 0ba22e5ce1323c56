"""A deployment as a compose file: a container per actor, a network per site, nothing reachable that need not be."""

import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bus.address import Address
from contracts.roles import FORECASTER
from deploy.nats.places import CLIENT, LEAVES, MONITOR, WEBSOCKET, Place
from deploy.nats.provision import consumers, streams
from deploy.render.deployment import HEALTH, CannotDeploy, Deployment, digest
from deploy.topology import GRID, HUB
from deploy.world_spec import modbus_port

MODBUS = 5020
JAEGER = "jaegertracing/jaeger:2.10.0"
PROMETHEUS = "prom/prometheus:v3.5.0"
GRAFANA = "grafana/grafana:12.1.1"
GRPC, HTTP = 4317, 4318
OTLP = f"http://traces:{HTTP}"
PATIENCE_S = "600"
"""Wall seconds: a hundred containers come up slowly on a small machine, and a run that begins without some lies."""
Service = dict[str, Any]


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """Of an actor, of what needs the simulated world's packages, of a NATS server."""

    actor: str
    world: str
    nats: str


class Compose:
    """Makes one compose file. ``near`` is the deployment's folder as the file names it.

    only   places whose part it is, ``grid`` or sites; the others are elsewhere. Empty: all. Raises CannotDeploy.
    """

    def __init__(self, deployment: Deployment, images: Images, near: Path, only: tuple[str, ...] = ()) -> None:
        self.deployment, self.images = deployment, images
        self.near = near if near.is_absolute() else Path("./") / near
        every = (GRID, *deployment.topology.sites)
        self.places = only or every
        self.apart = set(self.places) != set(every)
        unknown = sorted(set(self.places) - set(every))
        if unknown:
            raise CannotDeploy(f"there is no place {', '.join(unknown)}: the places are {', '.join(every)}")
        if self.apart and deployment.simulated:
            raise CannotDeploy(
                "a simulated world and its clock are of one machine: render the whole topology, or give each site the "
                '`gateway = "host:port"` of its hardware and the grid side that of the substation'
            )
        self.services: dict[str, Service] = {}
        self.volumes: set[str] = set()

    def text(self) -> str:
        """The file."""
        topology = self.deployment.topology
        for one in self.deployment.places:
            if _network(one.server) in self.places:
                self._server(one)
        for server in topology.servers:
            if _network(server) in self.places:
                self._provision(server)
        if self.deployment.simulated:
            self._world()
        for place, hardware in self.deployment.lines.items():
            if place in self.places:
                self._line(place, hardware)
        for address in self.deployment.agents:
            if address.site in self.places:
                self._agent(address)
        if self.deployment.recorder is not None and GRID in self.places:
            self._recorder(self.deployment.recorder)
        for address in self.deployment.home_recorders:
            if address.site in self.places:
                self._recorder(address)
        self._tools()
        self._traces()
        self._watchers()
        return yaml.safe_dump(
            {
                "name": _project("-".join((topology.name, *self.places)) if self.apart else topology.name),
                "services": self.services,
                "networks": self._networks(),
                "volumes": {name: {} for name in sorted(self.volumes)},
            },
            sort_keys=False,
            width=120,
        )

    # ---------------------------------------------------------------- parts of every service

    def _volume(self, name: str, at: str) -> str:
        self.volumes.add(name)
        return f"{name}:{at}"

    def _bind(self, what: str, at: str) -> str:
        path = self.near / what
        return f"{path if path.is_absolute() else f'./{path}'}:{at}:ro"

    def _ours(self, image: str, command: list[str], networks: list[str], **more: Any) -> Service:
        """A container of our image: no root, nothing to write but what it is given, no privilege to gain."""
        environment = {
            "GRIDPARLEY_TOPOLOGY": "/etc/gridparley/topology.toml",
            "GRIDPARLEY_HEALTH": str(HEALTH),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"${{OTEL_EXPORTER_OTLP_ENDPOINT:-{OTLP}}}",
            "OTEL_METRICS_EXPORTER": "none",  # figures are asked for, at /metrics
            **more.pop("environment", {}),
        }
        volumes = [self._bind("topology", "/etc/gridparley"), *more.pop("volumes", [])]
        if self.deployment.simulated:
            environment["GRIDPARLEY_CLOCK"] = "/clock/clock"
            volumes.append(self._volume("clock", "/clock"))
        return {
            "image": image,
            "command": command,
            **_held(),
            "environment": environment,
            "volumes": volumes,
            "networks": networks,
            **more,
        }

    def _signed_in(self, server: str, identity: str) -> tuple[dict[str, str], list[str]]:
        """Environment and files of who connects to a server."""
        environment = {"GRIDPARLEY_NATS": self.deployment.url_of(server), "GRIDPARLEY_KEYS": "/run/gridparley"}
        return environment, [self._bind(f"agents/{identity}", "/run/gridparley")]

    # ---------------------------------------------------------------- servers

    def _server(self, place: Place) -> None:
        hub = place.server == HUB
        name = f"nats-{place.name}"
        networks: dict[str, Any] = {place.server if not hub else GRID: {}, "links": {}}
        if place.cluster is not None:
            networks[GRID] = {"aliases": [f"nats-{HUB}"]}
        service: Service = {
            "image": self.images.nats,
            "command": ["--config", f"/etc/nats/{Path(place.config).name}"],
            **_held(),
            "environment": {"GRIDPARLEY_HEALTH": str(MONITOR)},
            "volumes": [
                self._bind(f"servers/{place.server}", "/etc/nats"),
                self._volume(f"nats-{place.name}", place.store),
            ],
            "networks": networks,
        }
        if hub:
            service["labels"] = {"gridparley.doors": f"clients {CLIENT}, links {LEAVES}, over WebSocket {WEBSOCKET}"}
            if self.apart:
                port, inside = (443, WEBSOCKET) if place.websocket else (LEAVES, LEAVES)
                service["ports"] = [f"{port}:{inside}"]  # where the sites' links arrive, nothing else
        self.services[name] = service

    def _servers_of(self, server: str) -> list[str]:
        names = [place.name for place in self.deployment.places if place.server == server]
        return [f"nats-{name}" for name in names]

    def _provision(self, server: str) -> None:
        environment, files = self._signed_in(server, f"{server}.admin")
        members = self._servers_of(server)
        command = ["provision", server] + (["--replicas", str(len(members))] if len(members) > 1 else [])
        service = self._ours(
            self.images.actor,
            command,
            [_network(server)],
            environment=environment,
            volumes=files,
            depends_on=_after(*members),
            labels=_facts(
                digest(streams(self.deployment.permissions, server), consumers(self.deployment.permissions, server))
            ),
        )
        service["restart"] = "on-failure:5"
        self.services[f"provision-{server}"] = service

    # ---------------------------------------------------------------- what stands behind the agents

    def _world(self) -> None:
        self.services["world"] = self._ours(
            self.images.world,
            ["world"],
            ["field"],
            environment={"GRIDPARLEY_DATA": "/records"},  # what was true beside what was said, for the report
            volumes=[self._volume("records", "/records")],
            depends_on=_after("clock"),
            labels=_facts(digest(self.deployment.topology)),
        )
        self.services["clock"] = self._ours(
            self.images.actor,
            ["clock", "--wait", PATIENCE_S],
            ["field"],
            labels=_facts(digest(self.deployment.topology)),
        )

    def _line(self, place: str, hardware: str) -> None:
        networks = [place, "hardware" if hardware else "field"]
        upstream = hardware or f"world:{modbus_port(self.deployment.topology, place)}"
        command = ["line", "--site", place, "--upstream", upstream, "--listen", f"0.0.0.0:{MODBUS}"]
        more: Service = {} if hardware else {"depends_on": _after("world")}
        self.services[f"line-{place}"] = self._ours(self.images.actor, command, networks, **more)

    # ---------------------------------------------------------------- actors

    def _agent(self, address: Address) -> None:
        deployment = self.deployment
        entry = deployment.topology.entries[address]
        server = deployment.server_of(address)
        environment, volumes = self._signed_in(server, str(address))
        awaited: dict[str, Any] = {f"provision-{server}": {"condition": "service_completed_successfully"}}
        if entry.device and address.site in deployment.lines:
            environment["GRIDPARLEY_GATEWAY"] = f"line-{address.site}:{MODBUS}"
            awaited |= _after(f"line-{address.site}")
        agent = deployment.permissions.agent_of(address.role)
        if agent is not None and "database" in agent.settings.__struct_fields__:
            environment["GRIDPARLEY_DATA"] = "/data"
            volumes.append(self._volume(f"data-{address}".replace(".", "-"), "/data"))
        image = self.images.world if address.role == FORECASTER.name else self.images.actor
        self.services[str(address)] = self._ours(
            image,
            ["agent", str(address)],
            [address.site],
            environment=environment,
            volumes=volumes,
            depends_on=awaited,
            labels=_facts(deployment.facts_of(address)),
        )

    def _recorder(self, address: Address) -> None:
        """All write into the run's one folder, a home's into a part of its own; each hears its own server alone."""
        home = address.site != GRID
        server = self.deployment.server_of(address)
        environment, files = self._signed_in(server, str(address))
        self.services[f"record-{address.site}" if home else "record"] = self._ours(
            self.images.world,
            ["record", "--out", "/records", *(["--site", address.site] if home else [])],
            [address.site],
            environment=environment,
            volumes=[*files, self._volume("records", "/records")],
            depends_on={f"provision-{server}": {"condition": "service_completed_successfully"}},
        )

    # ---------------------------------------------------------------- who comes and goes

    def _tools(self) -> None:
        """``docker compose run --rm operator order ...``, ``docker compose run --rm h07.app.phone app why h07``."""
        for address in self.deployment.tools:
            if address.site not in self.places:
                continue
            server = self.deployment.server_of(address)
            environment, files = self._signed_in(server, str(address))
            service = self._ours(self.images.actor, ["--help"], [address.site], environment=environment, volumes=files)
            service["healthcheck"] = {"disable": True}
            name = address.name if address.site == GRID else str(address)
            self.services[name] = {**service, "profiles": ["tools"], "restart": "no"}

    # ---------------------------------------------------------------- who watches

    def _traces(self) -> None:
        """Takes spans where nobody has a Jaeger: ``gridparley trace`` reads what it writes."""
        self.services["traces"] = {
            "image": self.images.actor,
            "command": ["traces", "--out", "/spans", "--grpc", f"0.0.0.0:{GRPC}", "--http", f"0.0.0.0:{HTTP}"],
            **_held(),
            "environment": {"GRIDPARLEY_HEALTH": str(HTTP)},
            "volumes": [self._volume("spans", "/spans")],
            "networks": list(self.places),
        }

    def _watchers(self) -> None:
        """Optional: ``docker compose --profile jaeger up``, ``--profile metrics up``. Their pages are at loopback."""
        self.services["jaeger"] = _watcher("jaeger", JAEGER, 16686, [*self.places, "desk"], [])
        configured = ["prometheus.yml", "alerts.yml", "targets"]
        self.services["prometheus"] = _watcher(
            "metrics",
            PROMETHEUS,
            9090,
            [*self.places, *(["field"] if self.deployment.simulated else []), "desk"],
            [self._bind(f"observe/{name}", f"/etc/prometheus/{name}") for name in configured],
        )
        provisioned = {"provisioning": "/etc/grafana/provisioning", "dashboards": "/var/lib/grafana/dashboards"}
        self.services["grafana"] = _watcher(
            "metrics",
            GRAFANA,
            3000,
            ["desk"],
            [self._bind(f"observe/grafana/{name}", at) for name, at in provisioned.items()],
        )

    def _networks(self) -> dict[str, Any]:
        """A network per place, one for the sites' links, one between lines and the world or real hardware.

        What leads out: the links, where the other side is elsewhere, the way to real hardware, the pages at the desk.
        """
        inside = {"internal": True}
        networks: dict[str, Any] = {place: dict(inside) for place in self.places}
        networks["links"] = {} if self.apart else dict(inside)
        if self.deployment.simulated:
            networks["field"] = dict(inside)
        if any(hardware for place, hardware in self.deployment.lines.items() if place in self.places):
            networks["hardware"] = {}
        networks["desk"] = {}
        return networks


def _project(name: str) -> str:
    """What compose takes as a project's name: a topology may be called as its owner likes."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "gridparley"


def _network(server: str) -> str:
    return GRID if server == HUB else server


def _facts(told: str) -> Service:
    """Who is told other things by a changed topology is made anew by ``docker compose up -d``, nobody else."""
    return {"gridparley.facts": told}


def _held() -> Service:
    return {
        "restart": "unless-stopped",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": "6s",
        "healthcheck": {"interval": "2m", "timeout": "10s", "start_period": "2m"},
    }


def _watcher(profile: str, image: str, port: int, networks: list[str], volumes: list[str]) -> Service:
    return {
        "image": image,
        "profiles": [profile],
        "restart": "unless-stopped",
        "ports": [f"127.0.0.1:{port}:{port}"],
        "networks": networks,
        "volumes": volumes,
    }


def _after(*names: str) -> Service:
    """Started before, not waited for: each of ours has patience with what it needs, and a look at a container's health
    costs a tenth of a second of processor time, which a hundred containers cannot be asked for every second."""
    return {name: {"condition": "service_started"} for name in names}
