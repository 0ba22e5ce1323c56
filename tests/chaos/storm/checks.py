"""All invariants."""

from tests.chaos.storm.keep_deals import both_sides_agree, no_order_is_lost, nothing_is_doubled
from tests.chaos.storm.keep_life import everybody_is_well, everything_is_accounted_for, nobody_dies_by_itself
from tests.chaos.storm.keep_limits import limits_hold, restarts_remember, silence_means_failsafe, transformer_holds
from tests.chaos.storm.verdict import Check

ALL: tuple[Check, ...] = (
    limits_hold,
    silence_means_failsafe,
    restarts_remember,
    transformer_holds,
    both_sides_agree,
    nothing_is_doubled,
    no_order_is_lost,
    nobody_dies_by_itself,
    everybody_is_well,
    everything_is_accounted_for,
)
