"""What every word travels in: limits act on arrival, unknown fields are skipped, nothing but finite numbers passes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts.all  # noqa: F401
from bus.envelope import Envelope, Ids, decoder, encode, instant
from contracts.kit import vocabulary
from contracts.power_limit import Heartbeat
from tests.bus.samples import sample

WORDS = sorted(vocabulary().values(), key=lambda kind: kind.__qualname__)


def wrapped(body, **more):
    return Envelope(id="a-1", at=instant(1e9), deadline=instant(1e9 + 30), body=body, **more)


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_every_word_comes_out_as_it_went_in(kind, seed):
    envelope = wrapped(sample(kind, seed), talk="t-1", trace=f"00-{'ab' * 16}-{'cd' * 8}-01")
    assert decoder(kind).decode(encode(envelope)) == envelope


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_unknown_fields_are_skipped_in_envelope_and_body(kind):
    envelope = wrapped(sample(kind))
    raw = msgspec.json.decode(encode(envelope))
    raw["later"] = {"edition": 9}
    raw["body"]["also_later"] = [1, 2]
    assert decoder(kind).decode(msgspec.json.encode(raw)) == envelope


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b'"60"', b"null", b"true"])
def test_what_is_no_number_within_limits_is_refused(number):
    raw = encode(wrapped(Heartbeat(every_s=60.0))).replace(b"60.0", number)
    with pytest.raises(msgspec.MsgspecError):
        decoder(Heartbeat).decode(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": 0},
        {"id": ""},
        {"id": "x" * 65},
        {"id": 7},
        {"at": "2016-05-20T10:00:00"},
        {"deadline": "tomorrow"},
        {"deadline": 1e9},
        {"talk": ""},
        {"trace": "00-xyz"},
        {"trace": f"00-{'AB' * 16}-{'cd' * 8}-01"},
        {"body": None},
        {"body": []},
    ],
    ids=str,
)
def test_an_envelope_out_of_form_is_refused(change):
    raw = msgspec.json.decode(encode(wrapped(Heartbeat(every_s=60.0)))) | change
    with pytest.raises(msgspec.ValidationError):
        decoder(Heartbeat).decode(msgspec.json.encode(raw))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_one_way(raw):
    with pytest.raises((msgspec.MsgspecError, ValueError, RecursionError)):
        decoder(Heartbeat).decode(raw)


def test_depth_without_end_is_refused():
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        decoder(Heartbeat).decode(b'{"x":' + b"[" * 30_000)


def test_ids_are_unique_over_makers():
    makers = [Ids() for _ in range(50)]
    assert len({make() for make in makers for _ in range(200)}) == 10_000
