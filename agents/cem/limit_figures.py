"""The limits in force, as figures for dashboards."""

from collections.abc import Mapping
from typing import get_args

from agents.cem.limit_state import Control
from bus import metrics
from bus.clock import Clock
from contracts.power_limit import Direction, State


def watch_limits(controls: Mapping[Direction, Control], clock: Clock) -> None:
    """Show these controls, as they are whenever somebody asks."""

    def active() -> list[tuple[float, dict[str, str]]]:
        held = [(direction, control.in_force_w(clock.now())) for direction, control in list(controls.items())]
        return [(limit_w, {"direction": direction}) for direction, limit_w in held if limit_w is not None]

    def states() -> list[tuple[float, dict[str, str]]]:
        return [
            (float(control.mode == state), {"direction": direction, "state": state})
            for direction, control in list(controls.items())
            for state in get_args(State)
        ]

    metrics.observe(metrics.LIMIT, active)
    metrics.observe(metrics.LIMIT_STATE, states)
