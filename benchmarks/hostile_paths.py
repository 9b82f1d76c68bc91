"""Requests that would lead the service out of its root, to other addresses, or astray by their length."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from hostile_media import leading_elsewhere
from hostile_target import Group, Target, seen
from hostile_wire import Wire
from serve_process import numbers

LONGEST = 65_000  # bytes of a path: a JSON body may have 65,536


def led_elsewhere(at: Target) -> Iterator[Group]:
    """Paths and playlists that lead out; the one path that does not is taken."""
    yield seen("elsewhere", "the right path", *at.by_path("below/good.wav"), {200})
    outside = str(at.folder / "good.wav")
    paths = [
        *(
            "../good.wav",
            "below/../../good.wav",
            "./../good.wav",
            "link.wav",
            "folder/good.wav",
            "folder/log",
        ),
        *(
            outside,
            "/" + outside,
            "//etc/passwd",
            "/proc/self/environ",
            "/dev/zero",
            "device.wav",
            "pipe.wav",
        ),
        *(
            "below",
            "",
            ".",
            "..",
            "below/good.wav\0.wav",
            "\0",
            "..\\good.wav",
            "%2e%2e/good.wav",
            "~/.profile",
        ),
        *("file://" + outside, "concat:" + outside, "subfile:" + outside, "data:audio/wav;base64,UklGRg=="),
        *(f"http://127.0.0.1:{at.port}/healthz", "tcp://127.0.0.1:1", "s3://bucket/key", "pipe:0", "-", "*"),
        *(
            "below/good.wav/",
            "below/good.wav/..",
            "below/./good.wav/../../../good.wav",
            "x" * 5000,
            "x/" * 2000,
        ),
        *("..\u2215good.wav", "\ud800.wav", "$(id)", "below/*.wav", "log"),
    ]
    for path in paths:
        allowed = {200} if path == "below/good.wav/" else {400, 403, 404}
        yield seen("elsewhere", f"path {path[:60]!r}", *at.by_path(path), allowed)
    for address in (
        *(
            "/../../../etc/passwd",
            "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/..%2f..%2fetc/passwd",
        ),
        *("/vendor/../../settings.py", "/vendor/..%2f..%2fsettings.py", "/vendor/..%5c..%5csettings.py"),
        *("/v1/jobs/..%2f..%2flock", "/v1/jobs/%2e%2e", "/v1/recordings/..%2f..%2flibrary.db/media", "/\0"),
        *("/v1/jobs/" + "a" * 5000, "/index.html%00.js", "/style.css/../../app.py", "http://127.0.0.1:1/x"),
    ):
        with Wire(at.port) as wire:
            wire.send(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{at.port}\r\n\r\n".encode("latin-1"))
            yield seen("elsewhere", f"GET {address[:60]}", *wire.answer(), {400, 404})
    yield from upload_names(at)
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        address = f"http://127.0.0.1:{canary.getsockname()[1]}"
        for name, content in leading_elsewhere(outside, address).items():
            yield seen("elsewhere", name, *at.tag(content), {422})
        try:
            canary.accept()
            yield Group("elsewhere", bad=["elsewhere: a playlist made the service ask another address"])
        except BlockingIOError:
            pass


def upload_names(at: Target) -> Iterator[Group]:
    """Names of uploads that are paths: the file is tagged, its name is a name, nothing lies anywhere else."""
    before = {path for path in at.folder.rglob("*") if "data" not in path.parts}
    for name in ("../../evil.wav", "/etc/evil.wav", "..\\..\\evil.wav", "evil.wav\0.txt", "a\nb.wav", ".."):
        form = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        form += at.good + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        status, said = at.ask("POST", "/v1/tag", form, kind)
        group = seen("elsewhere", f"upload named {name!r}", status, said, {200, 400})
        if status == 200 and re.search(r"[/\\\0\n]", json.loads(said)["path"]):
            group.bad.append(f"elsewhere: the upload {name!r} goes by {said[:100]!r}")
        yield group
    if before != {path for path in at.folder.rglob("*") if "data" not in path.parts}:
        yield Group("elsewhere", bad=["elsewhere: an upload lies outside of the service's folder"])


def long_paths(at: Target, share: float) -> Iterator[Group]:
    """Paths of 65 kB or 4 that go nowhere, while others' recordings are decoded: those must not notice."""
    steps = "./" * (LONGEST // 2)
    astray = {
        "65 kB of ./": steps + "below/good.wav",
        "65 kB of ./ within": "below/" + steps + "good.wav",
        "65 kB of /": "below" + "/" * LONGEST + "good.wav",
        "65 kB of ./ to a folder": steps + "below",
        "65 kB of letters": "x" * LONGEST,
        "65 kB of newlines": "\n" * (LONGEST // 2) + ".wav",
        "65 kB in characters of 12": "\U0001f3b5" * (LONGEST // 12),
        "4 kB of ./": "./" * 2000 + "below/good.wav",
        "4 kB of letters": "x" * 4000,
        "4 kB of newlines": "\n" * 4000,
    }
    times = max(2, round(20 * share))
    with ThreadPoolExecutor(8) as clients:
        others = [clients.submit(at.tag, at.good) for _ in range(3 * times)]
        sent = [(what, clients.submit(at.by_path, path)) for what, path in list(astray.items()) * times]
        others += [clients.submit(at.tag, at.good) for _ in range(3 * times)]
        for what, future in sent:
            status, said = future.result()
            group = seen("long paths", what, status, said, {200, 400, 403, 404, 429})
            if status == 200 and numbers(said) != at.expected:
                group.bad.append(f"long paths: {what}: other numbers {said[:300]!r}")
            yield group
        for future in others:
            status, said = future.result()
            group = Group("long paths")
            if status != 200 or numbers(said) != at.expected:
                group.bad.append(f"long paths: meanwhile a good recording got {status} {said[:300]!r}")
            yield group
    yield Group("long paths", notes=[f"meanwhile a good recording was tagged {len(others)} times"])
