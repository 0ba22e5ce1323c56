"""Least rights, derived: what an agent may publish and subscribe follows from what its skills declare and who is there.

The leaf of a site holds each of its agents to its own rights; the hub holds the site as a whole to the site's name. So
nobody inside a home can speak as a neighbour, nor as the CEM of its own home.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from agents.kit import service
from agents.kit.agent import Agent, Peers
from agents.kit.skill import Vocabulary
from bus import store
from bus.address import HOME, Address, group, heard, is_home, say, tail, to
from contracts.kit import Conversation, Message
from contracts.operator import ORDERS
from contracts.roles import OPS
from contracts.system import GROUP_MEMBERS, GroupMessage, NoDeal, Refusal
from deploy.topology import GRID, HUB, Topology

_SERVICE_VERBS = ("PING", "INFO", "STATS")


@dataclass(frozen=True)
class Rights:
    """Subjects that a user may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


@dataclass
class _Words:
    """Words by the role that they are said to."""

    to: dict[str, set[type[Message]]] = field(default_factory=dict)

    def add(self, roles: Iterable[str], kinds: Iterable[type[Message]]) -> None:
        for role in roles:
            self.to.setdefault(role, set()).update(kinds)


class Permissions:
    """The rights of every user of a topology. ``agent_of``: role -> agent, None for operators' tools."""

    def __init__(self, topology: Topology, agent_of: Callable[[str], Agent | None]) -> None:
        self.topology, self.agent_of = topology, agent_of
        self.vocabularies: dict[str, Vocabulary] = {}
        for address in topology.entries:
            agent = agent_of(address.role)
            if agent is not None:
                self.vocabularies[address.role] = agent.vocabulary
        self._said_to = {role: _said_to(vocabulary) for role, vocabulary in self.vocabularies.items()}
        self._said_to[OPS.name] = _said_to(Vocabulary(opens=ORDERS))
        for role, words in self._said_to.items():
            # Who may be addressed may be told that its word changed nothing.
            words.add([other for other, others in self._said_to.items() if role in others.to], [Refusal])

    def agents(self) -> list[Address]:
        """Every address that plays a role on the bus; operators' tools are none."""
        return [address for address in self.topology.entries if address.role in self.vocabularies]

    def may_address(self, sender: Address, receiver: Address) -> set[type[Message]]:
        """The words that one agent may say to another."""
        if sender == receiver or not _may_meet(sender, receiver) or sender.role not in self._said_to:
            return set()
        if OPS.name in (sender.role, receiver.role) and (sender.site, receiver.site) != (GRID, GRID):
            return set()  # orders are given at the control room's own server, never from a home
        return self._said_to[sender.role].to.get(receiver.role, set())

    def peers(self, address: Address) -> Peers:
        """Its own site, and beyond its border those that it may address or hears."""
        vocabulary = self.vocabularies[address.role]
        heard_roles = {role.name for mark in vocabulary.hears if mark.where == "grid" for role in mark.of}
        known = tuple(
            other
            for other in self.agents()
            if other != address
            and (other.site == address.site or self.may_address(address, other) or other.role in heard_roles)
        )
        groups = self.topology.groups if vocabulary.speaks_to_groups else self.groups_of(address)
        return Peers(addresses=known, groups=groups)

    def groups_of(self, address: Address) -> tuple[str, ...]:
        """The groups that it is a member of."""
        members = {role.name for role in GROUP_MEMBERS}
        attached = self.topology.entries[address].attach
        return self.topology.groups_of(address) if address.role in members and not attached else ()

    def hub_domain(self, address: Address) -> str | None:
        """The grid side's JetStream domain, None for who is connected to the hub itself."""
        return None if address.site == GRID else HUB

    def heard_records(self, address: Address) -> list[str]:
        """The durable says of the grid side that it hears, as filters of its consumer."""
        return sorted(
            subject
            for mark in self.vocabularies[address.role].hears
            if mark.where == "grid" and mark.kind.durable
            for subject in _heard_from(mark.kind, mark.of, "*", home=False)
        )

    # ---------------------------------------------------------------- one agent

    def of(self, address: Address) -> Rights:
        """An agent's rights at its own server."""
        if address.role == OPS.name:
            return self._operator(address)
        publish = {
            *self._addressed(address),
            *self._said(address),
            *self._kept(address),
            *self._missed(address),
            *self._closed(address),
            *self._last_values(address),
            f"_R.*.{OPS.name}.>",
        }
        subscribe = {*address.mailboxes, f"{address.inbox}.>", *self._heard(address), *service.subjects(address)}
        subscribe.update(f"group.{name}.>" for name in self.groups_of(address))
        return Rights(tuple(sorted(publish)), tuple(sorted(subscribe)))

    def _addressed(self, sender: Address) -> Iterator[str]:
        operators = [address for address in self.topology.entries if address.role == OPS.name]
        for receiver in (*self.agents(), *operators):
            for kind in self.may_address(sender, receiver):
                yield _to(receiver, sender, kind)

    def _closed(self, sender: Address) -> Iterator[str]:
        """Asking the stream for the words of its own that make deals: the last one on the subject, no other's."""
        vocabulary = self.vocabularies[sender.role]
        closing = {word for tables in (vocabulary.opens, vocabulary.answers) for t in tables for word in t.deal}
        for receiver in self.agents():
            for kind in self.may_address(sender, receiver) & closing:
                domain = None if is_home(sender, receiver) else self.hub_domain(sender)
                yield f"{_api(domain)}.DIRECT.GET.{store.TALKS}.{_to(receiver, sender, kind)}"

    def _said(self, address: Address) -> Iterator[str]:
        vocabulary = self.vocabularies[address.role]
        yield from (say(address, kind, home=True) for kind in vocabulary.says_home)
        yield from (say(address, kind, home=False) for kind in vocabulary.says_grid)
        if vocabulary.speaks_to_groups:
            yield from (group(name, address, GroupMessage) for name in self.topology.groups)

    def _kept(self, address: Address) -> Iterator[str]:
        yield f"dead.{address}"
        yield f"$KV.STATE.{address}.>"
        yield f"$JS.API.DIRECT.GET.{store.STATE}.$KV.STATE.{address}.>"

    def _missed(self, address: Address) -> Iterator[str]:
        sources: list[tuple[str, str | None]] = [(store.TALKS, None)]
        hub = self.hub_domain(address)
        if hub is not None:
            sources.append((store.TALKS, hub))
        if self.groups_of(address):
            sources.append((store.GROUPS, hub))
        if self.heard_records(address):
            sources.append((store.RECORDS, hub))
        for stream, domain in sources:
            name = store.consumer_name(address, home=domain is None and hub is not None)
            yield f"{_api(domain)}.CONSUMER.MSG.NEXT.{stream}.{name}"
            yield f"$JS.ACK.{stream}.{name}.>"

    def _last_values(self, address: Address) -> Iterator[str]:
        for mark in self.vocabularies[address.role].hears:
            if mark.where == "addressed":
                continue
            home = mark.where == "home"
            stream = store.RECORDS if mark.kind.durable else store.LAST
            api = _api(None if home else self.hub_domain(address))
            for subject in _heard_from(mark.kind, mark.of, address.site if home else "*", home=home):
                yield f"{api}.DIRECT.GET.{stream}.{subject}"

    def _heard(self, address: Address) -> Iterator[str]:
        for mark in self.vocabularies[address.role].hears:
            if mark.where != "addressed":
                home = mark.where == "home"
                yield from _heard_from(mark.kind, mark.of, address.site if home else "*", home=home)

    def _operator(self, address: Address) -> Rights:
        """Operators' tools listen to everything at their own server, order at the control room, speak for nobody."""
        publish = {f"$SRV.{verb}{rest}" for verb in _SERVICE_VERBS for rest in ("", ".>")}
        publish |= {*self._addressed(address), *self._kept(address)}
        publish |= {"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"}
        for stream in (store.TALKS, store.RECORDS, store.GROUPS, store.LAST, store.DEAD):
            publish |= {
                f"$JS.API.DIRECT.GET.{stream}",
                f"$JS.API.DIRECT.GET.{stream}.>",
                f"$JS.API.STREAM.MSG.GET.{stream}",
                f"$JS.API.CONSUMER.CREATE.{stream}.>",
                f"$JS.API.CONSUMER.CREATE.{stream}",
                f"$JS.API.CONSUMER.INFO.{stream}.>",
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.>",
                f"$JS.API.CONSUMER.DELETE.{stream}.>",
                f"$JS.ACK.{stream}.>",
            }
        site = address.site
        subscribe = {f"{address.inbox}.>", f"{HOME}to.{site}.>", f"{HOME}say.{site}.>"}
        subscribe |= {"to.>", "say.>", "group.>", "dead.>"} if site == GRID else {f"dead.{site}.>"}
        return Rights(tuple(sorted(publish)), tuple(sorted(subscribe)))

    # ---------------------------------------------------------------- one site at the hub

    def of_link(self, site: str) -> Rights:
        """What a site as a whole may say to and hear from the hub: it speaks as itself, nothing of the home crosses.

        The hub passes its interest on to the leaf only where a right covers it or lies inside it: rights end in ``>``,
        and have no ``*`` before, else a listener to ``to.>`` hears nothing (nats-server 2.15). They bind the site; the
        leaf binds the agent.
        """
        publish = {f"say.{site}.>", f"dead.{site}.>", f"_R.{GRID}.{OPS.name}.>"}
        subscribe = {f"to.{site}.>", f"_R.{site}.>", "$SRV.>"}
        subscribe.update(f"group.{name}.>" for name in self.topology.sites[site].groups)
        for address in self.agents():
            if address.site != site:
                continue
            rights = self.of(address)
            publish.update(
                f"to.{receiver}.{site}.>"
                for receiver in self.agents()
                if receiver.site == GRID and self.may_address(address, receiver)
            )
            at_home = f".{store.consumer_name(address, home=True)}."
            publish.update(s for s in rights.publish if s.startswith((f"$JS.{HUB}.", "$JS.ACK.")) and at_home not in s)
            subscribe.update(s for s in rights.subscribe if s.startswith("say."))
        return Rights(tuple(sorted(publish)), tuple(sorted(subscribe)))


