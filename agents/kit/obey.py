"""A device agent obeys: its CEM's envelopes, and a gateway's command where its class may get one.

What holds is stored before it is acknowledged, compared with the hardware at every look, and written again when the
hardware lost it. A hold that is not renewed runs out into the agent's own safe state. IEC-RG-RELIABILITY.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import msgspec

from agents.drivers.errors import DriverError
from agents.kit.hardware import (
    RUNNING_W,
    Envelope,
    Hardware,
    HardwareSettings,
    Impossible,
    Plan,
    Terminals,
    Values,
    why,
)
from agents.kit.skill import answers, restores, skill, started
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import (
    DeviceEvent,
    DeviceReading,
    PowerApplied,
    PowerRefused,
    SetPower,
    power_control,
)
from contracts.emergency import CommandRefused, CommandTaken, ControlCommand, direct_control
from contracts.reasons import Reason
from contracts.registers import RangeError
from contracts.roles import GATEWAY

log = logging.getLogger("gridparley.device")
RETRY_S = 1.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What holds now, over restarts.

    until   run clock at which the order's hold runs out; None: until changed
    safe    the hold has run out, so the safe state holds in place of the order
    direct  a gateway's command, on top of everything
    """

    order: SetPower | None = None
    until: float | None = None
    safe: bool = False
    direct: ControlCommand | None = None


@dataclass
class MinimumTimes:
    """How long the device has been on or off, as its readings show it. Before the first change: for ever."""

    on: bool | None = None
    since: float = -math.inf

    def saw(self, power_w: float, at: float) -> None:
        on = abs(power_w) > RUNNING_W
        if self.on is not None and on != self.on:
            self.since = at
        self.on = on

    def objection(
        self, settings: HardwareSettings, envelope: Envelope, least_w: float, now: float, *, generates: bool = False
    ) -> Reason | None:
        """Why an order that is not urgent has to wait. ``least_w`` is the least that it draws (generates) while on."""
        if generates:
            envelope = _mirrored(envelope)
        upper = envelope.upper_w
        off = envelope.standby or (upper is not None and upper < max(least_w, 1.0)) or envelope.setpoint_w == 0
        start = (envelope.lower_w or 0.0) > 0 or (envelope.setpoint_w or 0.0) > 0
        if off and self.on:
            left, code, rule = self.since + settings.minimum_on_s - now, "minimum_on", "on"
        elif start and not off and not self.on:
            left, code, rule = self.since + settings.minimum_off_s - now, "minimum_off", "off"
        else:
            return None
        if left <= 0:
            return None
        text = f"it has to stay {rule} for another {left:.0f} s: ask again then, or say it is urgent"
        return Reason(code=code, text=text, binding="minimum_times", inputs={"remaining_s": left})


