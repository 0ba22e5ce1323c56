"""What watching costs: a talk untraced, unsampled, recorded and exported, counted; taken in turns in one run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.agents import CEM, DSO, alive, broker
from bench.figure import Figure, Result, median
from bench.talks import FOUR, WORDS, go_through
from bus import metrics, tracing
from bus.bus import Bus
from bus.talk import Talk

MOST_UNSAMPLED = 1.15


@contextmanager
def _watched(how: str, folder: Path) -> Iterator[None]:
    if how == "unsampled":
        tracing.start("bench", "bench", folder=folder, ratio=0.0)
    elif how == "recorded":
        tracing.start("bench", "bench", folder=folder, ratio=1.0)
    elif how == "counted":
        metrics.start("bench", "bench", scraped=True)
    try:
        yield
    finally:
        metrics.stop()
        tracing.stop()


async def run(quick: bool) -> list[Result]:
    async def answer(talk: Talk, _opening: object) -> None:
        await go_through(talk)

    spent: dict[str, list[float]] = {how: [] for how in ("untraced", "unsampled", "recorded", "counted")}
    with TemporaryDirectory() as folder:
        async with (
            broker(CEM, DSO, words=WORDS) as server,
            alive(DSO, server.url) as dso,
            alive(CEM, server.url, lambda bus: bus.answer(FOUR, answer)),
        ):
            await _cpu_us(dso, 200)
            for _ in range(5 if quick else 15):
                for how, found in spent.items():
                    with _watched(how, Path(folder)):
                        found.append(await _cpu_us(dso, 200))
        size = sum(path.stat().st_size for path in Path(folder).iterdir())  # noqa: ASYNC240  all work is done
    ratios = {how: median(a / b for a, b in zip(spent[how], spent["untraced"], strict=True)) for how in spent}
    talks = 200 * len(spent["recorded"])
    return [
        Figure(what="talk of 4 words untraced, processor time", value=median(spent["untraced"]), unit="us",
               note="both agents in one process"),
        Figure(what="  unsampled / untraced", value=ratios["unsampled"], unit="x", at_most=MOST_UNSAMPLED,
               note="the flag rides along, OpenTelemetry is not touched"),
        Figure(what="  recorded and written / untraced", value=ratios["recorded"], unit="x",
               note=f"6 spans a talk, {size / talks / 1000:.1f} kB as JSON lines"),
        Figure(what="  with figures kept / without", value=ratios["counted"], unit="x"),
    ]  # fmt: skip


async def _cpu_us(dso: Bus, talks: int) -> float:
    """Processor time of a talk, both sides and what is exported meanwhile."""
    began = time.process_time()
    for _ in range(talks):
        async with dso.talk(FOUR, CEM) as talk:
            await go_through(talk)
    return (time.process_time() - began) / talks * 1e6
