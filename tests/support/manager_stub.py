#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A service manager with a file descriptor store, as sd_notify(3), sd_listen_fds(3) and
systemd.service(5) describe systemd.

usage: manager_stub.py SOCKET PROGRAM [ARGUMENT]...

Runs the program, keeps the descriptors that it stores by name, and runs it again with them
whenever it is killed or ends with status 75. SIGUSR2 restarts it as `systemctl restart` does, with
SIGUSR1 as KillSignal=. SIGTERM ends it. Prints a line for each event.
"""
import array
import os
import select
import signal
import socket
import sys

path, program = sys.argv[1], sys.argv[2:]
store = []  # (name, descriptor)
pid = 0
ending = False

listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
listener.bind(path)
wake_read, wake_write = os.pipe()
os.set_blocking(wake_write, False)
signal.set_wakeup_fd(wake_write)


def say(*words):
    print(*words, flush=True)


def start():
    global pid
    pid = os.fork()
    if pid == 0:
        high = [os.dup2(fd, 200 + i) for i, (_, fd) in enumerate(store)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
            os.close(fd)
        env = dict(os.environ, NOTIFY_SOCKET=path, FDSTORE="512", LISTEN_PID=str(os.getpid()),
                   LISTEN_FDS=str(len(store)), LISTEN_FDNAMES=":".join(name for name, _ in store))
        os.execve(program[0], program, env)
    say("started", pid, *(name for name, _ in store))


def can_be_polled(fd):
    """What epoll refuses as no descriptor for it, such as a directory that was opened as a path, systemd does not store."""
    with select.epoll() as poller:
        try:
            poller.register(fd, 0)
        except PermissionError:
            pass
        except OSError:
            return False
    return True


def hear():
    data, control, _, _ = listener.recvmsg(4096, 1024)
    fds = array.array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
    fields = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
    name = fields.get("FDNAME", "stored")
    if "FDSTORE" in fields:
        store.extend((name, fd) for fd in fds if fields.get("FDPOLL") == "0" or can_be_polled(fd))
    if "FDSTOREREMOVE" in fields:
        for entry in [entry for entry in store if entry[0] == name]:
            os.close(entry[1])
            store.remove(entry)
    if "READY" in fields:
        say("ready", pid)


def on_term(*_):
    global ending
    ending = True
    os.kill(pid, signal.SIGTERM)


signal.signal(signal.SIGTERM, on_term)
signal.signal(signal.SIGUSR2, lambda *_: os.kill(pid, signal.SIGUSR1))
signal.signal(signal.SIGCHLD, lambda *_: None)
listener.setblocking(False)
start()
while True:
    readable, _, _ = select.select([listener, wake_read], [], [])
    if wake_read in readable:
        os.read(wake_read, 4096)
    try:
        while True:
            hear()
    except BlockingIOError:
        pass
    ended, status = os.waitpid(-1, os.WNOHANG)
    if ended == pid:
        code = os.waitstatus_to_exitcode(status)
        say("ended", code)
        if ending or code not in (-signal.SIGKILL, 75):
            sys.exit(0 if code == 0 else 1)
        start()