@skill(says_home=(DeviceEvent,), use_cases=("limits.lpc", "ops.device-watch"))
@dataclass
class ObeyOrders:
    """Map an envelope to the product's control points, write, read back, and only then say that it is applied."""

    bus: Bus
    address: Address
    clock: Clock
    state: State
    settings: HardwareSettings
    hardware: Hardware
    terminals: Terminals
    standing: Standing = field(default_factory=Standing)
    agreed: Envelope | None = None
    """What was agreed for now, inside every order that is not urgent; whoever agreed it keeps it over restarts."""
    objections: list[Callable[[Address | None, SetPower], Reason | None]] = field(default_factory=list)
    times: MinimumTimes = field(default_factory=MinimumTimes)
    _shows: dict[str, float] | None = None
    _plan: Plan | None = None
    _written_at: float = 0.0
    _failing: bool = False
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    _news: anyio.Event = field(default_factory=anyio.Event)

    @restores
    async def take_up(self) -> None:
        """The first look then finds out whether the hardware still holds it."""
        self.standing = await self.state.get("standing", Standing) or Standing()

    @answers(power_control)
    async def on_order(self, talk: Talk, order: SetPower) -> None:
        now = self.clock.now()
        until = None if order.hold_s is None else now + order.hold_s
        refusal = next((r for check in self.objections if (r := check(talk.peer, order)) is not None), None)
        refusal = refusal or self._objection(order, now)
        async with self._lock:
            if refusal is None:
                wanted = msgspec.structs.replace(self.standing, order=order, until=until, safe=False)
                outcome = await self._change(wanted)
            else:
                outcome = refusal
        if isinstance(outcome, Reason):
            await talk.say(PowerRefused(reason=outcome))
        else:
            await talk.say(outcome)

    def _objection(self, order: SetPower, now: float) -> Reason | None:
        envelope = _envelope(order)
        figures = [v for v in (order.lower_w, order.upper_w, order.setpoint_w) if v is not None]
        if not all(math.isfinite(v) for v in figures):
            return Reason(code="out_of_range", text="bounds and setpoint have to be finite: leave out what is not set")
        lower, upper = order.lower_w, order.upper_w
        if lower is not None and upper is not None and lower > upper:
            inputs = {"lower_w": lower, "upper_w": upper}
            return Reason(code="empty_envelope", text="the lower bound is above the upper: swap them", inputs=inputs)
        if order.standby and self.settings.essential:
            text = "the agreed profile lets this device stay on in an emergency"
            return Reason(code="essential", text=text, binding="profile")
        if order.urgent:
            return None
        generates = self.terminals.generates
        return self.times.objection(self.settings, envelope, self._least_w(), now, generates=generates)

    def _least_w(self) -> float:
        try:
            return self.terminals.capabilities({}).minimum_run_w
        except Impossible:
            return 0.0

    async def _change(self, wanted: Standing) -> PowerApplied | Reason:
        """Impose and store, or leave what held. With the lock held."""
        try:
            applied = await self._impose(wanted)
        except (DriverError, RangeError, Impossible) as problem:
            self._shows = None  # some of it may have been written: the next look puts back what held
            return why(problem)
        self.standing = wanted
        self._news.set()
        await self.state.put("standing", wanted)
        return applied

    async def _impose(self, standing: Standing, values: Values | None = None) -> PowerApplied:
        """``values``: of a look that no write came after."""
        values = await self.hardware.look() if values is None else values
        plan = self.terminals.plan(_effective(standing, self.agreed), values)
        self._shows = None
        # What forgets is always told, also what it shows already: its own timer has to start anew.
        shows = await self.hardware.put(plan, values, renew=plan.renew_every_s is not None)
        self._shows, self._plan, self._written_at = {} if plan.once else shows, plan, self.clock.now()
        return PowerApplied(lower_w=plan.lower_w, upper_w=plan.upper_w, setpoint_w=plan.setpoint_w, readback=shows)

    async def saw(self, values: Values, reading: DeviceReading, writing: int) -> None:
        """After each look: does the hardware still hold what holds? ``writing``: the hardware's count before it."""
        self.times.saw(reading.power_w, reading.at.timestamp())
        if self.standing.order is None and self.standing.direct is None and self.agreed is None:
            return
        async with self._lock:
            if self.hardware.writing != writing:
                return  # an order came between: this look is older than what it wrote
            lost = self._shows is None or any(values.get(name) != value for name, value in self._shows.items())
            renew = self._plan.renew_every_s if self._plan is not None else None
            due = renew is not None and self.clock.now() - self._written_at >= renew
            if not lost and not due:
                return
            known = self._shows is not None
            try:
                await self._impose(self.standing, values)
            except (DriverError, RangeError, Impossible) as problem:
                self._shows = None
                if not self._failing:
                    self._failing = True
                    self._event("fault", str(self.address), why(problem))
                return
        if lost and known:
            text = "the hardware no longer held the order and was told again: look for a second master or a restart"
            self._event("fault", "hardware", Reason(code="order_lost", text=text))
        self._failing = False

    def _event(self, kind: str, by: str, reason: Reason) -> None:
        log.info("%s: %s by %s: %s", self.address, kind, by, reason.text)
        self.bus.say(msgspec.convert({"kind": kind, "by": by, "reason": reason}, DeviceEvent), home=True)

    @started
    async def watch_hold(self) -> None:
        """An order that is not renewed in time ends in the safe state. Link lost, CEM dead: the same."""
        while True:
            until = self.standing.until
            self._news = anyio.Event()
            if until is None:
                await self._news.wait()
            elif self.clock.now() < until:
                await self._until(until)
            elif not await self._fall_back(until):
                await self.clock.sleep(RETRY_S)

    async def _until(self, instant: float) -> None:
        async with anyio.create_task_group() as group:

            async def pass_time() -> None:
                await self.clock.sleep_until(instant)
                group.cancel_scope.cancel()

            group.start_soon(pass_time)
            await self._news.wait()
            group.cancel_scope.cancel()

    async def _fall_back(self, until: float) -> bool:
        async with self._lock:
            if self.standing.until != until:
                return True  # renewed while we waited for the lock
            text = "the order was not renewed within its hold time: the device keeps its own safe state until it is"
            reason = Reason(code="hold_expired", text=text, binding="hold_s")
            safe = SetPower(lower_w=self.settings.safe_lower_w, upper_w=self.settings.safe_upper_w, reason=reason)
            wanted = msgspec.structs.replace(self.standing, order=safe, until=None, safe=True)
            try:
                outcome = await self._change(wanted)
            except NotStored as problem:
                log.warning("%s: the safe state holds but is not stored: %s", self.address, problem)
                outcome = PowerApplied()
            if isinstance(outcome, Reason):
                if not self._failing:
                    self._failing = True
                    self._event("fault", str(self.address), outcome)
                return False
            self._failing = False
        self._event("failsafe", str(self.address), reason)
        return True

    async def direct(self, command: ControlCommand | None) -> Reason | None:
        """A gateway's command comes into force or ends; why not, else None."""
        async with self._lock:
            outcome = await self._change(msgspec.structs.replace(self.standing, direct=command))
        return outcome if isinstance(outcome, Reason) else None

    async def agree(self, bounds: Envelope | None) -> None:
        """What was agreed has changed. What the hardware does not take now, the next look tries again."""
        async with self._lock:
            if bounds == self.agreed:
                return
            self.agreed = bounds
            try:
                await self._impose(self.standing)
            except (DriverError, RangeError, Impossible) as problem:
                self._shows = None
                log.info("%s: what was agreed is not in force yet: %s", self.address, why(problem).text)

    async def put(self, plan: Plan, values: Values) -> Reason | None:
        """Write what only starts or stops something, between orders; why not, else None."""
        async with self._lock:
            try:
                await self.hardware.put(plan, values)
            except (DriverError, RangeError) as problem:
                return why(problem)
        return None


