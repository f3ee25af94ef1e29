#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A link to a server that is far away: usage: far_link.py PORT MBIT_PER_S RTT_MS FILE

Passes connections on to PORT of this machine, with that round trip and, all together, that rate towards who
connects. FILE gets the port to connect to. It stands for a shaped network where the kernel cannot shape one; what TCP does
when it loses packets, or begins slowly, it does not show.
"""

import collections
import os
import socket
import sys
import threading
import time

PORT, RATE, RTT, FILE = int(sys.argv[1]), float(sys.argv[2]) * 1e6 / 8, float(sys.argv[3]) / 1e3, sys.argv[4]
STEP = 32 << 10
QUEUE = 4 << 20  # bytes under way on a connection
LOCK = threading.Lock()
FREE = [0.0]  # when the link has sent what it was given


def departure(size):
    """When the last of @size bytes has left, which are given to the link now."""
    with LOCK:
        FREE[0] = max(FREE[0], time.monotonic()) + size / RATE
        return FREE[0]


class Pipe:
    """One direction of a connection."""

    def __init__(self, source, target, shaped, delay):
        self.source, self.target, self.shaped, self.delay = source, target, shaped, delay
        self.queue, self.bytes, self.changed = collections.deque(), 0, threading.Condition()
        threading.Thread(target=self.receive, daemon=True).start()
        threading.Thread(target=self.send, daemon=True).start()

    def put(self, data):
        with self.changed:
            while self.bytes > QUEUE:
                self.changed.wait()
            at = departure(len(data)) if self.shaped else time.monotonic()
            self.queue.append((at + self.delay, data))
            self.delay = RTT / 2
            self.bytes += len(data)
            self.changed.notify_all()

    def receive(self):
        data = b"-"
        while data:
            try:
                data = self.source.recv(STEP)
            except OSError:
                data = b""
            self.put(data)

    def send(self):
        data = b"-"
        while data:
            with self.changed:
                while not self.queue:
                    self.changed.wait()
                at, data = self.queue.popleft()
                self.bytes -= len(data)
                self.changed.notify_all()
            time.sleep(max(0, at - time.monotonic()))
            try:
                self.target.sendall(data) if data else self.target.shutdown(socket.SHUT_WR)
            except OSError:
                self.source.close()
                return


def serve():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    with open(FILE + ".new", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(FILE + ".new", FILE)
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", PORT))
        for s in (near, far):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The first bytes come after the connection has been made.
        Pipe(near, far, False, RTT * 1.5)
        Pipe(far, near, True, RTT / 2)


serve()
