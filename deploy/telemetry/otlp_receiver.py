"""A small receiver of OTLP: gRPC and HTTP (protobuf, JSON). It writes what it takes where ``gridparley trace`` looks.

It stands where there is no Jaeger, and in tests. Whoever reaches its ports may send, so everything is bounded: the size
of a request packed and unpacked, open connections, time for a request, files and their length.
"""

import asyncio
import logging
import ssl
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgspec
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from deploy.telemetry.otlp_spans import Sink

log = logging.getLogger("gridparley.telemetry")
BODY_BYTES = 4_000_000
HEAD_BYTES = 16_384
CONNECTIONS = 512
REQUEST_WALL_S = 10.0
IDLE_WALL_S = 300.0
STOP_WALL_S = 1.0
LINGER_WALL_S = 2.0
PROTOBUF, JSON = "application/x-protobuf", "application/json"
_IDS = ("traceId", "spanId", "parentSpanId")


class Refused(Exception):
    """A request that is not taken. ``status`` of HTTP, ``code`` of gRPC."""

    def __init__(self, status: str, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


def _bad(text: str) -> Refused:
    return Refused("400 Bad Request", grpc.StatusCode.INVALID_ARGUMENT, text)


class Where(NamedTuple):
    """A door: host and port; port 0: any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Where":
        """``host:port``. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r} is no host:port: write 0.0.0.0:4317")
        return cls(host, int(port))


