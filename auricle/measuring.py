"""Unit costs of the machine that this runs on: packing, and with torch a network's training and scoring."""

import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from auricle.datasets import Clip
from auricle.engine import default_jobs, pack
from auricle.media_files import find_media
from auricle.planning import UnitCost, write_costs
from auricle.text import counted

ROUNDS = 3
SECONDS = 60.0  # of a recording that is made to be packed
FEW, MANY = 8, 40  # such recordings: the difference in time is that of packing, without what starting takes


def measure_costs(
    path: Path,
    *,
    model: str = "",
    labels: int = 527,
    batch: int = 128,
    window: float | None = None,
    hop: float | None = None,
    media: Sequence[Path] = (),
    device: str = "auto",
    few: int = FEW,
    many: int = MANY,
    seconds: float = SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, UnitCost]:
    """Measure and write the unit costs of this machine; some minutes, on recordings that are made for it.

    Args:
        path: the file to write, as `auricle plan --costs` reads it.
        model: whose training and scoring is measured; "" measures packing alone.
        labels: of its last layer.
        batch: examples of a step.
        window: seconds of an example; as published at first.
        hop: seconds from one to the next.
        media: recordings or folders of them to measure packing on; else MP3 files of noise.
        device: to train and score on.
        few: recordings in the one packing.
        many: recordings in the other; the difference in time counts.
        seconds: of each that is made.
        say: is told what is measured next.

    Raises:
        ValueError: no recordings there, a model that is not known or that this cannot measure.

    >>> measure_costs(Path("costs.yaml"), model="resnet50")  # doctest: +SKIP
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if model and find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    with tempfile.TemporaryDirectory(prefix="auricle-plan-") as temporary:
        folder = Path(temporary)
        say("measuring packing")
        found = [_packing(folder, media, few, many, seconds)]
        machine = machine_name()
        if model:
            from auricle.experiments.unit_costs import measure_network

            say(f"measuring training and scoring of {model} with {labels:,} labels")
            trained = measure_network(
                folder, model, labels=labels, batch=batch, window=window, hop=hop, device=device
            )
            found += trained.costs
            if trained.device != "cpu":
                machine += f", {trained.device}"
    today = datetime.date.today().isoformat()
    command = "auricle " + " ".join(Path(word).name if "/" in word else word for word in sys.argv[1:])
    write_costs(path, machine, today, found, software=_software(bool(model)), command=command)
    return {cost.name: cost for cost in found}


def machine_name() -> str:
    """Processor, cores and memory of this machine.

    >>> " cores, " in machine_name()
    True
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    try:
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (AttributeError, ValueError, OSError):
        memory = "memory not known"
    return f"{name}, {default_jobs()} cores, {memory}"


def _software(with_torch: bool) -> str:
    from importlib.metadata import version

    names = ["auricle", "av", "numpy", "pyarrow", *(["torch"] if with_torch else [])]
    return ", ".join(f"{name} {version(name)}" for name in names)


def _packing(folder: Path, media: Sequence[Path], few: int, many: int, seconds: float) -> UnitCost:
    """Seconds of sound that a core packs in a second: the difference between many recordings and few."""
    jobs = default_jobs()
    if media:
        files = [file for file, error in find_media(media) if error is None]
        if not files:
            raise ValueError(f"{', '.join(map(str, media))}: no recording to measure packing on")
        about = f"{counted(len(files), 'recording')} of the user's"
    else:
        files = _recordings(folder / "sounds", seconds)
        about = f"MP3 files of {seconds:g} s, stereo, 44.1 kHz"
    turns = [1, max(2, -(-many // few))] if media else [-(-few // len(files)), -(-many // len(files))]
    costs = []
    for number in range(ROUNDS):
        took, heard = [], []
        for turn in turns:
            clips = [
                Clip(id=f"{again}-{k}", path=file) for again in range(turn) for k, file in enumerate(files)
            ]
            begin = time.perf_counter()
            pack(clips, folder / f"pack{number}-{turn}", jobs=jobs, quiet=True)
            took.append(time.perf_counter() - begin)
            heard.append(_seconds_of(folder / f"pack{number}-{turn}"))
        if took[1] > took[0] and heard[1] > heard[0]:
            costs.append((heard[1] - heard[0]) / (took[1] - took[0]) / jobs)
    if not costs:
        raise ValueError("packing could not be measured: give more, or longer, recordings with --media")
    how = f"{about}: {turns[1]} times as many against {turns[0]}, median of {len(costs)}; {jobs} processes"
    return UnitCost(
        name="pack", value=statistics.median(costs), how=how, source="measured", facts={"cores": jobs}
    )


def _seconds_of(folder: Path) -> float:
    from auricle.shards import Pack

    reader = Pack(folder)
    return int(reader.lengths.sum()) / reader.rate


def _recordings(folder: Path, seconds: float) -> list[str]:
    """Four MP3 files of noise that is loud at low frequencies, as sounds are."""
    import av

    folder.mkdir()
    found = []
    for number in range(4):
        draw = np.random.default_rng(number)
        noise = draw.normal(0, 1, (2, round(seconds * 44_100))).astype(np.float32)
        sound = np.cumsum(noise, axis=1)
        sound -= np.linspace(sound[:, :1], sound[:, -1:], sound.shape[1], axis=1)[..., 0]
        sound = (0.5 * sound / np.abs(sound).max()).astype(np.float32)
        found.append(str(folder / f"{number}.mp3"))
        with av.open(found[-1], "w") as container:
            stream = container.add_stream("libmp3lame", rate=44_100, layout="stereo")
            assert isinstance(stream, av.AudioStream)
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            frame.sample_rate = 44_100
            resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=44_100)
            for part in (*resampler.resample(frame), None):
                container.mux(stream.encode(part))
    return found
