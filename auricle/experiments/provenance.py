"""Where figures come from: the commit of the code, the processor or GPU."""

import hashlib
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

from auricle.training.devices import pick_device


def commit() -> str:
    """The commit of this package's checkout, "+" where its files differ from it; `sources` without git."""
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    short = git("rev-parse", "--short", "HEAD")
    if not short:
        return sources()
    return short + ("+" if git("status", "--porcelain", "--untracked-files=no", ".") else "")


@lru_cache
def sources() -> str:
    """A checksum of the package's own modules: what tells two versions apart where there is no git.

    >>> sources() == sources() and len(sources())
    16
    """
    folder, digest = Path(__file__).parents[1], hashlib.blake2b(digest_size=4)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"sources-{digest.hexdigest()}"


def device_name(device: str) -> str:
    """A processor with the number of its cores, or a GPU.

    >>> bool(device_name("cpu"))
    True
    """
    import torch

    picked = pick_device(device)
    if picked.type == "cuda":
        return torch.cuda.get_device_name(picked)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{models[0]} x{len(models)}" if models else platform.processor() or platform.machine()
