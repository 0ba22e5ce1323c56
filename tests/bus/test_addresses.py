"""Every subject is derived and says the same when it is taken apart again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts.all  # noqa: F401
from bus.address import HOME, Address, BadAddress, group, heard, is_home, parse, say, to
from contracts.kit import vocabulary

tokens = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)
addresses = st.builds(Address, tokens, tokens, tokens)
kinds = st.sampled_from(sorted(vocabulary().values(), key=lambda kind: kind.__qualname__))


@given(addresses)
def test_an_address_survives_being_written_down(address):
    assert Address.parse(str(address)) == address


@given(st.text(max_size=30))
def test_what_is_no_address_is_refused_by_name(text):
    if re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+){2}", text):
        assert str(Address.parse(text)) == text
    else:
        with pytest.raises(BadAddress) as refused:
            Address.parse(text)
        assert refused.value.text == text


@given(addresses, addresses, kinds)
def test_an_addressed_word_names_both_ends_and_its_type(receiver, sender, kind):
    parsed = parse(to(receiver, sender, kind))
    assert (parsed.plane, parsed.receiver, parsed.sender) == ("to", receiver, sender)
    assert vocabulary()[(parsed.topic, parsed.edition, parsed.word)] is kind
    assert parsed.home == is_home(sender, receiver) == to(receiver, sender, kind).startswith(HOME)


@given(addresses, kinds, st.booleans(), tokens)
def test_said_and_group_words_name_their_sender(sender, kind, home, name):
    said, told = parse(say(sender, kind, home=home)), parse(group(name, sender, kind))
    assert (said.plane, said.sender, said.home, said.receiver) == ("say", sender, home, None)
    assert (told.plane, told.sender, told.group, told.home) == ("group", sender, name, False)


@given(st.text(max_size=60) | st.lists(st.text(max_size=6), min_size=6, max_size=11).map(".".join))
def test_no_text_at_all_can_break_the_taking_apart(text):
    parsed = parse(text)
    assert parsed is None or str(parsed.sender) in text


@pytest.mark.parametrize(
    "subject",
    [
        "to.h07.cem.main.grid.dso.north.power_limit.+1.set_limit",
        "to.h07.cem.main.grid.dso.north.power_limit.01.set_limit",
        "to.h07.cem.main.grid.dso.north.power_limit.١.set_limit",
        "to.h07.cem.main.grid.dso.no\x0brth.power_limit.1.set_limit",
        "to.h07.cem.main.grid.dso.NORTH.power_limit.1.set_limit",
        "to.h07.cem.main.grid.dso.*.power_limit.1.set_limit",
        "home.group.x.grid.dso.north.system.1.group_message",
        "home.home.say.h07.cem.main.system.1.hello",
        "say.h07.cem.main.system.1",
        "",
    ],
)
def test_a_word_has_one_spelling(subject):
    assert parse(subject) is None


@given(addresses, kinds)
def test_a_subscription_to_anyone_covers_the_speaker(sender, kind):
    pattern, subject = heard(kind, home=True).split("."), say(sender, kind, home=True).split(".")
    assert len(pattern) == len(subject)
    assert all(p in ("*", s) for p, s in zip(pattern, subject, strict=True))
