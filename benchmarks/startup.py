"""How long `auricle --help` takes, beside `python -c pass`: the goal is under 0.3 s."""

import argparse
import statistics
import subprocess
import sys
import time

LIMIT = 0.3  # seconds


def seconds(command: list[str], times: int) -> float:
    """Median wall-clock time of a command, its first run left out."""
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three runs in place of twenty")
    times = 3 if parser.parse_args().quick else 20
    bare = seconds([sys.executable, "-c", "pass"], times)
    ours = seconds([sys.executable, "-m", "auricle", "--help"], times)
    print(f"python -c pass   {bare:.3f} s")
    print(f"auricle --help   {ours:.3f} s, {ours / bare:.1f} times as long; the goal is under {LIMIT} s")
    sys.exit(ours >= LIMIT)


if __name__ == "__main__":
    main()
