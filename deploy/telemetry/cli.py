"""``gridparley traces``: receive what agents export, where there is no Jaeger."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(envvar="GRIDPARLEY_DATA", help="Folder: spans/AGENT.jsonl, metrics/AGENT.json.")],
    grpc: Annotated[str, typer.Option(help="host:port for OTLP over gRPC; empty: none.")] = "127.0.0.1:4317",
    http: Annotated[str, typer.Option(help="host:port for OTLP over HTTP and GET /healthz.")] = "127.0.0.1:4318",
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate of both doors; without, they are plain.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
) -> None:
    """Receive spans and figures over OTLP and write them where `gridparley trace` looks, until SIGTERM.

    Agents send here when OTEL_EXPORTER_OTLP_ENDPOINT names it.

    Examples:

        gridparley traces --out /data --grpc 0.0.0.0:4317 --http 0.0.0.0:4318

        gridparley trace limit_write --run /data
    """
    import logging

    from deploy.condition import live, stop_event
    from deploy.telemetry.log_lines import configure_logging
    from deploy.telemetry.otlp_receiver import Receiver, Where

    configure_logging()
    try:
        if (certificate is None) != (key is None):
            raise ValueError("a certificate needs its key: give both or none")
        tls = None if certificate is None or key is None else (certificate, key)
        receiver = Receiver(out, by_grpc=Where.parse(grpc) if grpc else None, by_http=Where.parse(http), tls=tls)
    except (ValueError, OSError) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from None

    async def receive() -> None:
        stop = stop_event()
        async with receiver:
            logging.getLogger("gridparley").info("receiving traces at %s and %s", grpc or "no gRPC", http)
            await stop.wait()

    raise typer.Exit(live("traces", receive))
