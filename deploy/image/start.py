#!/usr/bin/env -S python3 -P
"""``gridparley`` in a container. The kernel drops a SIGTERM to process 1 that it does not handle, so one that is still
loading would run on until it is killed: it is handled before anything is loaded."""

import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from deploy.cli import main  # noqa: E402

main()
