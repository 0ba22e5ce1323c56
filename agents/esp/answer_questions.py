"""Customers' questions: answered from a small table, else kept for a person. IC-FR-PUC7-SC2; decision 0034."""

import logging
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from agents.esp.settings import EspSettings
from agents.kit.skill import answers, restores, skill
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.questions import Answer, AskQuestion, question

log = logging.getLogger("gridparley.esp")


def known_answer(text: str, table: dict[str, str]) -> str | None:
    """Of the longest key that the question contains, whatever its case."""
    said = text.casefold()
    return next((table[key] for key in sorted(table, key=len, reverse=True) if key.casefold() in said), None)


@skill(use_cases=("tariffs.user-choice",))
@dataclass
class AnswerQuestions:
    """What waits is in the state and in the log; a person writes ``[answers]`` with its id into the answers file."""

    bus: Bus
    clock: Clock
    state: State
    settings: EspSettings
    waiting: dict[str, str] = field(default_factory=dict)
    """Talk -> question."""

    @restores
    async def restore(self) -> None:
        self.waiting = await self.state.get("questions", dict[str, str]) or {}

    @answers(question)
    async def on_question(self, talk: Talk, asked: AskQuestion) -> None:
        found = known_answer(asked.text, self.settings.answers)
        if found is None:
            found = await self._from_the_desk(talk.id, asked.text)
        await talk.say(Answer(text=found))

    async def _from_the_desk(self, id: str, text: str) -> str:
        log.warning("a question waits for a person: %s %r (answer it in %s)", id, text, self.settings.answers_file)
        await self._keep({**self.waiting, id: text})
        while (found := await anyio.to_thread.run_sync(self._written, id)) is None:
            await self.clock.sleep(self.settings.desk_every_s)
        await self._keep({other: said for other, said in self.waiting.items() if other != id})
        return found

    async def _keep(self, waiting: dict[str, str]) -> None:
        self.waiting = waiting
        try:
            await self.state.put("questions", waiting)
        except NotStored as problem:
            log.warning("the list of open questions is not kept: %s", problem)

    def _written(self, id: str) -> str | None:
        if not self.settings.answers_file:
            return None
        try:
            written = tomllib.loads(Path(self.settings.answers_file).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError):
            return None  # not there yet, or half written
        found = written.get("answers", {}).get(id)
        return found if isinstance(found, str) else None