def _to(receiver: Address, sender: Address, kind: type[Message]) -> str:
    """Across a site's border the right is to say it to the role, whoever plays it."""
    if is_home(sender, receiver):
        return to(receiver, sender, kind)
    site = "*" if sender.site == GRID else GRID
    return f"to.{site}.{receiver.role}.*.{sender}.{tail(kind)}"


def words_of(table: Conversation, side: str) -> set[type[Message]]:
    """Every word that a side of a table may say, and that it takes back the one that would have made a deal."""
    closes = any(table.closer(word) == side for word in table.deal)
    return table.says(side) | ({NoDeal} if closes else set())


def _said_to(vocabulary: Vocabulary) -> _Words:
    words = _Words()
    for kind, role in vocabulary.tells:
        words.add([role.name], [kind])
    for table in vocabulary.opens:
        words.add([role.name for role in table.answered_by], words_of(table, table.opener))
    for table in vocabulary.answers:
        words.add([role.name for role in table.opened_by], words_of(table, table.answerer))
    return words


def _may_meet(one: Address, other: Address) -> bool:
    """Homes do not speak to each other: a word crosses a site's border from or to the grid side."""
    return one.site == other.site or GRID in (one.site, other.site)


def _heard_from(kind: type[Message], of: Iterable[object], site: str, *, home: bool) -> Iterator[str]:
    roles = [getattr(role, "name", "*") for role in of] or ["*"]
    for role in roles:
        yield heard(kind, site=site, role=role, home=home)


def _api(domain: str | None) -> str:
    return "$JS.API" if domain is None else f"$JS.{domain}.API"
