"""Clients that send what no library would: by the byte, without end, or nothing at all."""

import contextlib
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

HANGING_SECONDS = 135.0  # what is not closed by then stays open
# kind -> (clients, seconds from byte to byte)
SLOW = {
    "head by the byte": (200, 0.5),
    "no head": (200, 0.0),
    "body by the byte": (40, 0.25),
    "half a body": (15, 0.0),
    "never reads": (30, 0.0),
    "only connects": (1_100, 0.0),
}
ANSWERS = 400  # that one who never reads asks for


class Wire:
    """A connection to the service."""

    def __init__(self, port: int, *, small: bool = False):
        self.port = port
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        """Send, as far as the service takes it."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(content)

    def head(self, more: str, path: str = "/v1/tag") -> bytes:
        """The head of an upload."""
        return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{more}\r\n\r\n".encode()

    def upload(self, way: str, size: int) -> int:
        """Send zeros until the service answers or closes; gives how many it took.

        Args:
            way: "length" says how many, "chunks" does not, "form" is a form in chunks.
            size: bytes.
        """
        zeros = bytes(1 << 20)
        if way == "length":
            self.send(self.head(f"Content-Type: audio/wav\r\nContent-Length: {size}"))
        else:
            kind = "multipart/form-data; boundary=x" if way == "form" else "audio/wav"
            self.send(self.head(f"Content-Type: {kind}\r\nTransfer-Encoding: chunked"))
            zeros = b"100000\r\n" + zeros + b"\r\n"
        if way == "form":
            part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n'
            self.send(b"%x\r\n%s\r\n" % (len(part), part))
        sent = 0
        while sent < size and not select.select([self.socket], [], [], 0)[0]:
            try:
                self.socket.sendall(zeros)
            except OSError:
                break
            sent += 1 << 20
        return sent

    def answer(self) -> tuple[int, bytes]:
        """(status, body) of what comes; status 0 where the connection is closed without an answer."""
        said = b""
        with contextlib.suppress(OSError):
            while piece := self.socket.recv(1 << 16):
                said += piece
                head, _, body = said.partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
                if body and length.strip().isdigit() and len(body) >= int(length):
                    break
        status = said.split(b" ", 2)[1] if said.startswith(b"HTTP/") else b"0"
        return int(status), said.partition(b"\r\n\r\n")[2]


class Slow:
    """A client of one of the kinds of `SLOW`."""

    def __init__(self, kind: str, port: int):
        self.kind, self.end = kind, ""
        self.pause = SLOW[kind][1]
        self.next = time.monotonic() + self.pause
        self.wire = Wire(port, small=kind == "never reads")
        self.rest = b""
        if kind == "head by the byte":
            self.rest = self.wire.head("X-Long: " + "x" * 10_000)
        elif kind == "body by the byte":
            self.wire.send(self.wire.head("Content-Type: audio/wav\r\nContent-Length: 100000"))
            self.rest = bytes(100_000)
        elif kind == "half a body":
            self.wire.send(
                self.wire.head("Content-Type: audio/wav\r\nContent-Length: 100000") + bytes(50_000)
            )
        elif kind == "never reads":
            ask = f"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            self.wire.socket.setblocking(False)
            with contextlib.suppress(OSError):
                self.wire.socket.send(ask * ANSWERS)
        self.wire.socket.setblocking(False)

    def turn(self, now: float) -> None:
        """Send a byte where it is time, and see whether the service has had enough."""
        if self.end:
            return
        try:
            if self.rest and now >= self.next:
                self.wire.socket.send(self.rest[:1])
                self.rest, self.next = self.rest[1:], now + self.pause
            if self.kind == "never reads":
                flags = select.POLLHUP | select.POLLERR
                poll = select.poll()
                poll.register(self.wire.socket, flags)
                if poll.poll(0):
                    self.close("closed")
                return
            came = self.wire.socket.recv(4096)
            self.close(came.split(b" ", 2)[1].decode() if came.startswith(b"HTTP/") else "closed")
        except BlockingIOError:
            return
        except OSError:
            self.close("closed")

    def close(self, end: str) -> None:
        """Note how it ended."""
        self.end = end
        self.wire.socket.close()


def slow_clients(port: int, share: float) -> Iterator[tuple[bool, Any]]:
    """Slow clients of every kind at once; (False, None) now and then, then (True, (statuses, notes)).

    Args:
        port: of the service.
        share: of the clients and of the time: 1 for all.
    """
    clients = []
    for kind, (count, _) in SLOW.items():
        for _ in range(max(2, round(count * share))):
            try:
                clients.append(Slow(kind, port))
            except OSError:  # the queue of connections is full: nothing to attack
                continue
    until, look = time.monotonic() + max(4.0, HANGING_SECONDS * share), 0.0
    ends: dict[str, list[tuple[float, str]]] = {}
    begun = time.monotonic()
    while (now := time.monotonic()) < until:
        for client in clients:
            if not client.end:
                client.turn(now)
                if client.end:
                    ends.setdefault(client.kind, []).append((now - begun, client.end))
        if now >= look:
            look = now + 2.0
            yield False, None
        time.sleep(0.05)
    statuses, notes = Counter[str](), []
    held = connections(port)
    for kind in SLOW:
        told = ends.get(kind, [])
        left = [client for client in clients if client.kind == kind and not client.end]
        kept = sum(client.wire.socket.getsockname()[1] in held for client in left)
        counts = Counter(end for _, end in told)
        counts += Counter({"still open": kept, "dropped, what it did not read": len(left) - kept})
        statuses += counts
        times = f", after {min(told)[0]:.0f} to {max(told)[0]:.0f} s" if told else ""
        notes.append(f"{kind}: " + ", ".join(f"{count} x {end}" for end, count in counts.items()) + times)
    for client in clients:
        client.wire.socket.close()
    yield True, (statuses, notes)


def connections(port: int) -> set[int]:
    """The ports of the clients whose connections the service has open: those that it dropped are nobody's."""
    held = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, *_ = line.split()
        if int(here.partition(":")[2], 16) == port and state == "01":  # established
            held.add(int(there.partition(":")[2], 16))
    return held
