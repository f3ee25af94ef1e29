#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A proxy for HTTP and, by CONNECT, for HTTPS: usage: proxy.py DIR

All names are this machine's: it connects to 127.0.0.1, at the port that is asked for. DIR/port gets its own
port, DIR/log a line for each request: method, target, and the user who is shown or "-". DIR/user, if there is
such a file, has the USER:PASSWORD that it wants.
"""

import base64
import http.client
import http.server
import os
import socket
import sys
import threading
import urllib.parse

DIR = sys.argv[1]
LOCK = threading.Lock()


def path_of(name):
    return os.path.join(DIR, name)


def copy(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def admit(self):
        shown = self.headers.get("Proxy-Authorization", "")
        user = base64.b64decode(shown.removeprefix("Basic ")).decode() or "-"
        with LOCK, open(path_of("log"), "a", encoding="utf-8") as log:
            log.write(f"{self.command} {self.path} {user}\n")
        if os.path.exists(path_of("user")):
            with open(path_of("user"), encoding="utf-8") as wanted:
                if user != wanted.read().strip():
                    self.send_response(407)
                    self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return False
        return True

    def do_CONNECT(self):
        if not self.admit():
            return
        upstream = socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1])))
        self.send_response(200)
        self.end_headers()
        back = threading.Thread(target=copy, args=(upstream, self.connection))
        back.start()
        copy(self.connection, upstream)
        back.join()
        self.close_connection = True

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.admit():
            return
        url = urllib.parse.urlsplit(self.path)
        upstream = http.client.HTTPConnection("127.0.0.1", url.port or 80)
        drop = {"connection", "proxy-authorization", "proxy-connection"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in drop}
        upstream.request(self.command, url._replace(scheme="", netloc="").geturl(), body, headers)
        answer = upstream.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "date", "transfer-encoding"}:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = serve


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # who talks to it hangs up as it likes


server = Server(("127.0.0.1", 0), Handler)
with open(path_of("port.new"), "w", encoding="utf-8") as file:
    file.write(str(server.server_address[1]))
os.rename(path_of("port.new"), path_of("port"))
server.serve_forever()
