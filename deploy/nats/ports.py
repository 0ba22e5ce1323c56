"""Ports for servers of a run, taken where no outgoing connection can be given the same number meanwhile."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from deploy.nats.config import HOST

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 10_000
_given: set[int] = set()
"""By this process: who was given one may not listen at it yet."""


def free_ports(number: int) -> list[int]:
    """So many different ports that nobody listens at now.

    Below the range of outgoing connections: a run opens hundreds of those between asking for a port and listening at
    it, and one of them on a device's port would keep the world from starting.
    """
    try:
        end = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        end = 32_768
    candidates = [port for port in range(_FIRST, max(end, _FIRST + 4 * number)) if port not in _given]
    random.shuffle(candidates)
    taken: list[int] = []
    with ExitStack() as held:
        for port in candidates:
            if len(taken) == number:
                break
            one = held.enter_context(socket.socket())
            try:
                one.bind((HOST, port))
            except OSError:
                continue
            taken.append(port)
    if len(taken) < number:
        raise OSError(f"only {len(taken)} of {number} ports below {end} are free on {HOST}")
    _given.update(taken)
    return taken
