"""Figures of a process that is no agent: the world, a line's owner, the clock's keeper."""

from collections.abc import Iterator
from contextlib import contextmanager

from bus import metrics
from bus.exporters import BadSetting
from deploy.condition import CannotRun


@contextmanager
def kept(role: str, instance: str, *, scraped: bool) -> Iterator[None]:
    """Figures are kept inside, if anybody wants them. Raises CannotRun for a bad setting.

    scraped   there is a port of this process where somebody may ask for them
    """
    try:
        metrics.start(role, instance, scraped=scraped)
    except BadSetting as problem:
        raise CannotRun(str(problem)) from None
    try:
        yield
    finally:
        metrics.stop()
