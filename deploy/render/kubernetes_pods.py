"""The pods of a deployment that are not NATS: agents, lines, the simulated world and its clock, recorder, Jaeger."""

from bus.address import Address
from contracts.roles import CEM, FORECASTER
from deploy.render.compose import JAEGER, MODBUS
from deploy.render.deployment import digest
from deploy.render.kubernetes_nats import provision, site
from deploy.render.kubernetes_parts import (
    DATA_AT,
    KEYS,
    Memory,
    Object,
    Plan,
    claim,
    claimed,
    container,
    deployment,
    labels,
    mounted,
    named,
    noted,
    on_the_clocks_node,
    our_volumes,
    ours,
    pod,
    service,
    signed_in,
)
from deploy.topology import GRID, HUB
from deploy.world_spec import modbus_port

SPANS = {"otlp-grpc": 4317, "otlp-http": 4318}
SCREEN = 16686
_RECORDS_AT = "/records"
_RECORDS = mounted("records", _RECORDS_AT)
_AGENT = Memory(64, 160)
_OF_ROLE = {CEM.name: Memory(96, 320, 50), FORECASTER.name: Memory(192, 512, 20)}
_WORLD, _LINE, _CLOCK, _RECORD = Memory(384, 1024, 250), Memory(48, 128), Memory(48, 128), Memory(96, 512, 20)


def grid_side(plan: Plan) -> list[Object]:
    """The hub's streams, the operator's agents and line, and the recorder where the topology has one."""
    found = [provision(plan, HUB), *_hardware(plan, GRID), *_agents(plan, GRID)]
    if plan.deployment.recorder is not None:
        found += _recorder(plan, plan.deployment.recorder)
    return found


def home(plan: Plan, name: str) -> list[Object]:
    """All of one site."""
    return [*site(plan, name), provision(plan, name), *_hardware(plan, name), *_agents(plan, name)]


def _agents(plan: Plan, place: str) -> list[Object]:
    return [one for address in plan.agents if address.site == place for one in _agent(plan, address)]


def _agent(plan: Plan, address: Address) -> list[Object]:
    name = named("agent", str(address))
    more = {"hardware": "line"} if plan.has_line(address) else {}
    labelled = labels("agent", address.site, role=address.role, agent=str(address), **more)
    environment = signed_in(plan, plan.deployment.server_of(address)) | _spans(plan)
    if plan.has_line(address):
        environment["GRIDPARLEY_GATEWAY"] = f"{_line_name(address.site)}:{MODBUS}"
    volumes, mounts, found = [plan.own_secret(name, str(address))], [KEYS], []
    played = plan.deployment.permissions.agent_of(address.role)
    if played is not None and "database" in played.settings.__struct_fields__:
        environment["GRIDPARLEY_DATA"] = DATA_AT
        found.append(claim(name, labelled, "2Gi"))
        volumes.append(claimed("data", name))
        mounts.append(mounted("data", DATA_AT))
    one = ours(
        plan,
        plan.images.world if address.role == FORECASTER.name else plan.images.actor,
        ["agent", str(address)],
        _OF_ROLE.get(address.role, _AGENT),
        clock=True,
        health=True,
        environment=environment,
        mounts=mounts,
    )
    facts = plan.facts_of(address)
    return [*found, _one_pod(plan, name, labelled, one, volumes, facts, clock=True)]


def _spans(plan: Plan) -> dict[str, str]:
    """Where spans go. Jaeger takes no metrics: those are asked for by Prometheus."""
    if plan.jaeger:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://jaeger:{SPANS['otlp-http']}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
        }
    if plan.otlp:
        grpc = plan.collector[1] == SPANS["otlp-grpc"]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": plan.otlp,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if grpc else "http/protobuf",
        }
    return {}


def _one_pod(
    plan: Plan, name: str, labelled: dict[str, str], one: Object, volumes: list[Object], facts: str, *, clock: bool
) -> Object:
    """A Deployment of one of our containers.

    facts   a digest of what the topology tells it
    clock   it lives in the run's time
    """
    node = on_the_clocks_node(plan) if clock else {}
    noting = noted(facts, labelled)
    template = pod(labelled, one, [*our_volumes(plan, clock=clock), *volumes], annotations=noting, **node)
    return deployment(name, labelled, template)


