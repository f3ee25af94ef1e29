#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in front of a registry and makes faults: usage: registry_stub.py PORT DIR [OWN]

PORT is the registry's, on this machine. DIR/port and DIR/elsewhere get the two ports of the stub; the second one,
another host to all who ask, has the registry's blobs, too. DIR/log gets a line for each request: port
(front or elsewhere), method, path, what its Authorization begins with or "-", its Range or "-". DIR/sent gets a line
for each answer of the registry that is passed on: bytes of the body, path. With OWN, that is the first port.

DIR/faults has a line for each fault that is to come: METHOD PATTERN ACTION [ARGUMENT]. The first that
fits a request happens, once; with a '*' before the line, always. PATTERN is searched for in PORT PATH.
  reset N       N bytes of the answer (of a request with a body: read N bytes of it), then the connection breaks
  truncate N    as reset, with an orderly end
  unmeasured N  N bytes of an answer that does not say how many there are
  stall N       N bytes, then nothing until the other side hangs up
  status S [K]  status S; Retry-After: K
  norange       the whole, whatever is asked for
  onerange      the first of the ranges that are asked for
  corrupt       a byte is another
  redirect      to the other port
  realm R       401; a token is to be had from R, where "@" stands for this stub
DIR/token, if there is such a file, has the token to be shown, and how often it is good for: then
another one is. DIR/skew, if there is such a file, has how many seconds the stub's clock is ahead: dates are by that one, also when tokens were
issued, and K of "status" is sent as a date. DIR/referrers, if there is such a file, is what is said to refer to any image. /token gives the one of the moment to USER:PASSWORD of DIR/user, or to all if there is none.
"""

import base64
import http.client
import http.server
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse

UPSTREAM, DIR = int(sys.argv[1]), sys.argv[2]
OWN = int(sys.argv[3]) if len(sys.argv) > 3 else 0
LOCK = threading.Lock()
SERVERS = {}


def path_of(name):
    return os.path.join(DIR, name)


def read(name):
    try:
        with open(path_of(name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(name, text, mode="w"):
    with open(path_of(name), mode, encoding="utf-8") as file:
        file.write(text)


def take_fault(method, where):
    with LOCK:
        lines = (read("faults") or "").splitlines()
        for i, line in enumerate(lines):
            words = line.lstrip("*").split()
            if words and words[0] == method and re.search(words[1], where):
                if not line.startswith("*"):
                    del lines[i]
                    write("faults", "\n".join(lines) + "\n")
                return words[2], words[3:]
    return None, []


def spend_token(shown):
    """Whether @shown is the token of the moment, with uses left."""
    with LOCK:
        token, left = read("token").split()
        if shown != f"Bearer {token}":
            return False
        if int(left) <= 0:
            write("token", f"{token}x 1000\n")
            return False
        write("token", f"{token} {int(left) - 1}\n")
        return True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or time.time()) + int(read("skew") or 0))

    def name(self):
        return "front" if self.server is SERVERS["front"] else "elsewhere"

    def answer(self, status, headers=(), body=b"", length=True):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()

    def hang_up(self, reset):
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR) if not reset else self.connection.close()
        self.close_connection = True

    def give_token(self):
        user, shown = read("user"), self.headers.get("Authorization", "")
        wanted = "Basic " + base64.b64encode((user or "").strip().encode()).decode()
        form = urllib.parse.unquote(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        if user and shown != wanted and "refresh_token=" + user.strip() not in form:
            return self.finish_with(401, b"{}")
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + int(read("skew") or 0)))
        token = {"token": read("token").split()[0], "expires_in": 3600, "issued_at": issued}
        return self.finish_with(200, json.dumps(token).encode())

    def finish_with(self, status, body=b"", headers=()):
        self.answer(status, headers, body)
        if self.command != "HEAD":
            self.wfile.write(body)

    def challenge(self, realm):
        port = SERVERS["front"].server_address[1]
        realm = realm.replace("@", f"http://127.0.0.1:{port}")
        self.finish_with(401, b"{}", [("WWW-Authenticate", f'Bearer realm="{realm}",service="stub"')])

    def ask_registry(self, ranges, first):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        drop = {"host", "authorization", "connection"} | (set() if ranges else {"range"})
        headers = {k: v for k, v in self.headers.items() if k.lower() not in drop}
        if first:
            headers["Range"] = headers["Range"].split(",")[0]
        upstream = http.client.HTTPConnection("127.0.0.1", UPSTREAM)
        upstream.request(self.command, self.path, body, headers | {"Host": self.headers["Host"]})
        answer = upstream.getresponse()
        data = answer.read()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in {"content-length", "date", "connection"}]
        if self.command == "HEAD":
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            return None
        return answer.status, kept, data

    def serve(self):
        where = f"{self.name()} {self.path}"
        shown = self.headers.get("Authorization", "-")
        with LOCK:
            write("log", f"{self.name()} {self.command} {self.path} {shown.split()[0]} {self.headers.get('Range', '-')}\n", "a")
        action, words = take_fault(self.command, where)
        if action == "status":
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            dated = read("skew") is not None
            later = [("Retry-After", self.date_time_string(time.time() + int(w)) if dated else w) for w in words[1:]]
            return self.finish_with(int(words[0]), b"{}", later)
        if action == "realm":
            return self.challenge(words[0])
        if self.path.startswith("/token"):
            return self.give_token()
        if self.name() == "front" and os.path.exists(path_of("token")) and not spend_token(shown):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return self.challenge("@/token")
        if action == "redirect":
            port = SERVERS["elsewhere"].server_address[1]
            return self.finish_with(307, b"", [("Location", f"http://127.0.0.1:{port}{self.path}?secret=1")])
        if action == "reset" and self.command in ("PUT", "PATCH"):
            self.rfile.read(min(int(words[0]), int(self.headers["Content-Length"])))
            return self.hang_up(reset=True)
        if "/referrers/" in self.path and os.path.exists(path_of("referrers")):
            headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")]
            return self.finish_with(200, read("referrers").encode(), headers)
        answer = self.ask_registry(ranges=action != "norange", first=action == "onerange")
        return answer and self.pass_on(action, words, *answer)

    def pass_on(self, action, words, status, headers, body):
        if action == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        cut = int(words[0]) if action in ("reset", "truncate", "unmeasured", "stall") else len(body)
        with LOCK:
            write("sent", f"{min(cut, len(body))} {self.path}\n", "a")
        self.answer(status, headers, body, length=action != "unmeasured")
        if action in ("reset", "truncate", "unmeasured", "stall"):
            self.wfile.write(body[:cut])
            if action == "stall":
                self.wfile.flush()
                self.connection.recv(1)
            return self.hang_up(reset=action == "reset")
        return self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = serve


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # who talks to it hangs up as it likes


for key in ("front", "elsewhere"):
    SERVERS[key] = Server(("127.0.0.1", OWN if key == "front" else 0), Handler)
    threading.Thread(target=SERVERS[key].serve_forever, daemon=True).start()
write("elsewhere", str(SERVERS["elsewhere"].server_address[1]))
write("port.new", str(SERVERS["front"].server_address[1]))
os.rename(path_of("port.new"), path_of("port"))
threading.Event().wait()
