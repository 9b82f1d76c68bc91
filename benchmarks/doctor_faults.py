"""What `auricle doctor` finds in a corpus as it is, and in faults and harmless changes that are made from it.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/doctor_faults.py ../shared/data/esc50/meta.csv --data out/esc50

Each recording is held against the fingerprint of the splits of the pack that it is not in, as for a model at
16 kHz that hears up to 7.5 kHz. Then every eighth row of the table (--every) is brought to a peak of 0.9,
changed, rounded to 16 bits, and examined again; every 32nd also as MP3.
"""

import argparse
import io
import platform
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import scipy.signal
import soxr
from doctor import swr

from auricle.audio import blocks
from auricle.datasets import open_corpus
from auricle.doctor import Channels, Reference, examine, findings
from auricle.fingerprint import Sound, chosen, fingerprint
from auricle.shards import Pack

RATE, HIGHEST = 16000, 7500.0
FEW = 20  # findings of a kind that are listed
Changed = Iterator[tuple[str, np.ndarray, int]]


def references(pack: Pack) -> dict[str, Reference]:
    """Clip id -> what clips of the other splits are like."""
    found = {}
    for split in sorted(set(pack.splits.tolist())):
        clips = np.flatnonzero(pack.splits != split)
        some = (pack.samples(int(clip)) for clip in clips[chosen(len(clips))])
        model = Reference(rate=RATE, highest=HIGHEST, audio=fingerprint(some, pack.rate))
        found |= {str(pack.ids[clip]): model for clip in np.flatnonzero(pack.splits == split)}
    return found


def look(samples: np.ndarray, rate: int, model: Reference) -> list[str]:
    """Kinds of findings of (N,) or (N, channels) samples, in 16 bits."""
    pcm = np.clip(np.rint(samples * 32768), -32768, 32767) / 32768
    pcm = pcm.astype(np.float32).reshape(len(pcm), -1)
    sound, channels = Sound(rate), Channels()
    sound.add(np.ascontiguousarray(pcm.mean(axis=1)))
    sound.finish()
    for first in range(0, len(pcm), 65536):
        channels.add(pcm[first : first + 65536])
    return [finding.kind for finding in findings(sound, channels, model)]


def resampled(samples: np.ndarray, rate: int) -> Changed:
    """Brought to other rates, well and badly."""
    for quality in ("HQ", "VHQ", "LQ"):
        yield f"to 16 kHz by soxr {quality}", soxr.resample(samples, rate, RATE, quality), RATE
    yield "to 16 kHz by FFmpeg", swr(samples, rate, RATE), RATE
    yield "to 22.05 kHz by FFmpeg", swr(samples, rate, 22050), 22050
    yield (
        "to half the rate by scipy.signal.resample_poly",
        scipy.signal.resample_poly(samples, 1, 2),
        rate // 2,
    )
    count = round(len(samples) * RATE / rate)
    yield "to 16 kHz by scipy.signal.resample", scipy.signal.resample(samples, count), RATE
    low = soxr.resample(samples, rate, 8000)
    yield "8 kHz", low, 8000
    yield "8 kHz brought up to the own rate by soxr", soxr.resample(low, 8000, rate), rate
    yield "8 kHz brought up to 16 kHz by FFmpeg", swr(low, 8000, RATE), RATE
    middle = soxr.resample(samples, rate, 11025)
    yield "11,025 Hz brought up to 16 kHz by soxr", soxr.resample(middle, 11025, RATE), RATE
    yield "every second sample", samples[::2], rate // 2
    yield "every third sample", samples[::3], rate // 3


def spoilt(samples: np.ndarray, rate: int) -> Changed:
    """Levels, clipping, DC, channels."""
    loud, rare = np.quantile(np.abs(samples[samples != 0]), (0.98, 0.998))
    yield "2% of samples clipped", np.clip(samples * 0.99 / loud, -0.99, 0.99), rate
    yield "2% clipped, then half as loud", np.clip(samples * 0.99 / loud, -0.99, 0.99) / 2, rate
    yield "0.2% clipped", np.clip(samples / rare, -1, 1), rate
    yield "a mean of 0.02", samples * 0.9 + 0.02, rate
    noise = np.random.default_rng(0).standard_normal(len(samples)) * 1e-4
    yield "a second channel of noise at -80 dB", np.stack([samples, noise], axis=1), rate
    yield "a second channel turned, 0.95 as loud", np.stack([samples, -0.95 * samples], axis=1), rate
    late = 0.3 * np.roll(samples, 40)
    yield "a second channel delayed and quieter", np.stack([samples, late], axis=1), rate


