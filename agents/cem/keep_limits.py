"""The fast loop: with every reading of the meter the connection point is held inside all bounds at once.

Precedence (design, section 4): safety and fuse, then failsafe and grid limit, then the wishes in their own order
(the user's hand first), then surplus; the tightest bound wins, so precedence only decides what may break minimum times
and what is named as the reason. A wish only ever takes room that the bounds leave.
"""

from dataclasses import dataclass, replace
from math import inf

from agents.cem.allocate import Bounds, Envelope, Unit, allocate
from agents.cem.fit_wish import fit_unit, with_wish
from agents.cem.premises import Claim, Device, Premises
from agents.cem.protect_fuse import ProtectFuse
from agents.cem.settings import CemSettings
from agents.cem.shape import Order, next_order
from agents.cem.steer_devices import SteerDevices
from agents.cem.use_surplus import UseSurplus
from agents.cem.wishes import Wish, Wishes
from agents.kit.skill import every, skill
from bus import tracing
from bus.clock import Clock


@dataclass
class Correction:
    """What the connection point stays beyond a bound although all was told right: devices draw more than they say."""

    beyond_w: float = 0.0

    def feed(self, excess_w: float) -> None:
        self.beyond_w = min(self.beyond_w + excess_w, 2000.0) if excess_w > 0 else self.beyond_w * 0.9


