"""The state of the area and its room, for service providers who ask. IC-DE-HLUC1 Seq 1.1."""

from dataclasses import dataclass

from agents.dso.settings import DsoSettings
from agents.dso.watch_grid import WatchGrid
from agents.kit.skill import answers, skill
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.site_power import AskConnectionStatus, ConnectionStatusIs, connection_status


@skill(use_cases=("tariffs.wind",))
@dataclass
class AnswerStatus:
    """A stale picture claims nothing: then nothing is answered, and the silence says so."""

    clock: Clock
    settings: DsoSettings
    watch: WatchGrid

    @answers(connection_status)
    async def on_question(self, talk: Talk, _question: AskConnectionStatus) -> None:
        loading, phase = self.watch.loading(), self.watch.phase
        if loading is None or phase is None:
            return
        rating = self.settings.transformer_va
        await talk.say(
            ConnectionStatusIs(
                at=instant(self.clock.now()),
                color=phase,
                consumption_room_w=max(0.0, rating - loading.power_w),
                feed_in_room_w=max(0.0, rating + loading.power_w),
            )
        )
