"""Is NATS beyond help but for a new start? The liveness probe of its pod, which is given this text."""

import os
import socket

ROOM_BYTES = 4 << 20


def told(path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", 8222), 4) as line:
        line.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return line.makefile("rb").read()


def main() -> None:
    if b" 200 " not in told("/healthz?js-enabled-only=true")[:16]:
        raise SystemExit("JetStream is off")
    room = os.statvfs("/data")
    # A stream that met a full disk takes no word from then on (nats-server 2.15): a new start helps once there is room.
    if b"write error" in told("/healthz") and room.f_bavail * room.f_frsize >= ROOM_BYTES:
        raise SystemExit("a stream cannot be written")


if __name__ == "__main__":
    main()
