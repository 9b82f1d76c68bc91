"""A reverse proxy of a few lines, as one stands in front of a service: another port, and maybe a prefix."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

HEAD_BYTES = 65_536


@contextlib.contextmanager
def proxied(address: str, prefix: str = "/") -> Iterator[str]:
    """The address at which a service is there, too: below a prefix such as "/sounds/", which it never sees.

    One request for each connection, or one WebSocket. The Host header stays what the client said, as
    docs/deploy.md has it; bodies pass as they come, in both directions.
    """
    parts = urlsplit(address)
    assert parts.hostname is not None and parts.port is not None
    service = (parts.hostname, parts.port)
    listener = socket.create_server(("127.0.0.1", 0))
    open_: set[socket.socket] = set()

    def answer(client: socket.socket) -> None:
        with client:
            head = _head(client)
            request, _, rest = head.partition(b"\r\n")
            method, _, target = request.partition(b" ")
            if not target.startswith(prefix.encode()):
                client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            if b"\r\nupgrade: websocket" not in head.lower():
                rest = b"\r\n".join(
                    line for line in rest.split(b"\r\n") if not line.lower().startswith(b"connection:")
                )
                rest = b"Connection: close\r\n" + rest
            with socket.create_connection(service) as server:
                open_.add(server)
                server.sendall(method + b" /" + target.removeprefix(prefix.encode()) + b"\r\n" + rest)
                back = threading.Thread(target=_pour, args=(server, client), daemon=True)
                back.start()
                _pour(client, server)
                back.join()

    def listen() -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client = listener.accept()[0]
                open_.add(client)
                threading.Thread(target=_quietly, args=(answer, client), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{prefix}"
    finally:
        listener.close()
        for one in open_:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _quietly(answer: Callable[[socket.socket], None], client: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one of the two went
        answer(client)


def _head(client: socket.socket) -> bytes:
    """The request line and the headers, and what came of the body with them."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
        piece = client.recv(4096)
        if not piece:
            raise ConnectionError("gone before its request was whole")
        head += piece
    return head


def _pour(source: socket.socket, target: socket.socket) -> None:
    """All that comes, until no more does."""
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
