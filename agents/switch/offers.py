"""What a switch offers."""

from dataclasses import dataclass

from agents.kit.hardware import Values
from agents.kit.offers import Offers
from agents.kit.skill import skill
from agents.switch.terminals import SwitchTerminals
from contracts.flexibility import Flexibility, ModesFlexibility, OperationMode


@skill()
@dataclass
class OfferSwitching(Offers):
    """On, with all that it draws or dimmed, and off."""

    terminals: SwitchTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:  # noqa: ARG002
        nominal = self.terminals.capabilities(values)
        on = OperationMode(
            name="on",
            lower_w=nominal.minimum_run_w,
            upper_w=nominal.nominal_upper_w,
            minimum_s=nominal.minimum_on_s,
        )
        off = OperationMode(name="off", lower_w=0.0, upper_w=0.0, minimum_s=nominal.minimum_off_s)
        return ModesFlexibility(modes=(off, on), mode="on" if values.get("enabled") else "off")
