"""Is the process in this container well? Asks its ``GET /healthz``; exit 0 for yes, 1 and the cause for no.

``python3 -I -S healthy.py`` runs in every container again and again, so it loads sockets and nothing else. The port
is ``GRIDPARLEY_HEALTH``; a container without one has nothing to ask and is well as long as it runs.
"""

import _socket
import os
import sys

# Python's own `socket` takes as long to load as the interpreter: 10 ms for each look, 130 containers on two cores.
PATIENCE_WALL_S = 4.0
LONGEST = 4096


def cause(port: int) -> str:
    """What ails it; empty for nothing."""
    line = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        line.settimeout(PATIENCE_WALL_S)
        line.connect(("127.0.0.1", port))
        line.sendall(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b""
        while len(answer) < LONGEST and (got := line.recv(LONGEST)):
            answer += got
    except OSError as problem:
        return f"nobody answers at port {port}: {problem}"
    finally:
        line.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] == [b"200"]:
        return ""
    return body.decode(errors="replace").strip() or f"port {port} answers no HTTP"


def main() -> int:
    port = os.environ.get("GRIDPARLEY_HEALTH", "0")
    found = "" if port == "0" else cause(int(port))
    print(found or "well")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
