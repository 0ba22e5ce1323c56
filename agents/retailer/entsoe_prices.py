"""Day-ahead prices as the transparency platform's interface gives them: Publication_MarketDocument, type A44.

Source: IEC 62325-451-3, publication document; curve type A03 leaves out points that repeat the one before.
"""

from dataclasses import dataclass, field
from datetime import datetime
from xml.parsers import expat

from agents.retailer.price_slots import PriceFileError, Slot, checked, in_order, seconds

ROOT = "Publication_MarketDocument"


@dataclass
class _Node:
    name: str
    line: int
    text: str = ""
    inside: "list[_Node]" = field(default_factory=list)

    def all(self, name: str) -> "list[_Node]":
        return [node for node in self.inside if node.name == name]

    def of(self, *path: str) -> str | None:
        node = self
        for name in path:
            found = node.all(name)
            if not found:
                return None
            node = found[0]
        return node.text.strip()


def read(text: str, file: str) -> tuple[Slot, ...]:
    """Slots in order. Raises PriceFileError."""
    root = _tree(text, file)
    if root.name != ROOT:
        code = root.of("Reason", "text") or f"it is a {root.name}"
        raise PriceFileError(file, root.line, code, f"Ask the platform for a {ROOT} (document type A44).")
    series = [(*_rank(node), node) for node in root.all("TimeSeries")]
    covered: list[Slot] = []
    for _, _, _, node in sorted(series, key=lambda one: one[:3]):
        _unit(node, file)
        for period in node.all("Period"):
            covered += [slot for slot in _period(period, node.of("curveType"), file) if _free(slot, covered)]
    return in_order(file, covered)


def _tree(text: str, file: str) -> _Node:
    """Without document type and entities: a price file needs none, and they can be made to fill the memory."""
    parser = expat.ParserCreate(namespace_separator=" ")
    top = _Node("", 0)
    open_: list[_Node] = [top]

    def start(name: str, _attributes: dict[str, str]) -> None:
        node = _Node(name.rpartition(" ")[2], parser.CurrentLineNumber)
        open_[-1].inside.append(node)
        open_.append(node)

    def end(_name: str) -> None:
        open_.pop()

    def characters(data: str) -> None:
        open_[-1].text += data

    def doctype(*_: object) -> None:
        remedy = "Leave it out."
        raise PriceFileError(file, parser.CurrentLineNumber, "it declares a document type", remedy)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as problem:
        cause = f"it is no XML: {expat.errors.messages[problem.code]}"
        raise PriceFileError(file, problem.lineno, cause, "Fetch it again.") from problem
    return top.inside[0]


def _rank(series: _Node) -> tuple[int, float, int]:
    """The first sequence before others, the finer resolution before the coarser."""
    place = series.of("classificationSequence_AttributeInstanceComponent.position") or "1"
    steps = [seconds(period.of("resolution") or "") or 1e9 for period in series.all("Period")]
    return int(place) if place.isdigit() else 1, min(steps, default=1e9), series.line


def _unit(series: _Node, file: str) -> None:
    currency = series.of("currency_Unit.name") or "EUR"
    measure = series.of("price_Measure_Unit.name") or "MWH"
    if currency != "EUR" or measure != "MWH":
        cause = f"its prices are in {currency}/{measure}"
        raise PriceFileError(file, series.line, cause, "Only EUR/MWH can be used: convert them.")


def _period(period: _Node, curve: str | None, file: str) -> list[Slot]:
    step = seconds(period.of("resolution") or "")
    start, end = (_instant(period, name, file) for name in ("start", "end"))
    if not step:
        raise PriceFileError(file, period.line, "a period has no resolution", "Give one, such as PT60M.")
    count = round((end - start) / step)
    points: dict[int, tuple[float, int]] = {}
    for point in period.all("Point"):
        try:
            place, price = int(point.of("position") or ""), float(point.of("price.amount") or "")
        except ValueError:
            cause = "a point has no position or no price"
            raise PriceFileError(file, point.line, cause, "Give both as numbers.") from None
        if not 1 <= place <= count:
            cause = f"position {place} lies outside the period of {count} points"
            raise PriceFileError(file, point.line, cause, "Correct the position or the period.")
        points[place] = price, point.line
    found = []
    last: tuple[float, int] | None = None
    for place in range(1, count + 1):
        here = points.get(place)
        last = here or (last if curve == "A03" else None)
        if last is not None:
            first = start + (place - 1) * step
            found.append(checked(file, last[1], first, first + step, last[0] / 1000))
    return found


def _instant(period: _Node, name: str, file: str) -> float:
    text = period.of("timeInterval", name) or ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(text)
        return moment.timestamp()
    except ValueError:
        cause = f"a period's {name} {text!r} is no instant"
        raise PriceFileError(file, period.line, cause, "It looks like 2016-05-19T22:00Z.") from None


def _free(slot: Slot, covered: list[Slot]) -> bool:
    return all(slot.end <= other.start or other.end <= slot.start for other in covered)
