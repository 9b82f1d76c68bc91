"""A server on this machine that gives one file in the ways in which servers give files."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Gives `content` at every path; what it is asked stands in `asked`.

    `cut` are the bytes after which each answer ends, one after the other; then answers are whole.
    """

    daemon_threads = True
    content = b""
    ranges = True
    tag = '"first"'
    length_told = True
    kind = ""  # of the content, as the header says it
    stalls = 0.0  # seconds, in the middle of an answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []  # path, range
        self.cut: list[int] = []
        self.statuses: list[int] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        wanted = self.headers.get("Range", "")
        server.asked.append((self.path, wanted))
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            if status == 302:  # to itself, without end
                self.send_response(status)
                self.send_header("Location", self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_error(status)
            return
        begin = re.fullmatch(r"bytes=(\d+)-", wanted)
        same = self.headers.get("If-Range", server.tag) == server.tag
        start = int(begin[1]) if begin and server.ranges and same else 0
        total = len(server.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.tag:
            self.send_header("ETag", server.tag)
        if server.kind:
            self.send_header("Content-Type", server.kind)
        if server.length_told:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        part = server.content[start : start + (server.cut.pop(0) if server.cut else total)]
        self.wfile.write(part[: len(part) // 2])
        self.wfile.flush()
        time.sleep(server.stalls)
        try:
            self.wfile.write(part[len(part) // 2 :])
        except ConnectionError:  # who asked has gone
            pass

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    with Server() as server:
        server.content = content
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def names(folder: Path) -> list[str]:
    """Of what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())
