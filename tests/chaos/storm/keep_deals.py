"""What must hold of talks: both sides agree on each deal, nothing stored is doubled, no order is lost or done twice."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec

from agents.dso.limit_book import Page
from agents.kit.deals import Deal
from bus.store import TALKS
from contracts.all import conversations
from contracts.kit import word_of
from contracts.power_limit import limit_write
from deploy.records.rows import Event
from tests.chaos.storm.flood import ROGUE
from tests.chaos.storm.keep_limits import wire_s
from tests.chaos.storm.log import Log, guard_chain, manager, of, site_chain, touches
from tests.chaos.storm.verdict import Result, Violation

ANSWER_S = 30.0
"""After so long the opener of a limit lets go (``limit_write`` lapses)."""
_ENDINGS = frozenset({"limit_accepted", "limit_refused", "failsafe_accepted", "failsafe_refused", "power_applied"})
LATEST_S = 60.0
"""What was said this shortly before the end may still be under way."""


def _deal_words() -> set[str]:
    return {word_of(word) for table in conversations().values() for word in table.deal}


def deals(log: Log) -> Iterator[tuple[str, Deal]]:
    """Every entry of every book of deals that stood still as it was read: whose, and what it says."""
    for address, book in log.gathered.books.items():
        for key, document in book.items():
            if key.startswith("deal-") and f"{address}.{key}" not in log.gathered.moving:
                yield address, msgspec.json.decode(document, type=Deal)


def both_sides_agree(log: Log) -> Result:
    """A deal is on exactly if its word is in the stream that its receiver reads, and both books say so."""
    there = {
        (one.event.sender, one.event.receiver, one.event.talk): one.event
        for one in log.stored(TALKS)
        if one.event.word in _deal_words()
    }
    found, cases = [], 0
    for address, deal in deals(log):
        cases += 1
        way = (address, str(deal.peer)) if deal.closer else (str(deal.peer), address)
        word = there.get((*way, deal.id))
        if word is not None and word.at > log.gathered.at - LATEST_S:
            continue
        on = word is not None and (not deal.said or word.id == deal.said)
        if deal.phase == "closing":
            said = "does not know whether it is on, and had all of the quiet end to find out"
        elif (deal.phase == "on") != on:
            said = f"its book says {deal.phase}, and the word that makes the deal is {'there' if on else 'not there'}"
        else:
            continue
        text = f"{deal.table} {deal.id} with {deal.peer}: {said}"
        found.append(Violation(at=word.at if word else log.gathered.at, place=address, text=text))
    limits = list(_limits_agree(log))
    cases += 2 * len(log.sites)
    return Result(name="both sides agree on every deal", cases=cases, violations=(*found, *limits))


def _limits_agree(log: Log) -> Iterator[Violation]:
    """The guard's page has, of each direction, the last acceptance in the stream; so has the site's book."""
    last: dict[tuple[str, str], Event] = {}
    for one in log.stored(TALKS):
        if one.event.word == "limit_accepted":
            last[one.event.site, _direction(one.event)] = one.event
    books = list(deals(log))
    for (site, direction), event in last.items():
        if event.at > log.gathered.at - LATEST_S:
            continue
        own = [deal for address, deal in books if address == manager(log, site) and deal.table == limit_write.name]
        if not any(deal.id == event.talk and deal.phase == "on" for deal in own):
            text = f"the last accepted {direction} limit (talk {event.talk}) is not a deal in the site's own book"
            yield Violation(at=event.at, place=site, text=text)
        raw = log.gathered.books.get(event.receiver or "", {}).get(f"limits_{site}")
        page = msgspec.json.decode(raw, type=Page) if raw is not None else Page()
        bound = page.bound.get(direction)  # type: ignore[call-overload]
        if bound is None or bound.talk != event.talk:
            text = (
                f"the last accepted {direction} limit is of talk {event.talk}, the guard's page has"
                f" {bound.talk if bound else 'none'}"
            )
            yield Violation(at=event.at, place=site, text=text)


def _direction(event: Event) -> str:
    return str(msgspec.json.decode(event.body)["direction"])


def nothing_is_doubled(log: Log) -> Result:
    """No word is twice in a stream, no talk has two words that end it, no device carries an order out twice."""
    found = []
    times = Counter((one.server, one.stream, one.event.sender, one.event.id) for one in log.gathered.stored)
    for (server, stream, sender, id), count in times.items():
        if id and count > 1 and not id.startswith(ROGUE):  # who says one word often is stored often
            text = f"{sender} {id} is {count} times in {stream}"
            found.append(Violation(at=log.gathered.at, place=server, text=text))
    ends: defaultdict[tuple[str, str], dict[str, Event]] = defaultdict(dict)
    for event in (*(one.event for one in log.stored(TALKS)), *log.home_words):
        if event.talk is not None and event.word in _ENDINGS and not event.id.startswith(ROGUE):
            ends[event.sender, event.talk][event.id] = event
    for (sender, talk), words in ends.items():
        if len(words) > 1:
            text = f"talk {talk} was ended {len(words)} times: {', '.join(event.word for event in words.values())}"
            at = max(event.at for event in words.values())
            found.append(Violation(at=at, place=sender, text=text))
    return Result(name="nothing is doubled", cases=len(times) + len(ends), violations=tuple(found))


def no_order_is_lost(log: Log) -> Result:
    """A limit that is stored for a site whose way to the guard is whole until the talk's end is answered."""
    answered = {one.event.talk for one in log.stored(TALKS) if one.event.word in ("limit_accepted", "limit_refused")}
    found, cases = [], 0
    for one in log.stored(TALKS):
        if one.event.word != "set_limit" or one.event.at > log.gathered.at - LATEST_S:
            continue
        site = one.event.site
        hit = of(log, *guard_chain(log, site), *site_chain(log, site))
        if touches(hit, one.event.at - wire_s(log), one.event.at + ANSWER_S + wire_s(log)):
            continue
        cases += 1
        if one.event.talk not in answered:
            text = f"set_limit {one.event.id} (talk {one.event.talk}) was stored, nothing was wrong, nobody answered"
            found.append(Violation(at=one.event.at, place=site, text=text))
    return Result(name="no order is lost", cases=cases, violations=tuple(found))
