"""What the masters have told a device, by what they wrote into its registers."""

from collections.abc import Iterable

from contracts.device_form import Value


class Orders:
    """The writable points of one device as last written, each with its instant. Empty: nobody has said anything."""

    def __init__(self) -> None:
        self._points: frozenset[str] = frozenset()
        self._written: dict[str, tuple[Value, float]] = {}
        self._contact: float | None = None

    def know(self, points: Iterable[str]) -> None:
        """The points that the product has."""
        self._points = frozenset(points)

    def has(self, point: str) -> bool:
        """Whether the product has such a point at all."""
        return point in self._points

    def take(self, point: str, value: Value, instant: float) -> None:
        self._written[point] = (value, instant)

    def touch(self, instant: float) -> None:
        """A master has read or written something."""
        self._contact = instant

    def silent_s(self, instant: float) -> float:
        """Seconds since a master was last heard; 0 while none has ever been."""
        return 0.0 if self._contact is None else instant - self._contact

    def number(self, point: str) -> float | None:
        """The value last written, None when nothing was."""
        entry = self._written.get(point)
        return None if entry is None or isinstance(entry[0], str) else float(entry[0])

    def word(self, point: str) -> str | None:
        entry = self._written.get(point)
        return entry[0] if entry is not None and isinstance(entry[0], str) else None

    def age_s(self, instant: float, *points: str) -> float:
        """Seconds since the youngest write to one of ``points``; endless when there was none."""
        written = [self._written[point][1] for point in points if point in self._written]
        return instant - max(written) if written else float("inf")

    def dump(self) -> dict[str, tuple[Value, float]]:
        return dict(self._written)

    def load(self, written: dict[str, tuple[Value, float]]) -> None:
        self._written = dict(written)