@skill(use_cases=("limits.lpc", "limits.profile", "limits.fuse"))
@dataclass
class KeepLimits:
    """Envelope and reason for each device, told only when it matters."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    steer: SteerDevices
    surplus: UseSurplus
    fuse: ProtectFuse
    wishes: Wishes
    _decided_at: float = -inf
    _started_at: float = -inf

    def __post_init__(self) -> None:
        self._up, self._down = Correction(), Correction()
        self.premises.on_meter.append(self._metered)
        self.premises.on_claim.append(self.decide)
        self._started_at = self.clock.now()

    @every("reading_every_s")
    def without_meter(self) -> None:
        """The meter is silent: bounds hold all the same, on the safe side."""
        if self.clock.now() - self._decided_at >= 2 * self.settings.reading_every_s:
            self.decide()

    def _metered(self) -> None:
        gcp, now = self.premises.gcp, self.clock.now()
        quiet = all(
            d.told is None or now - d.told.since > 2 * self.settings.response_s for d in self.premises.devices.values()
        )
        if gcp is not None and quiet:
            self._up.feed(gcp.power_w - self.premises.upper_w())
            self._down.feed(self.premises.lower_w() - gcp.power_w)
        self.decide()

    def decide(self) -> None:
        """Allocate and tell. Does nothing before the meter had the time to speak once."""
        now, premises = self.clock.now(), self.premises
        if premises.gcp is None and now - self._started_at < self.settings.stale_after_s:
            return
        self._decided_at = now
        steered = [d for d in premises.devices.values() if d.steered]
        if not steered:
            return
        surplus = self.surplus.refresh()
        bounds, base = self._bounds(), premises.base()
        led = {d.name: wish for d in steered if (wish := self.wishes.of(d.name)) is not None}
        units = [self._unit(d, surplus.get(d.name, 0.0), led, now) for d in steered if d.name not in premises.standby]
        if not premises.meter_fresh:
            units = [replace(u, power_w=max(0.0, u.power_w)) for u in units]
        if premises.charge_first:
            units = [replace(u, wants_w=u.upper_w) if u.kind == "battery" else u for u in units]
        envelopes = allocate(bounds, base, units)
        trace = next((c.trace for c in premises.claims.values() if c.trace is not None), None)
        orders: dict[str | None, list[tuple[Device, Order]]] = {}
        for device in steered:
            wish, envelope = led.get(device.name), envelopes.get(device.name)
            if wish is not None and envelope is not None:
                envelope = with_wish(envelope, wish, device.announce)
            order = self._order(device, envelope, bounds, now)
            if order is not None:
                cause = trace or (wish.trace if wish is not None else None)
                orders.setdefault(cause, []).append((device, order))
        for cause, some in orders.items():
            self._tell(some, bounds, cause)

    def _tell(self, orders: list[tuple[Device, Order]], bounds: Bounds, cause: str | None) -> None:
        """What was allocated to whom, in the trace of what made it necessary.

        The bounds are the connection point's; each device's own share is in its reason and on its ``steer device``.
        """
        attributes: tracing.Attributes = {"gridparley.devices": ", ".join(device.name for device, _ in orders)}
        for name, bound_w in (("upper_w", bounds.upper_w), ("lower_w", bounds.lower_w)):
            if abs(bound_w) < inf:
                attributes[f"gridparley.bound.{name}"] = bound_w
        gcp = self.premises.gcp
        if gcp is not None:
            attributes["gridparley.gcp_power_w"] = gcp.power_w
        with tracing.span("allocate power", attributes | tracing.because(orders[0][1].reason), parent=cause):
            here = tracing.current()
            for device, order in orders:
                self.steer.tell(device, order, here)

    def _unit(self, device: Device, surplus_w: float, led: dict[str, Wish], now: float) -> Unit:
        unit = device.unit(now, self.settings, surplus_w)
        wish = led.get(device.name)
        return unit if wish is None else fit_unit(unit, wish)

    def _order(self, device: Device, envelope: Envelope | None, bounds: Bounds, now: float) -> Order | None:
        """What it has to be told, None if nothing."""
        off = self.premises.standby.get(device.name)
        if now < device.stubborn_until or (envelope is None and off is None):
            return None
        if envelope is None:
            assert off is not None
            envelope = Envelope(None, None, None, off)
        cap = self.premises.device_upper_w.get(device.name)
        if cap is not None and (envelope.upper_w is None or envelope.upper_w > cap[0]):
            envelope = replace(envelope, upper_w=cap[0], reason=cap[1])
        envelope = self._within_functions(device, envelope, bounds)
        standby = off is not None and "standby" in device.announce.functions
        if off is not None and not standby:
            envelope = Envelope(None, max(0.0, device.announce.nominal_lower_w), None, off)
        return next_order(
            device.told,
            envelope,
            now,
            self.settings,
            standby=standby,
            urgent=bounds.urgent or off is not None,
            load=device.announce.device_class not in ("pv", "battery", "fuelcell"),
            least_w=device.announce.minimum_run_w,
            unsure=now >= device.unsure_from,
        )

    def _within_functions(self, device: Device, envelope: Envelope, bounds: Bounds) -> Envelope:
        """A battery is always told what to do: bounds alone would leave it as it is. Others only when wished."""
        if device.announce.device_class != "battery":
            return envelope
        wished = self.wishes.of(device.name) is not None
        nothing = bounds.none and not self.settings.use_surplus and not self.premises.charge_first and not wished
        return replace(envelope, setpoint_w=None) if nothing else envelope

    def _bounds(self) -> Bounds:
        claims = self.premises.bounding()
        upper, lower = _tightest(claims)
        margin = self.settings.margin_w
        soft = max((c.soft_lower_w for c in claims), default=-inf)
        return Bounds(
            upper_w=upper.upper_w - margin - self._up.beyond_w,
            lower_w=lower.lower_w + margin + self._down.beyond_w,
            soft_lower_w=soft,
            phase_upper_w=self.fuse.cap_w,
            asymmetry_w=self.fuse.asymmetry_w,
            urgent=any(c.urgent for c in claims) or self.fuse.broken,
            upper_why=upper.why,
            lower_why=lower.why,
        )


def _tightest(claims: list[Claim]) -> tuple[Claim, Claim]:
    free = Claim(why="free")
    return (
        min(claims, key=lambda c: c.upper_w, default=free),
        max(claims, key=lambda c: c.lower_w, default=free),
    )
