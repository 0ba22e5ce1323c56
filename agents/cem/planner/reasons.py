"""Why each device does what it does in each slot: read off the solution and the prices, in figures and a sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from agents.cem.planner.batteries import BatteryPart
from agents.cem.planner.charges import ChargePart
from agents.cem.planner.heat import ThermalPart
from agents.cem.planner.jobs import JobPart, PausingJobPart
from agents.cem.planner.model import Floats
from agents.cem.planner.part import Part
from agents.cem.planner.plan import NEGATIVE_PRICE
from agents.cem.planner.program import Program
from agents.cem.planner.supply import GeneratorPart, PvPart
from contracts.reasons import Reason

ON_KW = 0.01
CENT = 0.005
"""A difference in price that is worth a word, EUR/kWh."""
BOUND_TEXT = {"contract": "the contracted power", "feed_in_limit": "the feed-in limit", "grid_limit": "the grid limit"}


def bound_name(code: str) -> str:
    if code.startswith("fuse_l"):
        return f"the fuse of L{code[-1]}"
    return BOUND_TEXT.get(code, code.replace("_", " "))


@dataclass
class Explainer:
    program: Program
    x: Floats

    def __post_init__(self) -> None:
        program, x = self.program, self.x
        self.slots, self.tariff = program.world.slots, program.world.tariff
        self.net = program.connection.net(x)
        above = self.net > self.tariff.threshold_kw + 1e-3
        buying = np.where(above, self.tariff.above, self.tariff.buy)
        self.price = np.where(self.net < -0.02, np.minimum(self.tariff.sell, self.tariff.buy), buying)
        self.own = np.zeros(self.slots.n)
        for part in program.parts:
            self.own -= np.minimum(0.0, part.power.at(x)) * (not isinstance(part, BatteryPart))
        self.loads = [(b, b.load(program.parts, x)) for b in program.connection.bounds]
        connection = program.connection
        self.peak_kw = float(x[connection.peak[0]]) if len(connection.peak) else np.inf

    def clock(self, slot: int) -> str:
        return self.clock_s(float(self.slots.edges_s[slot]))

    def span(self, first: int, last: int) -> str:
        """Slots ``first`` to ``last`` as local times; an end on another day has its day's name."""
        begin, end = (datetime.fromtimestamp(float(self.slots.edges_s[n]), self.slots.zone) for n in (first, last + 1))
        return f"from {begin:%H:%M} to {end:{'%H:%M' if end.date() == begin.date() else '%a %H:%M'}}"

    def clock_s(self, at_s: float) -> str:
        return f"{datetime.fromtimestamp(at_s, self.slots.zone):%H:%M}"

    def binding(self, part: Part, slot: int, side: int = 1, more_kw: float = 0.05) -> Reason | None:
        """The bound that would break if the device took (``side`` -1: gave) that much more."""
        for bound, load in self.loads:
            share = bound.share(part)
            left = float(bound.side * (bound.limit - load)[slot])
            if bound.side == side and share and left < more_kw * share - 1e-6 and bound.code:
                inputs = {"limit_w": float(bound.limit[slot]) * 1000, "power_w": float(load[slot]) * 1000}
                text = f"{_upper(bound_name(bound.code))} of {abs(inputs['limit_w']):.0f} W leaves no more."
                return Reason(code=bound.code, text=text, binding=bound.code, inputs=inputs)
        if side > 0 and self.net[slot] > self.peak_kw - 0.02:
            inputs = {"peak_w": self.peak_kw * 1000}
            text = f"More would raise the peak above {inputs['peak_w']:.0f} W, which costs more than it saves."
            return Reason(code="peak", text=text, binding="peak", inputs=inputs)
        return None

    def surplus(self, slot: int) -> Reason | None:
        if self.own[slot] <= ON_KW or self.net[slot] > 0.05:
            return None
        inputs = {"own_w": float(self.own[slot]) * 1000, "sell_eur_per_kwh": float(self.tariff.sell[slot])}
        return Reason(code="own_surplus", text="It uses what the home generates itself.", binding=None, inputs=inputs)

    def waits(self, slot: int, until: int, then: float | None = None) -> Reason | None:
        """``until`` is its next start; ``then`` what a kWh costs from then on, if it is not that slot's price alone."""
        now = float(self.price[slot])
        from_then_on = then is not None
        then = float(self.price[until]) if then is None else then
        if then > now - CENT:
            return None
        inputs = {
            "price_now_eur_per_kwh": now,
            "price_then_eur_per_kwh": then,
            "until_s": float(self.slots.edges_s[until]),
        }
        when = "from then on" if from_then_on else "then"
        text = f"It waits until {self.clock(until)}: {when} a kWh costs {then:.2f} EUR instead of {now:.2f} EUR."
        return Reason(code="waits_for_cheaper_slot", text=text, binding="price", inputs=inputs)

    def waits_for_green(self, here: float, start: float, until_s: float) -> Reason | None:
        """Green shares of the same energy, taken now and taken then."""
        if start < here + 0.01:
            return None
        inputs = {"green_now_percent": 100 * here, "green_then_percent": 100 * start, "until_s": until_s}
        text = f"It waits until {self.clock_s(until_s)} for greener energy: {start:.0%} instead of {here:.0%}."
        return Reason(code="waits_for_greener_slot", text=text, binding="greenest", inputs=inputs)

    def cheap(self, slot: int, others: Floats) -> Reason:
        now = float(self.price[slot])
        rest = float(others.mean()) if len(others) else now
        inputs = {"price_now_eur_per_kwh": now, "price_else_eur_per_kwh": rest}
        text = f"A kWh costs {now:.2f} EUR now, {rest:.2f} EUR on the average of its other slots."
        return Reason(code="cheap_slot", text=text, binding="price", inputs=inputs)

    def explain(self, part: Part) -> tuple[Reason, ...]:
        power = part.power.at(self.x)
        about: Callable[[int], Reason]
        match part:
            case JobPart() | PausingJobPart():
                about = self._job(part, power)
            case ChargePart():
                about = self._charge(part, power)
            case BatteryPart():
                about = self._battery(power)
            case ThermalPart():
                about = self._thermal(part, power)
            case GeneratorPart():
                about = self._generator(part, power)
            case PvPart():
                about = self._pv(part)
            case _:
                about = _constant(Reason(code="plans_itself", text="It plans itself; the others plan around it."))
        pinned = set(part.pinned.tolist())
        known: dict[str, Reason] = {}
        out = []
        for slot in range(self.slots.n):
            reason = _by_user(power[slot] * 1000) if slot in pinned else about(slot)
            out.append(known.setdefault(f"{reason.code}{reason.text}", reason))
        return tuple(out)

    def _job(self, part: JobPart | PausingJobPart, power: Floats) -> Callable[[int], Reason]:
        programme, runs = part.chosen(self.x)
        edges, job = self.slots.edges_s, part.job
        if job.started_s is not None:
            return _constant(Reason(code="runs", text="It runs already, and is not interrupted."))
        if not runs:
            return _constant(
                Reason(code="left_out", text="It is not worth running, or does not fit: see what is broken.")
            )
        start = int(np.searchsorted(edges, runs[0].start_s + 1e-6) - 1)
        energy = power * self.slots.hours
        cost = float(energy @ self.price / energy.sum())
        ready = max(0, int(np.searchsorted(edges, job.earliest_s - 1e-6)))

        def about(slot: int) -> Reason:
            if power[slot] > ON_KW:
                inputs = {"mean_price_eur_per_kwh": cost}
                return Reason(code="runs", text=f"It runs {programme}: a kWh costs {cost:.2f} EUR.", inputs=inputs)
            if edges[slot] >= runs[-1].end_s - 1e-6:
                return Reason(code="done", text="It is done.")
            if slot < ready:
                return Reason(code="not_yet", text=f"It may not start before {self.clock_s(job.earliest_s)}.")
            if slot >= start:
                later = int(np.flatnonzero(power[slot:] > ON_KW)[0]) + slot
                return self.waits(slot, later) or Reason(code="pauses", text=f"It pauses until {self.clock(later)}.")
            return self._job_waits(part, slot, start, runs[0].start_s, power, cost)

        return about

    def _job_waits(
        self, part: JobPart | PausingJobPart, slot: int, start: int, start_s: float, power: Floats, cost: float
    ) -> Reason:
        """What the same run, begun here, would cost or break. It starts at ``start_s``, in the slot ``start``."""
        shape = power[start:][power[start:] > 1e-9] if isinstance(part, PausingJobPart) else power[start:]
        shape = shape[: self.slots.n - slot]
        weight = shape * self.slots.hours[slot : slot + len(shape)]
        here = float(weight @ self._open_price(power)[slot : slot + len(shape)] / max(1e-9, weight.sum()))
        own = (
            float((weight * (self.net[start : start + len(shape)] < 0.05)[: len(weight)]).sum()) if len(shape) else 0.0
        )
        inputs = {
            "price_now_eur_per_kwh": here,
            "price_then_eur_per_kwh": cost,
            "until_s": start_s,
        }
        until = self.clock_s(start_s)
        if here > cost + CENT:
            if own > 0.5 * weight.sum() and self.own[start : start + len(shape)].max(initial=0.0) > ON_KW:
                text = f"It waits until {until} for what the home generates itself: a kWh costs {cost:.2f} EUR then."
                return Reason(code="own_surplus", text=text, binding="price", inputs=inputs)
            text = f"It waits until {until}: then a kWh costs {cost:.2f} EUR instead of {here:.2f} EUR."
            return Reason(code="waits_for_cheaper_slot", text=text, binding="price", inputs=inputs)
        if part.job.green_eur_per_kwh:
            green = 1.0 - self.tariff.grey
            now = float(weight @ green[slot : slot + len(shape)] / max(1e-9, weight.sum()))
            energy = power * self.slots.hours
            greener = self.waits_for_green(now, float(energy @ green / energy.sum()), start_s)
            if greener is not None:
                return greener
        for i, kw in enumerate(shape[: self.slots.n - slot]):
            if kw > ON_KW and power[slot + i] <= ON_KW and (bound := self.binding(part, slot + i, more_kw=float(kw))):
                return bound
        return Reason(code="waits", text=f"It starts at {until}, which is best for all together.", inputs=inputs)

    def _open_price(self, power: Floats) -> Floats:
        """Price of the next kWh in each slot if the device were not there."""
        rest = self.net - np.maximum(0.0, power)
        return np.where(rest < -0.02, np.minimum(self.tariff.sell, self.tariff.buy), self.tariff.buy)

    def _charge(self, part: ChargePart, power: Floats) -> Callable[[int], Reason]:
        allowed, car = part.allowed > 0, part.car
        stored = part.stored_kwh(self.x)
        short = float(self.x[part.missing[:2]].sum()) > 0.01
        last = int(np.flatnonzero(allowed)[-1]) if allowed.any() else -1
        where = np.flatnonzero(power > ON_KW)

        def about(slot: int) -> Reason:
            if not allowed[slot]:
                gone = self.slots.edges_s[slot + 1] > car.departure_s
                return Reason(code="not_plugged_in", text="The car has left." if gone else "The car is not there yet.")
            left = float(allowed[slot:].sum())
            if power[slot] > ON_KW:
                if _must(part, power, slot):
                    return _min_run(car.min_on_s)
                if power[slot] < car.max_power_w / 1000 - 0.02:
                    reason = self.binding(part, slot) or self.surplus(slot)
                    if reason is not None:
                        return reason
                if short:
                    inputs = {"missing_wh": float(self.x[part.missing[:2]].sum()) * 1000, "slots_left": left}
                    text = f"It needs every slot until it leaves at {self.clock(last + 1)}."
                    return Reason(code="departure", text=text, binding="departure", inputs=inputs)
                others = self.price[allowed & (power <= ON_KW)]
                if len(others) and self.price[slot] > others.min() + CENT:
                    inputs = {"stored_wh": float(stored[slot]) * 1000, "slots_left": left}
                    text = f"The cheaper slots until it leaves at {self.clock(last + 1)} are not enough, or not free."
                    return self.surplus(slot) or Reason(code="departure", text=text, binding="departure", inputs=inputs)
                return self.surplus(slot) or self.cheap(slot, others)
            later = where[where > slot]
            if not len(later):
                inputs = {"stored_wh": float(stored[-1]) * 1000}
                text = f"It has what it gets until it leaves: {stored[-1]:.1f} kWh."
                bound = self.binding(part, slot, more_kw=car.min_power_w / 1000) if short else None
                return bound or Reason(code="target_reached", text=text, inputs=inputs)
            taken = power[later] * self.slots.hours[later]
            waits = self.waits(slot, int(later[0])) or self.waits(
                slot, int(later[0]), float(taken @ self.price[later] / taken.sum())
            )
            if car.green_eur_per_kwh:
                green = 1.0 - self.tariff.grey
                then = float(taken @ green[later] / taken.sum())
                waits = waits or self.waits_for_green(float(green[slot]), then, float(self.slots.edges_s[later[0]]))
            bound = self.binding(part, slot, more_kw=max(0.05, car.min_power_w / 1000))
            text = f"It goes on at {self.clock(int(later[0]))}, which is best for all together."
            return waits or bound or Reason(code="waits", text=text)

        return about

    def _battery(self, power: Floats) -> Callable[[int], Reason]:
        def about(slot: int) -> Reason:
            now = float(self.price[slot])
            if power[slot] > ON_KW:
                giving = self.price[slot:][power[slot:] < -ON_KW]
                if self.own[slot] > ON_KW and self.net[slot] < 0.05:
                    return Reason(
                        code="own_surplus",
                        text="It stores what the home generates itself.",
                        inputs={"sell_eur_per_kwh": now},
                    )
                reason = self.cheap(slot, giving if len(giving) else self.price[slot:])
                then_eur = reason.inputs["price_else_eur_per_kwh"]
                text = f"It stores: a kWh costs {now:.2f} EUR now, later {then_eur:.2f} EUR."
                return Reason(code="cheap_slot", text=text, binding="price", inputs=reason.inputs)
            if power[slot] < -ON_KW:
                inputs = {"price_now_eur_per_kwh": float(self.tariff.buy[slot]), "given_w": float(-power[slot]) * 1000}
                text = f"It gives what would cost {inputs['price_now_eur_per_kwh']:.2f} EUR a kWh."
                return Reason(code="dear_slot", text=text, binding="price", inputs=inputs)
            later = np.flatnonzero(power[slot:] < -ON_KW)
            if len(later) and self.tariff.buy[slot + later[0]] > self.tariff.buy[slot] + CENT:
                then = int(slot + later[0])
                inputs = {"price_now_eur_per_kwh": now, "price_then_eur_per_kwh": float(self.tariff.buy[then])}
                text = f"It keeps for {self.clock(then)}, when a kWh costs {self.tariff.buy[then]:.2f} EUR."
                return Reason(code="waits_for_dearer_slot", text=text, binding="price", inputs=inputs)
            soon = np.flatnonzero(power[slot:] > ON_KW)
            waits = self.waits(slot, int(slot + soon[0])) if len(soon) else None
            return waits or Reason(
                code="idle", text="Storing or giving now gains nothing.", inputs={"price_now_eur_per_kwh": now}
            )

        return about

    def _thermal(self, part: ThermalPart, power: Floats) -> Callable[[int], Reason]:
        temperature, device = part.temperatures_c(self.x), part.device
        near = np.abs(temperature[1:] - (part.high if device.cools else part.low)) < 0.3
        starts = np.flatnonzero((power > ON_KW) & (np.concatenate(([0.0], power[:-1])) <= ON_KW))

        def about(slot: int) -> Reason:
            inputs = {"temperature_c": float(temperature[slot + 1]), "price_now_eur_per_kwh": float(self.price[slot])}
            if power[slot] > ON_KW:
                if _must(part, power, slot):
                    return _min_run(device.min_on_s)
                if power[slot] < part.high_kw - 0.02 and (reason := self.binding(part, slot)):
                    return reason
                ahead = ((t, edge) for t, edge in part.targets if slot < edge)
                goal = next((t for t, edge in ahead if part.just_reached(t, float(temperature[edge]))), None)
                if goal is not None:
                    inputs["target_c"] = goal.temperature_c
                    text = f"It must reach {goal.temperature_c:.0f} degC by {self.clock_s(goal.by_s)}."
                    if self.price[slot] <= np.median(self.price) and (own := self.surplus(slot)):
                        return own
                    return Reason(code="finish_time", text=text, binding="finish_time", inputs=inputs)
                if near[slot : slot + 2].any():
                    text = f"It keeps comfort: {temperature[slot + 1]:.1f} degC."
                    return self.surplus(slot) or Reason(code="comfort", text=text, binding="comfort", inputs=inputs)
                idle = self.price[slot + 1 :]
                return self.surplus(slot) or self.cheap(slot, idle)
            if part.switch.forced[slot] == 0.0:
                return Reason(
                    code="min_rest_time", text=f"It rests {device.min_off_s / 60:.0f} min before it starts again."
                )
            later = starts[starts > slot]
            waits = self.waits(slot, int(later[0])) if len(later) else None
            bound = self.binding(part, slot, more_kw=part.low_kw) if len(later) else None
            text = f"{temperature[slot + 1]:.1f} degC is enough for now."
            return waits or bound or Reason(code="warm_enough", text=text, binding="comfort", inputs=inputs)

        return about

    def _generator(self, part: GeneratorPart, power: Floats) -> Callable[[int], Reason]:
        fuel = part.unit.eur_per_kwh

        def about(slot: int) -> Reason:
            inputs = {"price_now_eur_per_kwh": float(self.price[slot]), "fuel_eur_per_kwh": fuel}
            if power[slot] < -ON_KW:
                if _must(part, power, slot):
                    return _min_run(part.unit.min_on_s)
                text = f"It generates for {fuel:.2f} EUR a kWh; from the grid it costs {self.tariff.buy[slot]:.2f} EUR."
                return Reason(code="cheaper_than_grid", text=text, binding="price", inputs=inputs)
            if not part.unit.ready:
                return Reason(code="not_ready", text="It is not ready to start.")
            return Reason(code="grid_is_cheaper", text="Generating gains nothing now.", binding="price", inputs=inputs)

        return about

    def _pv(self, part: PvPart) -> Callable[[int], Reason]:
        held = self.x[part.curtailed] if len(part.curtailed) else np.zeros(self.slots.n)

        def about(slot: int) -> Reason:
            if held[slot] <= ON_KW:
                return Reason(code="free", text="It generates what the sun gives.")
            if reason := self.binding(part, slot, side=-1):
                return reason
            inputs = {"sell_eur_per_kwh": float(self.tariff.sell[slot]), "held_back_w": float(held[slot]) * 1000}
            text = f"Feeding in would cost {-self.tariff.sell[slot]:.2f} EUR a kWh."
            return Reason(code=NEGATIVE_PRICE, text=text, binding="price", inputs=inputs)

        return about


def _must(part: ChargePart | ThermalPart | GeneratorPart, power: Floats, slot: int) -> bool:
    return bool(part.switch.forced[slot] == 1.0 and abs(power[slot]) > ON_KW)


def _constant(reason: Reason) -> Callable[[int], Reason]:
    return lambda _: reason


def _by_user(power_w: float) -> Reason:
    inputs = {"power_w": round(float(power_w), 1)}
    return Reason(code="fixed_by_user", text="The user wants it so.", binding="fixed_by_user", inputs=inputs)


def _min_run(hold_s: float) -> Reason:
    text = f"Once on, it runs for {hold_s / 60:.0f} min at least."
    return Reason(code="min_run_time", text=text, binding="min_run_time", inputs={"min_on_s": hold_s})


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def spans(slots: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive slots as (first, last)."""
    out: list[tuple[int, int]] = []
    for slot in slots:
        if out and out[-1][1] == slot - 1:
            out[-1] = (out[-1][0], slot)
        else:
            out.append((slot, slot))
    return out
