"""White goods: programmes of steps that start when they are told to, and pause only between some of them."""

from datetime import time

import msgspec

from agents.kit.hardware import (
    Envelope,
    HardwareSettings,
    Impossible,
    Plan,
    Terminals,
    Values,
    by_phase,
    needed,
    number,
)
from agents.whitegoods.programmes import TYPICAL, Kind
from agents.whitegoods.run import Phase, Run, Signs, aligned, follow
from bus.envelope import instant
from contracts.device import Announce, DeviceReading, Function, Operating
from contracts.device_form import Value
from contracts.profiles import PowerSequence, PowerSlot

AT_A_STEP_S = 60.0
"""An instruction to pause before a step may come so much early."""
_OPERATING: dict[Phase, Operating] = {
    "idle": "idle",
    "caught": "idle",  # what waits has been held first
    "waiting": "waiting",
    "running": "running",
    "paused": "paused",
    "finished": "finished",
}
_PHASES: dict[str, Phase] = {
    "off": "idle",
    "idle": "idle",
    "armed": "waiting",
    "running": "running",
    "paused": "paused",
    "finished": "finished",
}


class WhitegoodsSettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order a started machine waits for its time, but not for ever.

    appliance        what it is, which says its typical programmes
    programmes       its own ones, in place of the typical; the first is the usual one
    programme        the one that is taken to run where the product does not tell; empty: the usual one
    holds_start      a start by hand waits for the CEM; false: it runs at once
    longest_wait_s   then it starts by itself
    pause_at_most_s  how long a pause may be
    starts_at_w, ended_below_w, ended_after_s   signs of a start and of the end, where only the power tells
    """

    device: str = "netio_powercable_appliance"
    steerable: bool = False
    appliance: Kind = "washing_machine"
    programmes: dict[str, tuple[PowerSlot, ...]] = msgspec.field(default_factory=dict)
    programme: str = ""
    holds_start: bool = True
    longest_wait_s: float = 8 * 3600.0
    pause_at_most_s: float = 1800.0
    starts_at_w: float = 10.0
    ended_below_w: float = 5.0
    ended_after_s: float = 300.0
    submeter: str | None = None
    submeter_unit: int | None = None

    # negotiation: the end that is usually wished; none: as late as the longest wait lets it be
    ready_by: time | None = None
    time_zone: str = "Europe/Berlin"
    confirms: bool = False
    asks_user: bool = False
    """Its user agrees to a time that the adapter proposes; else it takes the best by itself."""


class WhitegoodsTerminals(Terminals):
    """A product that tells its state is believed; behind a socket the power tells.

    ``reading`` moves ``run`` on: whoever writes a plan sees the effect in the next look.
    ``held_w`` is the bound in force.
    """

    settings: WhitegoodsSettings
    classes = ("whitegoods",)
    wanted = ("state", "power_w", "energy_wh", "programme", "remaining_s", "door_closed", "remote_start_allowed")
    control = ("start", "enabled")
    run: Run = Run()
    held_w: float | None = None

    @property
    def _table(self) -> dict[str, tuple[PowerSlot, ...]]:
        return self.settings.programmes or TYPICAL[self.settings.appliance]

    # ------------------------------------------------------------ what it is doing

    def programme(self, values: Values) -> str | None:
        """The programme that waits, runs or pauses; None when there is nothing to do, or not yet."""
        if self.run.phase in ("idle", "caught", "finished"):
            return None
        told = values.get("programme")
        if isinstance(told, str) and told:
            return told
        return self.settings.programme or next(iter(self._table))

    def slots(self, values: Values) -> tuple[PowerSlot, ...]:
        """The whole programme's steps; of one that nobody has described: the usual one's."""
        name = self.programme(values)
        return () if name is None else self._table.get(name) or next(iter(self._table.values()))

    def rest(self, values: Values) -> tuple[PowerSlot, ...]:
        """The steps still to come, the present one shortened by what is done of it. Never empty while it runs."""
        done, left = self._elapsed_s(values), []
        slots = self.slots(values)
        for slot in slots:
            if done < slot.duration_s:
                left.append(msgspec.structs.replace(slot, duration_s=slot.duration_s - done))
            done = max(done - slot.duration_s, 0.0)
        # It takes longer than was said: it is in its last step until its power tells otherwise.
        return tuple(left) or tuple(msgspec.structs.replace(slot, duration_s=0.0) for slot in slots[-1:])

    def sequences(self, values: Values) -> tuple[PowerSequence, ...]:
        """What it can offer: the programme that is armed, or the rest of the one that runs. Empty: nothing to do."""
        name = self.programme(values)
        if name is None:
            return ()
        return (PowerSequence(name=name, slots=self.rest(values), pause_at_most_s=self.settings.pause_at_most_s),)

    def remaining_s(self, values: Values) -> float:
        """Work still to do, pauses left out."""
        told = number(values, "remaining_s")
        if told is not None and self.run.phase in ("waiting", "running", "paused"):
            return told
        return sum(slot.duration_s for slot in self.rest(values))

    def _elapsed_s(self, values: Values) -> float:
        told = number(values, "remaining_s")
        if told is None:
            return self.run.elapsed_s
        return max(sum(slot.duration_s for slot in self.slots(values)) - told, 0.0)

    def pausable(self, values: Values) -> bool:
        """Whether it may be stopped here: in an interruptible step, or just before one."""
        rest = self.rest(values)
        if not rest or rest[0].interruptible:
            return bool(rest)
        return len(rest) > 1 and rest[1].interruptible and rest[0].duration_s <= AT_A_STEP_S

    def _peak_w(self, values: Values) -> float:
        return max((slot.peak_w or slot.power_w for slot in self.rest(values)), default=0.0)

    # ------------------------------------------------------------ what it can be told

    def start(self, values: Values) -> Plan:
        """Raises Impossible when nothing waits for a start, or a bound leaves no room for it."""
        if self.run.phase != "waiting":
            raise Impossible("not_armed", f"nothing waits for a start, it is {self.run.phase}: fill it and press start")
        self._check_room(values)
        writes: dict[str, Value] = {"start": True} if "start" in self.file.points else {"enabled": True}
        return Plan(writes=writes, lower_w=0.0, upper_w=self._peak_w(values), once=True)

    def pause(self, values: Values) -> Plan:
        """Raises Impossible when it does not run, or is in a step that must not be interrupted."""
        if self.run.phase != "running":
            raise Impossible("not_running", f"it is {self.run.phase}: there is nothing to pause")
        if not self.pausable(values):
            left = self._busy_s(values)
            text = f"this step must not be interrupted: ask again in {left:.0f} s"
            raise Impossible("not_interruptible", text, remaining_s=left)
        return self._halt()

    def resume(self, values: Values) -> Plan:
        """Raises Impossible when it is not paused, or a bound leaves no room for it."""
        if self.run.phase != "paused":
            raise Impossible("not_paused", f"it is {self.run.phase}: only what is paused can go on")
        self._check_room(values)
        return Plan(writes={"enabled": True}, lower_w=0.0, upper_w=self._peak_w(values), once=True)

    def abort(self, values: Values) -> Plan:  # noqa: ARG002
        """Stops it wherever it is. What is in it stays as it is, so it can be resumed, or taken out by hand."""
        return self._halt()

    def hold(self, values: Values) -> Plan:  # noqa: ARG002
        """Takes the supply from a machine that was started by hand until its time has come."""
        return self._halt()

    def _halt(self) -> Plan:
        if "enabled" not in self.file.points:
            raise Impossible("no_control", f"{self.file.device} can only be started: it has nothing that stops it")
        return Plan(writes={"enabled": False}, lower_w=0.0, upper_w=0.0, once=True)

    def _check_room(self, values: Values) -> None:
        peak = self._peak_w(values)
        if self.held_w is not None and peak > self.held_w:
            text = f"it would draw {peak:.0f} W and may draw {self.held_w:.0f} W: start it when the bound is lifted"
            raise Impossible("no_room", text, peak_w=peak, upper_w=self.held_w)

    def _busy_s(self, values: Values) -> float:
        """Until it may be stopped."""
        busy = 0.0
        for slot in self.rest(values):
            if slot.interruptible:
                break
            busy += slot.duration_s
        return busy

    # ------------------------------------------------------------ as any device

    def capabilities(self, values: Values) -> Announce:  # noqa: ARG002
        functions: tuple[Function, ...] = ("standby",) if "enabled" in self.file.points else ()
        if "power_w" in self.file.points or self.settings.submeter is not None:
            functions = ("measure", *functions)
        most = max(slot.peak_w or slot.power_w for slots in self._table.values() for slot in slots)
        rating = self.settings.rating_w or most
        return Announce(
            device_class="whitegoods",
            maker=self.file.maker,
            model=self.file.model,
            functions=functions,
            use_cases=("home.flexible-start", "limits.lpc", "limits.emergency"),
            nominal_lower_w=0.0,
            nominal_upper_w=rating,
            # Nobody can make it heat less: below what it wants it can only be stopped.
            minimum_run_w=rating,
            phases=self.settings.phases,
            minimum_on_s=self.settings.minimum_on_s,
            minimum_off_s=self.settings.minimum_off_s,
            steerable=self.settings.steerable,
            essential=self.settings.essential,
        )

    def reading(self, values: Values, at: float) -> DeviceReading:
        power = needed(values, "power_w")
        word = values.get("state")
        self.run = self._seen(word, values, power, at)
        if self.run.phase == "running" and number(values, "remaining_s") is None:
            elapsed = aligned(self.slots(values), self.run.elapsed_s, power)
            self.run = msgspec.structs.replace(self.run, elapsed_s=elapsed)
        phase = self.run.phase
        busy = phase == "running" and not self.pausable(values)
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self.settings.phases),
            operating="fault" if word == "error" else _OPERATING[phase],
            lower_w=power if busy else 0.0,
            upper_w=max(self._peak_w(values), power),
            energy_wh=number(values, "energy_wh"),
        )

    def _seen(self, word: Value | None, values: Values, power: float, at: float) -> Run:
        before = self.run
        if not isinstance(word, str):
            signs = Signs(
                starts_at_w=self.settings.starts_at_w,
                ended_below_w=self.settings.ended_below_w,
                ended_after_s=self.settings.ended_after_s,
                holds=self.settings.holds_start or self.held_w is not None,
            )
            return follow(before, signs, supply=values.get("enabled") is not False, power_w=power, at=at)
        phase = _PHASES.get(word, before.phase)
        if phase != before.phase:
            fresh = phase in ("idle", "waiting") or (phase == "running" and before.phase in ("idle", "finished"))
            return Run(phase=phase, since=at, at=at, elapsed_s=0.0 if fresh else before.elapsed_s)
        past = at - before.at if before.at and phase == "running" else 0.0
        return msgspec.structs.replace(before, elapsed_s=before.elapsed_s + max(past, 0.0), at=at)

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        upper = 0.0 if envelope.standby or envelope.setpoint_w == 0 else envelope.upper_w
        if upper is not None and upper < 0:
            raise Impossible("cannot_feed", "it feeds nothing: give an upper bound of 0 or more", upper_w=upper)
        phase, peak = self.run.phase, self._peak_w(values)
        if upper is not None and upper < peak:
            if phase == "running":
                halt = self._halt() if envelope.urgent else self.pause(values)
                self.held_w, self.run = upper, msgspec.structs.replace(self.run, halted=True)
                return msgspec.structs.replace(halt, once=False)
            self.held_w = upper
            # What waits or is paused stays so; its supply is off already, except in the moment of a start by hand.
            writes: dict[str, Value] = {} if "start" in self.file.points else {"enabled": False}
            return Plan(writes=writes, lower_w=0.0, upper_w=0.0)
        self.held_w = upper
        goes_on = self.run.halted and phase == "paused"
        most = self.settings.rating_w or peak
        return Plan(
            writes={"enabled": True} if goes_on else {},
            lower_w=0.0,
            upper_w=most if upper is None else upper,
            once=True,
        )
