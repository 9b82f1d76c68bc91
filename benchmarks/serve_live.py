"""How long after a sound `auricle serve` tells of it, to several clients at once that send as sound lasts.

    python benchmarks/serve_live.py
    python benchmarks/serve_live.py --clients 2 --seconds 10

The service is a process of its own; the clients are in this one. Each sends noise of 48 kHz in messages of
0.1 s, each when its last sample would have been recorded. A row's delay is counted from when the last sound
of its window would have been recorded to when the client has the row; a row is due once a second.

The exit status is 1 where the slowest of all rows took longer than two seconds, or one is missing.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
from websockets.asyncio.client import connect

RATE, PIECE_SECONDS = 48_000, 0.1
ALLOWED_SECONDS = 2.0
READY = re.compile(r"auricle serves \S+ at http://(127\.0\.0\.1:\d+)/")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="default")
    parser.add_argument("--threads", type=int, help="of the service; at first its own choice")
    options = parser.parse_args()
    command = [sys.executable, "-m", "auricle", "serve", "--port", "0", "--model", options.model]
    command += ["--live", str(options.clients)]
    command += [] if options.threads is None else ["--threads", str(options.threads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = READY.match(process.stdout.readline())
        assert found, "the service did not start"
        delays, missing = asyncio.run(listen(found[1], options.clients, options.seconds))
    finally:
        process.terminate()
        process.wait(60)
    middle, high, highest = np.percentile(delays, [50, 95, 99])
    load = "/".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    print(f"{options.clients} clients, {options.seconds:g} s each, {len(delays)} rows, {missing} missing")
    print(
        f"delay of a row: 50% {middle:.3f} s, 95% {high:.3f} s, 99% {highest:.3f} s, max {max(delays):.3f} s"
    )
    print(f"{os.cpu_count()} cores, load {load}")
    sys.exit(bool(missing or max(delays) > ALLOWED_SECONDS))


async def listen(address: str, clients: int, seconds: float) -> tuple[list[float], int]:
    """(delays of all rows, number of rows that did not come)."""
    told = await asyncio.gather(*(one(address, seconds, number) for number in range(clients)))
    return [delay for delays, _ in told for delay in delays], sum(missing for _, missing in told)


async def one(address: str, seconds: float, number: int) -> tuple[list[float], int]:
    """The same for one client, which begins a little later than the one before."""
    rng = np.random.default_rng(number)
    await asyncio.sleep(number * 0.13)
    async with connect(f"ws://{address}/v1/live") as socket:
        await socket.send(json.dumps({"rate": RATE, "hop": 1.0, "top": 16, "threshold": 0.0}))
        began = time.monotonic()

        async def send() -> None:
            for piece in range(1, round(seconds / PIECE_SECONDS) + 1):
                pcm = (rng.uniform(-0.3, 0.3, round(RATE * PIECE_SECONDS)) * 32767).astype("<i2").tobytes()
                await asyncio.sleep(max(0.0, began + piece * PIECE_SECONDS - time.monotonic()))
                await socket.send(pcm)
            await socket.send(json.dumps({"end": True}))

        sending = asyncio.create_task(send())
        delays, last = [], 0.0
        async for text in socket:
            row = json.loads(text)
            if "start" in row:
                delays.append(time.monotonic() - began - row["end"])
                last = row["end"]
        await sending
        return delays, round(max(0.0, seconds - last))


if __name__ == "__main__":
    main()
