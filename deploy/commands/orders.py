"""An operator's orders to the control room of a running street, over its bus, and the answers in plain words."""

import anyio

from bus import tracing
from bus.address import Address
from bus.bus import Bus
from contracts.kit import Conversation, Lapsed, Message
from contracts.operator import ORDERS, Done, NotDone, OrderAnswers, OrderGroupMessage, OrderPower
from contracts.roles import DSO, OPS
from deploy.nats.provision import OPERATOR
from deploy.reach import Reach
from deploy.records.wording import kw
from deploy.topology import GRID, Topology

FOR = {table.opening: table for table in ORDERS}
"""Which talk each order opens."""


class CannotOrder(Exception):
    """The topology has nobody to order, or nobody to be ordered."""


async def order(here: Reach, word: Message) -> tuple[Done | NotDone | None, str]:
    """Say an order; (answer, talk), the answer None when the control room stayed silent.

    Raises CannotOrder, BusUnavailable, FileNotFoundError.
    """
    operator, control_room = _who(here.topology)
    tracing.start(OPS.name, str(operator), folder=here.spans)
    try:
        return await _order(here.doors.bus(operator, here.clock), control_room, word)
    finally:
        tracing.stop()


def _who(topology: Topology) -> tuple[Address, Address]:
    operator = Address(GRID, OPS.name, OPERATOR)
    if operator not in topology.entries:
        raise CannotOrder(
            f'{topology.name} has no {operator}: add {{ role = "ops", name = "{OPERATOR}" }} to [grid] agents'
        )
    rooms = [address for address in topology.entries if address.site == GRID and address.role == DSO.name]
    if not rooms:
        raise CannotOrder(f'{topology.name} has no control room: add an agent of role "{DSO.name}" to [grid] agents')
    return operator, rooms[0]


async def _order(bus: Bus, control_room: Address, word: Message) -> tuple[Done | NotDone | None, str]:
    await bus.open()
    try:
        async with anyio.create_task_group() as group:
            await bus.run(group)
            answer, talk = await _ask(bus, FOR[type(word)], control_room, word)
            group.cancel_scope.cancel()
        return answer, talk
    finally:
        await bus.close()


async def _ask(
    bus: Bus, table: Conversation, control_room: Address, word: Message
) -> tuple[Done | NotDone | None, str]:
    async with bus.talk(table, control_room) as talk:
        await talk.say(word)
        match await talk.hear(Done, NotDone, Lapsed):
            case Lapsed():
                return None, talk.id
            case answer:
                return answer, talk.id


def told(word: Message, answer: Done | NotDone) -> list[str]:
    """What became of an order, a line for each site."""
    lines = [f"{one.site}: {'' if one.done else 'NOT DONE. '}{one.reason.text}" for one in answer.outcomes]
    if isinstance(answer, NotDone):
        return [f"not done: {answer.reason.text}", *lines]
    match word:
        case OrderPower() if answer.power_w is not None:
            return [f"{kw(answer.power_w)} ({'fed in' if answer.power_w < 0 else 'drawn'})"]
        case OrderAnswers():
            return [f"{len(answer.members)} have acknowledged", *answer.members]
        case OrderGroupMessage():
            return [f"sent; `gridparley order answers {answer.id}` tells who has acknowledged"]
        case _:
            return lines or ["done"]