# -------------------------------------------------------------------- hardware


def _line_name(place: str) -> str:
    return named("line", place)


def _hardware(plan: Plan, place: str) -> list[Object]:
    """The one master of a place's gateway, where it has hardware."""
    if place not in plan.lines:
        return []
    name, labelled = _line_name(place), labels("line", place)
    upstream = plan.lines[place] or f"world:{modbus_port(plan.deployment.topology, place)}"
    one = ours(
        plan,
        plan.images.actor,
        ["line", "--site", place, "--upstream", upstream, "--listen", f"0.0.0.0:{MODBUS}"],
        _LINE,
        clock=False,
        health=True,
        ports=[{"name": "modbus", "containerPort": MODBUS}],
    )
    topology = plan.deployment.topology
    facts = digest(topology.run, topology.sites.get(place, topology.grid))
    return [service(name, labelled, {"modbus": MODBUS}), _one_pod(plan, name, labelled, one, [], facts, clock=False)]


def laboratory(plan: Plan) -> list[Object]:
    """The simulated world and the clock of its run; nothing where all hardware is real."""
    if not plan.deployment.simulated:
        return []
    simulated = [place for place, hardware in plan.deployment.lines.items() if not hardware]
    numbers = [modbus_port(plan.deployment.topology, place) for place in simulated]
    ports = {f"modbus-{number}": number for number in numbers}
    world, clock = labels("world", GRID), labels("clock", GRID)
    return [
        claim("clock", clock, "16Mi"),
        _clock(plan, clock),
        claim("records", world, "5Gi"),
        service("world", world, ports),
        _one_pod(
            plan,
            "world",
            world,
            ours(
                plan,
                plan.images.world,
                ["world"],
                _WORLD,
                clock=True,
                health=True,
                environment={"GRIDPARLEY_DATA": _RECORDS_AT},  # what was true beside what was said, for the report
                ports=[{"name": port, "containerPort": number} for port, number in ports.items()],
                mounts=[_RECORDS],
            ),
            [claimed("records", "records")],
            digest(plan.deployment.topology),
            clock=True,
        ),
    ]


def _clock(plan: Plan, labelled: dict[str, str]) -> Object:
    """The keeper of the clock: where it is put, all that share its clock are put too."""
    patience_s = 600 if len(plan.sites) == len(plan.deployment.topology.site) else 120  # who is left out never comes
    one = ours(plan, plan.images.actor, ["clock", "--wait", str(patience_s)], _CLOCK, clock=True, health=True)
    noting = noted(digest(plan.deployment.topology), labelled)
    return deployment("clock", labelled, pod(labelled, one, our_volumes(plan, clock=True), annotations=noting))


# -------------------------------------------------------------------- who watches


def _recorder(plan: Plan, address: Address) -> list[Object]:
    labelled = labels("record", GRID)
    one = ours(
        plan,
        plan.images.world,
        ["record", "--out", _RECORDS_AT],
        _RECORD,
        clock=True,
        health=True,
        environment=signed_in(plan, HUB),
        mounts=[KEYS, _RECORDS],
    )
    volumes = [plan.own_secret("record", str(address)), claimed("records", "records")]
    facts = digest(plan.deployment.topology)
    made = _one_pod(plan, "record", labelled, one, volumes, facts, clock=True)
    return [made] if plan.deployment.simulated else [claim("records", labelled, "5Gi"), made]


def jaeger(plan: Plan) -> list[Object]:
    """All in one, in memory: to look at, not to keep."""
    if not plan.jaeger:
        return []
    labelled, ports = labels("jaeger", GRID), {**SPANS, "screen": SCREEN}
    answers = {"tcpSocket": {"port": "screen"}, "periodSeconds": 10}
    one = container(
        "jaeger",
        JAEGER,
        [],
        Memory(128, 1024, 50),
        ports=[{"name": port, "containerPort": number} for port, number in ports.items()],
        volumeMounts=[mounted("tmp", "/tmp")],  # noqa: S108  the container's
        readinessProbe=answers,
        livenessProbe=answers,
    )
    del one["args"]  # as its image says
    template = pod(labelled, one, [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}])
    return [service("jaeger", labelled, ports), deployment("jaeger", labelled, template)]
