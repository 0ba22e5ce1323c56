"""Traces across parties: a talk is one trace, from the operator's decision to the register that was written.

The flag is decided once, when a trace begins. Unsampled work never touches OpenTelemetry.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Literal

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from bus.exporters import BadSetting, PatientSpans, bounded, span_exporter
from contracts.kit import Message
from contracts.reasons import Reason

RATIO, TELEMETRY_RATIO = "GRIDPARLEY_TRACE_RATIO", "GRIDPARLEY_TRACE_TELEMETRY_RATIO"
Attributes = dict[str, str | int | float | bool]
Kind = Literal["internal", "producer", "consumer"]
_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_provider: TracerProvider | None = None
_tracer: trace.Tracer
_exporter: object = None
_ratio = 1.0
_instance = ""
telemetry_ratio = 0.0
"""Of what is said to whoever listens (readings, states), this share begins a trace."""
_unsampled: ContextVar[str | None] = ContextVar("unsampled", default=None)
"""The traceparent of work that nobody records; it still tells others not to."""


def start(role: str, instance: str, *, folder: Path | None = None, ratio: float | None = None) -> None:
    """Begin to trace in this process; call after the fork, the exporter has a thread. Raises BadSetting.

    Spans go to OTLP where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set, else to ``folder`` as JSON lines, else nowhere.

    ratio   share of the traces that begin here which are recorded; None: as ``GRIDPARLEY_TRACE_RATIO`` says, else all
    """
    global _provider, _tracer, _exporter, _ratio, _instance, telemetry_ratio
    _ratio, _instance = _share(RATIO, 1.0) if ratio is None else ratio, instance
    telemetry = _share(TELEMETRY_RATIO, 0.0)
    exporter = span_exporter(instance, folder)
    if exporter is None:
        return
    _provider = TracerProvider(
        resource=resource(role, instance), sampler=sampling.ALWAYS_ON, shutdown_on_exit=False
    )  # whether to record was decided before it is asked
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    _tracer, _exporter, telemetry_ratio = _provider.get_tracer("gridparley"), exporter, telemetry


def resource(role: str, instance: str) -> Resource:
    """What spans and figures of this process have in common."""
    return Resource.create({"service.name": role, "service.instance.id": instance, "service.namespace": "gridparley"})


def _share(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise BadSetting(name, text, "a number from 0 to 1")
    return share


def stop() -> None:
    """Send what is left, if somebody takes it."""
    global _provider, _exporter, telemetry_ratio
    if _provider is not None:
        if isinstance(_exporter, PatientSpans):
            _exporter.outages.closing = True
        bounded(_provider.shutdown)
        _provider, _exporter, telemetry_ratio = None, None, 0.0


def _sampled(parent: str | None, ratio: float) -> bool:
    if parent is not None:
        return bool(int(parent[-2:], 16) & 1)
    return random.random() < ratio


def instance() -> str:
    """Whose process this is: the address of its agent; empty before ``start``."""
    return _instance


def on() -> bool:
    """Whether this process traces at all: what goes into spans only need not be made otherwise."""
    return _provider is not None


def recording() -> bool:
    """Whether there is a present span that is recorded."""
    return _provider is not None and _unsampled.get() is None and trace.get_current_span().is_recording()


def current() -> str | None:
    """The present span as a W3C traceparent; None outside of any."""
    if _provider is None:
        return None
    unsampled = _unsampled.get()
    if unsampled is not None:
        return unsampled
    here = trace.get_current_span().get_span_context()
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags):02x}" if here.is_valid else None


def _parse(parent: str) -> SpanContext:
    _, trace_id, span_id, flags = parent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def because(reason: Reason | None) -> Attributes:
    """A reason as attributes of a span or an event."""
    if reason is None:
        return {}
    found: Attributes = {"gridparley.reason.code": reason.code, "gridparley.reason.text": reason.text}
    if reason.binding is not None:
        found["gridparley.reason.binding"] = reason.binding
    return found


def reason_of(message: Message) -> Reason | None:
    """The reason that a word gives, if it gives one."""
    reason = getattr(message, "reason", None)
    return reason if isinstance(reason, Reason) else None


def sending(subject: str, talk: str | None, reason: Reason | None) -> Attributes:
    """What a span says about a word that leaves."""
    found: Attributes = {
        "messaging.system": "nats",
        "messaging.operation.type": "send",
        "messaging.operation.name": "say",
        "messaging.destination.name": subject,
        **because(reason),
    }
    if talk is not None:
        found["messaging.message.conversation_id"] = talk
    return found


def heard(message: Message, state: str) -> None:
    """A word of the peer, as an event in the present span; ``state`` is where it leads."""
    if recording():
        attributes = {"gridparley.state": state, **because(reason_of(message))}
        trace.get_current_span().add_event(f"heard {type(message).__name__}", attributes)


def note(name: str, attributes: Attributes | None = None) -> None:
    """An event in the present span, if that is recorded."""
    if recording():
        trace.get_current_span().add_event(name, attributes)


def span(
    name: str,
    attributes: Attributes | Callable[[], Attributes] | None = None,
    *,
    parent: str | None = None,
    kind: Kind = "internal",
    root: bool = True,
    ratio: float | None = None,
) -> AbstractContextManager["Mark"]:
    """A span around a block: below ``parent`` if given, else below the present one, else the root of a new trace.

    attributes   or what makes them, asked only when the span is recorded
    root         False: outside of any trace there is no span
    ratio        share of the traces that begin here which are recorded; None: as for all
    """
    if _provider is None:
        return _NOTHING
    inside = parent or current()
    if inside is None and not root:
        return _NOTHING
    if _sampled(inside, _ratio if ratio is None else ratio):
        return _recorded(name, attributes() if callable(attributes) else attributes, parent, kind)
    if inside is None:
        ids = random.randbytes(24).hex()
        inside = f"00-{ids[:32]}-{ids[32:]}-00"
    return _Unrecorded(inside)


@contextmanager
def _recorded(name: str, attributes: Attributes | None, parent: str | None, kind: Kind) -> Iterator["Mark"]:
    context = trace.set_span_in_context(NonRecordingSpan(_parse(parent))) if parent else None
    token = _unsampled.set(None)
    try:
        with _tracer.start_as_current_span(name, context, _KINDS[kind], attributes) as made:
            yield Mark(made)
    finally:
        _restore(token)


class _Unrecorded:
    """Nobody records this block, nor what others do because of it."""

    __slots__ = ("_parent", "_token")

    def __init__(self, parent: str) -> None:
        self._parent = parent

    def __enter__(self) -> "Mark":
        self._token = _unsampled.set(self._parent)
        return _UNMARKED

    def __exit__(self, *_: object) -> None:
        _restore(self._token)


def _restore(token: Token[str | None]) -> None:
    with suppress(ValueError):  # ended in another task than it began in: nothing is to be restored there
        _unsampled.reset(token)


class _Nothing:
    """No tracing here."""

    def __enter__(self) -> "Mark":
        return _UNMARKED

    def __exit__(self, *_: object) -> None:
        return


class Mark:
    """What a block may add to its span; does nothing when unsampled."""

    __slots__ = ("_span",)

    def __init__(self, made: trace.Span | None) -> None:
        self._span = made

    @property
    def recorded(self) -> bool:
        return self._span is not None

    def set(self, attributes: Attributes) -> None:
        if self._span is not None:
            self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        if self._span is not None:
            self._span.add_event(name, attributes)

    def failed(self, why: str | Reason) -> None:
        if self._span is not None:
            if isinstance(why, Reason):
                self._span.set_attributes(because(why))
                why = why.text
            self._span.set_status(Status(StatusCode.ERROR, why))


_UNMARKED, _NOTHING = Mark(None), _Nothing()