class Receiver:
    """``async with Receiver(folder, by_grpc=..., by_http=...)``: it receives until the block ends.

    tls   certificate and key of both doors; None: plain
    """

    def __init__(
        self, folder: Path, *, by_grpc: Where | None, by_http: Where | None, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._sink, self._grpc, self._http, self._tls = Sink(folder), by_grpc, by_http, tls
        self.grpc_port = self.http_port = 0
        self._grpc_server: grpc.Server | None = None
        self._http_server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> "Receiver":
        """Raises OSError: a port is taken, or the folder cannot be written."""
        if self._http is not None:
            context = None
            if self._tls is not None:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(*self._tls)
            self._http_server = await asyncio.start_server(self._connected, *self._http, limit=HEAD_BYTES, ssl=context)
            self.http_port = self._http_server.sockets[0].getsockname()[1]
        if self._grpc is not None:
            self._grpc_server, self.grpc_port = self._serve_grpc(self._grpc)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http_server is not None:
            self._http_server.close()
            for writer in self._open.values():
                writer.transport.abort()
            if self._open:
                await asyncio.wait(self._open)
        if self._grpc_server is not None:
            await asyncio.to_thread(self._grpc_server.stop(STOP_WALL_S).wait)

    # ---------------------------------------------------------------- what is sent

    def _spans(self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
        answer = ExportTraceServiceResponse()
        refused = self._written(lambda: self._sink.spans(request))
        if refused:
            answer.partial_success.rejected_spans = refused
            answer.partial_success.error_message = "a trace's id has 16 bytes, a span's 8"
        return answer

    def _figures(self, request: ExportMetricsServiceRequest) -> ExportMetricsServiceResponse:
        self._written(lambda: self._sink.figures(request))
        return ExportMetricsServiceResponse()

    @staticmethod
    def _written(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError as problem:
            log.error("nothing can be written: %s", problem)
            text = f"not written ({problem.strerror}): is the receiver's disk full?"
            raise Refused("503 Service Unavailable", grpc.StatusCode.UNAVAILABLE, text) from problem
        except (ValueError, OverflowError, RecursionError) as problem:
            raise _bad(str(problem)) from problem

    # ---------------------------------------------------------------- gRPC

    def _serve_grpc(self, where: Where) -> tuple[grpc.Server, int]:
        server = grpc.server(
            ThreadPoolExecutor(2, thread_name_prefix="otlp"),
            maximum_concurrent_rpcs=CONNECTIONS,
            options=(("grpc.max_receive_message_length", BODY_BYTES), ("grpc.so_reuseport", 0)),
        )
        for kind, service, take in (
            (ExportTraceServiceRequest, "opentelemetry.proto.collector.trace.v1.TraceService", self._spans),
            (ExportMetricsServiceRequest, "opentelemetry.proto.collector.metrics.v1.MetricsService", self._figures),
        ):
            # The library would answer a request that does not decode as a fault of the server.
            handler = grpc.unary_unary_rpc_method_handler(_taking(kind, take))
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        address = f"{where.host}:{where.port}"
        try:
            if self._tls is None:
                port = server.add_insecure_port(address)
            else:
                certificate, key = (path.read_bytes() for path in self._tls)
                port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        except RuntimeError as problem:
            raise OSError(f"{address} cannot be listened at: {problem}") from None
        server.start()
        return server, port

    # ---------------------------------------------------------------- HTTP

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            if len(self._open) <= CONNECTIONS:
                while await self._one(reader, writer):
                    pass
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or sends what is no request
        finally:
            del self._open[task]
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow on this connection."""
        async with asyncio.timeout(IDLE_WALL_S):
            raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, path, *_ = [*first.split(" "), "", ""]
        heads = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        kind = heads.get("content-type", "").partition(";")[0].strip().lower()
        more = heads.get("connection", "").lower() != "close" and not first.endswith("HTTP/1.0")
        try:
            if path == "/healthz" and method in ("GET", "HEAD"):
                status, body, said = "200 OK", b"" if method == "HEAD" else b"well\n", "text/plain"
            else:
                async with asyncio.timeout(REQUEST_WALL_S):
                    body = await self._body(reader, writer, heads)
                status, said = "200 OK", JSON if kind == JSON else PROTOBUF
                answer = self._posted(method, path, kind, heads.get("content-encoding", ""), body)
                body = b"{}" if kind == JSON else answer.SerializeToString()
        except Refused as problem:
            status, said, more = problem.status, PROTOBUF, False
            body = Status(message=str(problem)).SerializeToString()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {said}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: {'keep-alive' if more else 'close'}\r\n\r\n".encode() + body)
        await writer.drain()
        if not more:
            await _hear_out(reader, writer)
        return more

    @staticmethod
    async def _body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heads: dict[str, str]) -> bytes:
        length = heads.get("content-length", "")
        if not length.isdecimal():
            text = "say Content-Length: a body of unknown length is not read"
            raise Refused("411 Length Required", grpc.StatusCode.INVALID_ARGUMENT, text)
        if len(length) > 9 or int(length) > BODY_BYTES:
            text = f"a request may have {BODY_BYTES} bytes: send fewer spans at once"
            raise Refused("413 Content Too Large", grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        if heads.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await reader.readexactly(int(length))

    def _posted(self, method: str, path: str, kind: str, packing: str, body: bytes) -> Message:
        if method != "POST" or path not in ("/v1/traces", "/v1/metrics"):
            text = "POST /v1/traces, POST /v1/metrics or GET /healthz"
            raise Refused("404 Not Found", grpc.StatusCode.UNIMPLEMENTED, text)
        if kind not in (PROTOBUF, JSON):
            text = f"say Content-Type: {PROTOBUF} or {JSON}"
            raise Refused("415 Unsupported Media Type", grpc.StatusCode.INVALID_ARGUMENT, text)
        plain = _unpacked(body, packing)
        if path == "/v1/traces":
            return self._spans(_parsed(ExportTraceServiceRequest, plain, kind))
        return self._figures(_parsed(ExportMetricsServiceRequest, plain, kind))


async def _hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the other side finish: closing on what it still sends would take the answer from it."""
    if writer.can_write_eof():
        writer.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_WALL_S):
            while await reader.read(HEAD_BYTES):
                pass


def _taking(kind: type[Any], take: Callable[[Any], Message]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def export(raw: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            packed: bytes = take(_parsed(kind, raw, PROTOBUF)).SerializeToString()
        except Refused as problem:
            context.abort(problem.code, str(problem))
            raise AssertionError from problem  # abort raises
        return packed

    return export


def _unpacked(body: bytes, packing: str) -> bytes:
    """Raises Refused, also when it would become too long."""
    match packing.lower():
        case "" | "identity":
            return body
        case "gzip":
            unpacker = zlib.decompressobj(wbits=31)
        case "deflate":
            unpacker = zlib.decompressobj()
        case _:
            raise Refused("415 Unsupported Media Type", grpc.StatusCode.INVALID_ARGUMENT, "pack with gzip or deflate")
    try:
        plain = unpacker.decompress(body, BODY_BYTES)
    except zlib.error as problem:
        raise _bad(f"it does not unpack: {problem}") from None
    if not unpacker.eof:
        text = f"unpacked it is torn, or has more than {BODY_BYTES} bytes"
        raise Refused("413 Content Too Large", grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    return plain


def _parsed(kind: type[Any], body: bytes, form: str) -> Any:
    """Raises Refused."""
    try:
        if form == PROTOBUF:
            return kind.FromString(body)
        return ParseDict(_with_ids(msgspec.json.decode(body)), kind(), ignore_unknown_fields=True)
    except (DecodeError, ParseError, msgspec.MsgspecError, ValueError, TypeError, RecursionError) as problem:
        raise _bad(f"it is no {kind.DESCRIPTOR.name}: {str(problem)[:200]}") from None


def _with_ids(value: Any) -> Any:
    """OTLP's JSON has ids in hexadecimal, where protobuf's own JSON has base 64."""
    if isinstance(value, list):
        return [_with_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: msgspec.to_builtins(bytes.fromhex(one)) if name in _IDS and isinstance(one, str) else _with_ids(one)
        for name, one in value.items()
    }