def coded(samples: np.ndarray, rate: int, bits: int, path: Path) -> None:
    """Write an MP3 file."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono", bit_rate=bits)
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16p", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for part in (frame, None):
            for packet in stream.encode(part):
                container.mux(packet)
    path.write_bytes(memory.getvalue())


def near_full_scale(samples: np.ndarray) -> float:
    """How many samples lie at 0.95 to 1.05 of full scale, for each at 0.80 to 0.90: many if clipped."""
    sizes = np.abs(samples)
    most, less = (((sizes >= low) & (sizes <= low + 0.1)).sum() for low in (0.95, 0.80))
    return float(most / max(1, less))


def made_of(samples: np.ndarray, about: dict[str, Any]) -> Changed:
    """All that is made of a recording."""
    samples, rate = samples.astype(np.float64), about["rate"]
    normal = samples * (0.9 / np.abs(samples).max())
    yield from resampled(normal, rate)
    yield from spoilt(normal, rate)
    if about["level"] is not None:
        yield "-60 dB", samples * 10 ** ((-60 - about["level"]) / 20), rate


def main() -> None:
    """Count what is found, and print a row for each kind of recording."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("table", help="ESC-50's meta.csv")
    parser.add_argument("--data", required=True, help="its pack, at 16 kHz")
    parser.add_argument("--every", type=int, default=8, help="change each so-manieth recording")
    parser.add_argument(
        "--quick", action="store_true", help="each 100th recording, of these every second changed"
    )
    args = parser.parse_args()
    if args.quick:
        args.every = 2
    counts, looked = defaultdict[str, Counter[str]](Counter), Counter[str]()
    words, ratios = defaultdict[str, list[str]](list), defaultdict[bool, list[float]](list)

    def count(made: str, kinds: Iterable[str]) -> None:
        looked[made] += 1
        counts[made].update(set(kinds) or {"ok"})

    models = references(Pack(args.data))
    with tempfile.TemporaryDirectory() as folder:
        for number, clip in enumerate(open_corpus(args.table)[1][:: 100 if args.quick else 1]):
            model, path = models[str(clip.id)], str(clip.path)
            about = examine(path, model)
            found = {finding["kind"]: finding["what"] for finding in about["findings"]}
            count("as they are", found)
            for kind, what in found.items():
                words[kind].append(f"{clip.id}: {what}")
            samples = np.concatenate([block.samples for block in blocks(path, None)])
            if np.abs(samples).max() >= 0.95:
                ratios["clipped" in found].append(near_full_scale(samples))
            if number % args.every:
                continue
            for made, changed, at in made_of(samples, about):
                count(made, look(changed, at, model))
            if number % (4 * args.every) == 0:
                for bits in (64_000, 128_000):
                    coded(samples * (0.9 / np.abs(samples).max()), about["rate"], bits, Path(folder, "x.mp3"))
                    seen = examine(str(Path(folder, "x.mp3")), model)["findings"]
                    count(f"MP3 at {bits // 1000} kbit/s", [finding["kind"] for finding in seen])
    print(f"{platform.processor() or platform.machine()}, PyAV {av.__version__}, soxr {soxr.__version__}")
    print("| recordings | | found as |\n|---|---:|---|")
    for made, kinds in counts.items():
        print(f"| {made} | {looked[made]} | {', '.join(f'{kind} {n}' for kind, n in kinds.most_common())} |")
    for clipped, some in sorted(ratios.items(), reverse=True):
        told = "called clipped" if clipped else "others as loud"
        print(
            f"samples at 0.95 to 1.05 for each at 0.80 to 0.90, {len(some)} {told}: "
            f"median {np.median(some):.2f}, more than one in {sum(ratio > 1 for ratio in some)}"
        )
    for kind, some_words in words.items():
        if len(some_words) <= FEW:
            print(f"{kind}:", *some_words, sep="\n  ")


if __name__ == "__main__":
    main()
