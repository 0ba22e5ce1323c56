"""Nobody dies by itself, nobody is deaf or stuck, and everything that was not taken is accounted for."""

from collections import Counter

from deploy.topology import HUB
from tests.chaos.storm.log import Log
from tests.chaos.storm.plan import agents_of
from tests.chaos.storm.verdict import Result, Violation

_ENDS = ("overflow", "busy", "unknown_word", "undecodable", "duplicate", "expired", "announced", "received")
"""What becomes of a word that has arrived (``bus.ears``)."""
_WELL = "everybody is well after each fault, and answers"


def nobody_dies_by_itself(log: Log) -> Result:
    """Each end of a process is a kill of ours: as many as were done, by signal 9, and the run itself ended in order."""
    found = []
    killed = Counter(
        deed.fault.target for deed in log.deeds if deed.fault.kind in ("kill", "disk") and deed.began is not None
    )  # after a full disk the launcher itself ends the server once, so that it writes again
    for one in log.exits:
        own = one.name in log.topology.servers or one.wanted
        if own and one.code == -9 and killed[one.name] > 0:
            killed[one.name] -= 1
            continue
        text = f"ended with code {one.code} at wall time {one.wall}, and nobody had killed it: see logs/{one.name}.log"
        found.append(Violation(at=log.gathered.at, place=one.name, text=text))
    if log.exit_code != 0:
        text = f"the run itself ended with code {log.exit_code}: see up.log"
        found.append(Violation(at=log.gathered.at, place=HUB, text=text))
    return Result(name="no process ends by itself", cases=len(log.exits) + 1, violations=tuple(found))


def everybody_is_well(log: Log) -> Result:
    """After each fault its target is well again in time, and at the end everybody is, and answers. A storm that was
    stopped by hand had no quiet end to become well in."""
    if log.begun.quiet is None:
        return Result(name=_WELL, cases=0)
    found = [
        Violation(at=deed.ended, place=deed.fault.target, text=f"not well again after {deed.fault.kind}: {deed.note}")
        for deed in log.deeds
        if deed.ended is not None and deed.well is None
    ]
    found += [Violation(at=log.gathered.at, place=text.split(":")[0], text=text) for text in log.gathered.ailing]
    everybody = agents_of(log.topology)
    for name in everybody:
        if name not in log.gathered.counts:
            text = "did not answer when it was asked for its counts at the end: it is deaf or stuck"
            found.append(Violation(at=log.gathered.at, place=name, text=text))
    for consumer, count in log.gathered.unread.items():
        if not consumer.split()[-1].startswith("grid-ops-"):
            text = f"{count} stored words have not been read or not been dealt with by {consumer}"
            found.append(Violation(at=log.gathered.at, place=consumer.split()[0], text=text))
    cases = len([deed for deed in log.deeds if deed.ended is not None]) + len(everybody)
    return Result(name=_WELL, cases=cases, violations=tuple(found))


def everything_is_accounted_for(log: Log) -> Result:
    """arrived = overflow + busy + unknown_word + undecodable + duplicate + expired + announced + received."""
    found = []
    for name, counts in log.gathered.counts.items():
        known = sum(counts.get(end, 0) for end in _ENDS)
        if counts.get("arrived", 0) != known:
            text = f"{counts.get('arrived', 0)} words arrived and {known} are accounted for: {counts}"
            found.append(Violation(at=log.gathered.at, place=name, text=text))
    for letter in log.gathered.letters:
        # What a store that is down or full cannot keep fails aloud, and is said or brought again.
        if letter.code == "handler_failed" and "not stored" not in letter.error:
            text = f"a handler failed on {letter.subject}: {letter.error}"
            found.append(Violation(at=letter.at, place=letter.receiver, text=text))
    return Result(name="every word is accounted for", cases=len(log.gathered.counts), violations=tuple(found))
