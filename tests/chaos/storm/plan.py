"""What is going to happen to the street: drawn from a seed before it begins, so that a seed happens again. Pure."""

import random
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from contracts.roles import OPS
from deploy.run.lines import LINES, line_places
from deploy.topology import GRID, HUB, Topology
from deploy.world_spec import has_world

Kind = Literal["kill", "stop", "cut", "hole", "slow", "skew", "disk", "flood", "order"]
KINDS: tuple[Kind, ...] = ("kill", "stop", "cut", "hole", "slow", "skew", "disk", "flood", "order")
_SHARES: dict[Kind, float] = {
    "kill": 8.0,
    "stop": 4.0,
    "cut": 4.0,
    "hole": 2.0,
    "slow": 2.0,
    "skew": 2.0,
    "disk": 1.0,
    "flood": 2.0,
    "order": 3.0,
}
WAVE_S = (60.0, 240.0)
"""Run time in which the faults of one wave begin."""
SPELL_S = (120.0, 330.0)
"""Quiet between the end of the last fault of a wave and the next wave; orders go on in it."""
AT_ONCE = (3, 8)
APART_S = 60.0
"""Between two faults of one target: each is to be seen by itself."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is done to the street.

    at, for_s   run seconds: after the storm's begin, and how long it lasts (0: it is done at once)
    target      an agent's address, ``world``, ``lines``, a server (``hub``, a site), or a site for its link
    figure      kill, stop, cut, hole: none; slow: seconds of delay each way; skew: seconds ahead; disk: none;
                flood: words per wall second; order: W, a magnitude
    variant     slow: ``jitter`` or ``narrow``; order: the direction
    """

    number: int
    kind: Kind
    target: str
    at: float
    for_s: float = 0.0
    figure: float = 0.0
    variant: str = ""

    @property
    def until(self) -> float:
        return self.at + self.for_s

    def __str__(self) -> str:
        more = " ".join(text for text in (self.variant, f"{self.figure:g}" if self.figure else "") if text)
        lasts = f" for {self.for_s:.0f} s" if self.for_s else ""
        return (
            f"{self.number:3d}  +{self.at:6.0f} s  {self.kind:5}  {self.target}{lasts}{f'  ({more})' if more else ''}"
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``length_s``: of the storm, run time; the quiet end comes after it. ``left_out``: kinds, each with why."""

    seed: int
    topology: str
    length_s: float
    faults: tuple[Fault, ...]
    left_out: Mapping[Kind, str] = {}

    def text(self) -> str:
        head = f"seed {self.seed}, {self.topology}: {len(self.faults)} faults in {self.length_s:.0f} s of run time"
        missing = [f"left out: {kind}, {why}" for kind, why in self.left_out.items()]
        return "\n".join([head, *missing, *map(str, self.faults)])


def draw(topology: Topology, seed: int, length_s: float, left_out: Mapping[Kind, str] | None = None) -> Plan:
    """Waves of several faults, quiet spells between them. The same arguments give the same plan."""
    dice = random.Random(seed)
    left_out = left_out or {}
    kinds = [kind for kind in KINDS if kind not in left_out]
    faults: list[Fault] = []
    begin = dice.uniform(*SPELL_S)
    while begin < length_s:
        wave_s = dice.uniform(*WAVE_S)
        for at in sorted(begin + dice.uniform(0.0, wave_s) for _ in range(dice.randint(*AT_ONCE))):
            [kind] = dice.choices(kinds, [_SHARES[kind] for kind in kinds])
            fault = _fault(dice, topology, kind, at, len(faults))
            if fault.until < length_s and all(_apart(fault, other) for other in faults):
                faults.append(fault)
        begin = max([begin + wave_s, *(fault.until for fault in faults if fault.kind != "order")]) + dice.uniform(
            *SPELL_S
        )
    return Plan(seed=seed, topology=topology.name, length_s=length_s, faults=tuple(faults), left_out=left_out)


def _apart(one: Fault, other: Fault) -> bool:
    if one.target != other.target:
        return True
    return one.at > other.until + APART_S or other.at > one.until + APART_S


def _fault(dice: random.Random, topology: Topology, kind: Kind, at: float, number: int) -> Fault:
    agents = agents_of(topology)
    devices = [str(address) for address, entry in topology.entries.items() if entry.device and address.site != GRID]
    sites = sorted(topology.sites)
    rest = [LINES] if line_places(topology) else []
    if has_world(topology):
        rest.append("world")
    target, for_s, figure, variant = "", 0.0, 0.0, ""
    match kind:
        case "kill" | "stop":
            # Half of the blows hit what much depends on.
            heavy = [HUB, *sites, *rest, *(one for one in agents if ".cem." in one or ".dso." in one)]
            target = dice.choice(heavy if dice.random() < 0.5 else agents)
            for_s = dice.uniform(20.0, 150.0) if kind == "stop" else 0.0
        case "cut" | "hole":
            target, for_s = dice.choice(sites), dice.choice([dice.uniform(20.0, 90.0), dice.uniform(170.0, 400.0)])
        case "slow":
            target, for_s = dice.choice(sites), dice.uniform(60.0, 300.0)
            variant = dice.choice(["jitter", "narrow"])
            figure = round(dice.uniform(0.05, 0.4), 2)
        case "skew":
            target, for_s = dice.choice(agents), dice.uniform(60.0, 300.0)
            figure = round(dice.choice([-1, 1]) * dice.uniform(1.0, 6.0), 1)
        case "disk":
            target, for_s = dice.choice([HUB, *sites]), dice.uniform(60.0, 200.0)
        case "flood":
            target, for_s = dice.choice(devices), dice.uniform(100.0, 240.0)
            figure = float(dice.choice([500, 1500, 3000]))
        case "order":
            target, for_s = dice.choice(sites), dice.uniform(120.0, 600.0)
            variant = dice.choice(["consumption", "production"])
            figure = float(dice.randint(5, 12) * 1000)
    return Fault(
        number=number,
        kind=kind,
        target=target,
        at=round(at, 1),
        for_s=round(for_s, 1),
        figure=figure,
        variant=variant,
    )


def agents_of(topology: Topology) -> list[str]:
    """Every agent that has a process."""
    return [str(a) for a, entry in topology.entries.items() if a.role != OPS.name and not entry.attach]


def targets(faults: Iterable[Fault], kind: Kind) -> set[str]:
    """What the faults of one kind hit."""
    return {fault.target for fault in faults if fault.kind == kind}
