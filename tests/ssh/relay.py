"""A ProxyCommand that is slow, or that cuts the line: relay.py HOST PORT [--delay S] [--cut FILE].

Every byte arrives DELAY seconds later, in both directions. With --cut, the connection ends as soon
as FILE exists; what was under way is lost.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time
from collections import deque


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--cut", default="")
    given = parser.parse_args()
    link = socket.create_connection((given.host, given.port))
    queues: dict[int, deque[tuple[float, bytes]]] = {0: deque(), link.fileno(): deque()}
    sinks = {0: link.fileno(), link.fileno(): 1}
    sources = set(queues)
    while sources or any(queues.values()):
        if given.cut and os.path.exists(given.cut):
            sys.exit(1)
        for source in select.select(sources, [], [], 0.005)[0]:
            data = os.read(source, 65536)
            queues[source].append((time.monotonic() + given.delay, data))
            if not data:
                sources.discard(source)
        for source, queue in queues.items():
            while queue and queue[0][0] <= time.monotonic():
                data = queue.popleft()[1]
                if not data:
                    sys.exit(0)
                while data:
                    data = data[os.write(sinks[source], data) :]


main()
