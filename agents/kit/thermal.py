"""What devices that store heat or cold have in common: their thermal settings, a meter in front, the planner's view."""

from agents.kit.hardware import RUNNING_W, HardwareSettings, Impossible, Terminals, Values, by_phase, needed, number
from bus.envelope import instant
from contracts.device import Announce, DeviceClass, DeviceReading, Function, Operating
from contracts.flexibility import ThermalFlexibility


class ThermalSettings(HardwareSettings, frozen=True, kw_only=True):
    """Products do not tell how they store; these say it for the place where they are.

    comfort_low_c, comfort_high_c  what its user wants the temperature to stay between
    capacity_wh_per_k              of tank or room
    loss_w_per_k, ambient_c        what it loses, and to where
    cop_share                      heat or cold per electric energy
    demand_w                       heat that is drawn from it on average
    submeter, submeter_unit        a meter in front of it, behind the same gateway, where the product measures nothing
    """

    comfort_low_c: float = 40.0
    comfort_high_c: float = 60.0
    capacity_wh_per_k: float = 232.6
    loss_w_per_k: float = 1.8
    ambient_c: float = 20.0
    cop_share: float = 1.0
    demand_w: float = 0.0
    submeter: str | None = None
    submeter_unit: int | None = None


class ThermalTerminals(Terminals):
    """A class of device that stores heat or cold.

    temperatures  points that say the store's temperature, best first
    modulates     whether it can be given a power between least and rating
    """

    settings: ThermalSettings
    temperatures: tuple[str, ...]

    @property
    def modulates(self) -> bool:
        return "power_setpoint_w" in self.file.points

    @property
    def measures(self) -> bool:
        """Whether its power is measured, by itself or by a meter in front of it."""
        return "power_w" in self.file.points or self.settings.submeter is not None

    def temperature_c(self, values: Values) -> float | None:
        return next((value for name in self.temperatures if (value := number(values, name)) is not None), None)

    def least_w(self, values: Values) -> float:
        """Below this it can only be off."""
        return 0.0 if self.modulates else self.rating_w(values)

    def storage(self, values: Values) -> ThermalFlexibility:
        """What the planner needs to know of it. Raises Impossible where nothing says its temperature."""
        temperature = self.temperature_c(values)
        if temperature is None:
            text = f"{self.file.device} says no temperature, so nobody can plan with what it stores"
            raise Impossible("no_temperature", text)
        settings, rating = self.settings, self.rating_w(values)
        return ThermalFlexibility(
            temperature_c=temperature,
            lowest_c=settings.comfort_low_c,
            highest_c=settings.comfort_high_c,
            capacity_wh_per_k=settings.capacity_wh_per_k,
            loss_w_per_k=settings.loss_w_per_k,
            ambient_c=self.ambient_c(values),
            heats=self.heats(values),
            cop_share=settings.cop_share,
            demand_w=settings.demand_w,
            upper_w=rating,
            least_w=self.least_w(values),
            steps_w=() if self.modulates else (rating,),
            minimum_on_s=settings.minimum_on_s,
            minimum_off_s=settings.minimum_off_s,
            on=(number(values, "power_w") or 0.0) > RUNNING_W,
        )

    def heats(self, values: Values) -> bool:  # noqa: ARG002  an air conditioner's mode says it
        """Whether it warms its store; False: it cools it."""
        return True

    def ambient_c(self, values: Values) -> float:  # noqa: ARG002  a room's is the weather's
        """Where its losses go."""
        return self.settings.ambient_c

    def power_w(self, values: Values, most_w: float) -> float:
        """Measured, else the most that it can draw now."""
        return needed(values, "power_w") if self.measures else most_w

    def announced(
        self, device_class: DeviceClass, functions: tuple[Function, ...], minimum_run_w: float, values: Values
    ) -> Announce:
        """What it says when it joins."""
        settings = self.settings
        return Announce(
            device_class=device_class,
            maker=self.file.maker,
            model=self.file.model,
            functions=functions,
            use_cases=("limits.lpc", "limits.fuse", "limits.emergency", "limits.congestion-direct"),
            nominal_lower_w=0.0,
            nominal_upper_w=self.rating_w(values),
            minimum_run_w=minimum_run_w,
            phases=settings.phases,
            minimum_on_s=settings.minimum_on_s,
            minimum_off_s=settings.minimum_off_s,
            steerable=settings.steerable,
            essential=settings.essential,
        )

    def read(self, values: Values, at: float, power_w: float, operating: Operating, upper_w: float) -> DeviceReading:
        """A reading with its temperatures."""
        return DeviceReading(
            at=instant(at),
            power_w=power_w,
            power_by_phase_w=by_phase(values, power_w, self.settings.phases),
            operating=operating,
            lower_w=0.0,
            upper_w=upper_w,
            energy_wh=number(values, "energy_wh"),
            quality="measured" if self.measures else "estimated",
            temperature_c=self.temperature_c(values),
            outdoor_temperature_c=number(values, "outdoor_temperature_c"),
        )