@skill(says_home=(DeviceEvent,), use_cases=("limits.congestion-direct",))
@dataclass
class ObeyGateway:
    """The gateway of our own site may command us past the CEM; the CEM then hears of it. IEC-JWG3033."""

    bus: Bus
    address: Address
    orders: ObeyOrders

    @answers(direct_control)
    async def on_command(self, talk: Talk, command: ControlCommand) -> None:
        refusal = self._objection(talk.peer, command) or await self.orders.direct(
            command if command.kind == "emergency" else None
        )
        if refusal is not None:
            await talk.say(CommandRefused(reason=refusal))
            return
        emergency = command.kind == "emergency"
        text = "the command was written and read back" if emergency else "the command's bound is lifted"
        await talk.say(CommandTaken(reason=Reason(code="taken", text=text, talk=talk.id)))
        event = DeviceEvent(
            kind="switched" if emergency else "released",
            by=str(talk.peer),
            reason=msgspec.structs.replace(command.reason, talk=talk.id),
        )
        self.bus.say(event, home=True)

    def _objection(self, peer: Address | None, command: ControlCommand) -> Reason | None:
        if peer is None or peer.role != GATEWAY.name or peer.site != self.address.site:
            text = f"{peer} is not the gateway of {self.address.site}: a device obeys only its own site's"
            return Reason(code="not_my_gateway", text=text)
        if command.device not in (None, str(self.address), f"{self.address.role}.{self.address.name}"):
            return Reason(code="not_me", text=f"the command names {command.device}, this is {self.address}")
        if command.kind == "emergency" and self.orders.settings.essential:
            return Reason(code="essential", text="the agreed profile lets this device stay on", binding="profile")
        return None


def _mirrored(envelope: Envelope) -> Envelope:
    """As a consumer of the same power would be told."""
    lower, upper, setpoint = envelope.lower_w, envelope.upper_w, envelope.setpoint_w
    return Envelope(
        lower_w=None if upper is None else -upper,
        upper_w=None if lower is None else -lower,
        setpoint_w=None if setpoint is None else -setpoint,
        standby=envelope.standby,
    )


def _envelope(order: SetPower) -> Envelope:
    return Envelope(
        lower_w=order.lower_w,
        upper_w=order.upper_w,
        setpoint_w=order.setpoint_w,
        standby=order.standby,
        urgent=order.urgent,
    )


def _effective(standing: Standing, agreed: Envelope | None) -> Envelope:
    """The tightest of order, agreement and direct command. A command without a figure means: off."""
    here = Envelope() if standing.order is None else _envelope(standing.order)
    if agreed is not None and not here.urgent:
        here = here.within(agreed)
    if standing.direct is None:
        return here
    upper = standing.direct.upper_w
    return here.within(Envelope(upper_w=upper, standby=upper is None, urgent=True))
