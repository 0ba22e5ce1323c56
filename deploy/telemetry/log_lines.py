"""Log lines of a process: text for people, or one JSON object per line for whoever collects them. Never a secret."""

import logging
import os
import re
import sys
from datetime import UTC, datetime

import msgspec

from bus import tracing

FORM = "GRIDPARLEY_LOG"
"""Environment: ``text`` (default) or ``json``."""
FORMS = ("text", "json")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PEM = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_SECRETS = (
    (re.compile(_PEM, re.DOTALL), "[private key]"),
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){1,2}"), "[token]"),
    (re.compile(r"S[UAONCX][A-Z2-7]{56}"), "[seed]"),
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), "[credentials]"),
)
"""Private keys in PEM, JSON web tokens, NKey seeds (58 characters of base 32), passwords in URLs; and what stands there
in their place. They end up in log lines by way of exceptions and of values that somebody prints."""


def redact(text: str) -> str:
    """The text without anything that looks like a secret."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class TextLines(logging.Formatter):
    """As people read them; an exception follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    ts: str
    level: str
    logger: str
    message: str
    agent: str = ""
    trace_id: str = ""
    span_id: str = ""
    exception: str = ""


class JsonLines(logging.Formatter):
    """One JSON object per line.

    ``ts`` (UTC, ISO 8601), ``level``, ``logger``, ``message``; ``agent``: the address of the process's agent; inside of
    a span ``trace_id`` and ``span_id``, in hexadecimal as the trace shows them; ``exception`` with its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = _Line(
            ts=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            level=record.levelname,
            logger=record.name,
            message=redact(record.getMessage()),
            agent=tracing.instance(),
        )
        here = tracing.current()
        if here is not None:
            _, line.trace_id, line.span_id, _ = here.split("-")
        if record.exc_info:
            line.exception = redact(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def configure_logging(level: int = logging.INFO) -> None:
    """Log to standard error in the form that the environment asks for. Exits with 2 when there is no such form."""
    form = os.environ.get(FORM) or "text"
    if form not in FORMS:
        sys.stderr.write(f"{FORM}={form!r} is no form of log lines: say {' or '.join(FORMS)}\n")
        raise SystemExit(2)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # the drivers say what matters, once
