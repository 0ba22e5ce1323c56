"""Log lines are text or one JSON object each, say who and in which trace, and hold no secrets."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bus import tracing
from bus.nkeys import KeyPair
from deploy.telemetry.log_lines import JsonLines, TextLines, redact

ROOT = Path(__file__).parents[2]
SPEAKER = """
import logging
from pathlib import Path
from deploy.telemetry.log_lines import configure_logging

configure_logging()
log = logging.getLogger("gridparley.test")
log.warning("two\\nlines of %s", "one message")
try:
    raise ValueError("what went wrong")
except ValueError:
    log.exception("it failed")
"""


def seed() -> str:
    return KeyPair.new().seed


def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def token() -> str:
    head, body = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ", "eyJqdGkiOiJYWFgiLCJpYXQiOjE2MDAwMDAwMDB9"
    return f"{head}.{body}.c2lnbmF0dXJl-_x"


def record(message: str, *args: object, error: Exception | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("gridparley.test", logging.ERROR, __file__, 1, message, args, info)


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Path]:
    tracing.start("cem", "h07.cem.main", folder=tmp_path)
    yield tmp_path
    tracing.stop()


def spoken(**environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SPEAKER],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_json_object_per_line_whatever_a_message_holds() -> None:
    done = spoken(GRIDPARLEY_LOG="json")
    assert done.returncode == 0
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert first["message"] == "two\nlines of one message"
    assert (first["level"], first["logger"]) == ("WARNING", "gridparley.test")
    assert first["ts"].endswith("+00:00")
    assert "exception" not in first
    assert second["message"] == "it failed"
    assert second["exception"].endswith("ValueError: what went wrong")


def test_text_is_the_default_and_another_form_is_an_error_that_names_the_two() -> None:
    done = spoken(GRIDPARLEY_LOG="")
    assert " ERROR gridparley.test: it failed\nTraceback " in done.stderr
    wrong = spoken(GRIDPARLEY_LOG="xml")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "GRIDPARLEY_LOG='xml' is no form of log lines: say text or json\n",
    )


def test_a_line_says_whose_it_is_and_in_which_trace(traced: Path) -> None:
    with tracing.span("write limit_a"):
        here = tracing.current()
        inside = json.loads(JsonLines().format(record("in")))
    outside = json.loads(JsonLines().format(record("out")))
    assert here is not None
    assert here.split("-")[1:3] == [inside["trace_id"], inside["span_id"]]
    assert inside["agent"] == outside["agent"] == "h07.cem.main"
    assert "trace_id" not in outside


@pytest.mark.parametrize("form", [TextLines, JsonLines])
@pytest.mark.parametrize("secret", [seed, pem, token])
def test_secrets_never_get_into_a_line_by_whatever_way_they_come(form, secret) -> None:
    hidden = secret()
    inner = hidden.strip().splitlines()[len(hidden.strip().splitlines()) // 2]
    try:
        raise ValueError(f"cannot read {hidden!r}")
    except ValueError as problem:
        ways = (
            record(f"key={hidden}"),
            record("key %s, %r", hidden, {"seed": hidden}),
            record("key %s", hidden.encode()),
            record("failed", error=problem),
        )
        for way in ways:
            line = form().format(way)
            assert inner not in line
            assert "[" in line


def test_a_torn_private_key_is_hidden_to_its_end() -> None:
    torn = pem()[:-60]
    assert redact(f"read {torn}") == "read [private key]"


def test_what_is_no_secret_stays() -> None:
    public = KeyPair.new().public
    text = f"{public} connected to tls://nats-h07:4222; talk 5f3a0c11-17, trace {'ab' * 16}"
    assert redact(text) == text
    assert redact("tls://me:hunter2@hub:4222") == "tls://[credentials]@hub:4222"
