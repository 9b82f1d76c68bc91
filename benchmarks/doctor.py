"""How often `auricle doctor` is wrong of audio that was brought to another rate, well or badly.

    python benchmarks/doctor.py ../shared/data/esc50/meta.csv --every 8 --pairs 6

Each clip is brought between rates, from one to another of 8, 16, 22.05, 32, 44.1 and 48 kHz (first to the
one by soxr VHQ), by each method, and examined as for a model that hears all that its rate can hold. Clips
take turns with pairs of rates, so that all pairs are as frequent. Counted are clips in which something is
heard, whose recording itself reaches as far as is asked for.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from math import gcd

import av
import numpy as np
import scipy.signal
import soundfile
import soxr

from auricle.datasets import open_corpus
from auricle.doctor import Channels, Reference, findings
from auricle.fingerprint import Sound

RATES = (8000, 16000, 22050, 32000, 44100, 48000)
KINDS = ("aliased?", "upsampled")  # a question mark: may be
Method = Callable[[np.ndarray, int, int], np.ndarray]


def fourier(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Whole at once, cut off at half the rate."""
    return scipy.signal.resample(samples, round(len(samples) * target / source))


def polyphase(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """With SciPy's own filter."""
    common = gcd(source, target)
    return scipy.signal.resample_poly(samples, target // common, source // common)


def steep(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Linear phase, passing 98% of what the lower rate holds."""
    common = gcd(source, target)
    up, down = target // common, source // common
    most = max(up, down)
    taps = scipy.signal.firwin(2 * 200 * most + 1, 0.99 / most, window=("kaiser", 8.0))
    return scipy.signal.resample_poly(samples, up, down, window=taps)


def swr(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """FFmpeg's own."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=target)
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate = source
    made = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in made])


def soxr_of(quality: str) -> Method:
    return lambda samples, source, target: soxr.resample(samples, source, target, quality)


def nearest(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Samples left out, or held, without any filter."""
    places = np.arange(round(len(samples) * target / source)) * (source / target)
    return samples[np.minimum(np.rint(places).astype(int), len(samples) - 1)]


def straight_lines(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Interpolated between neighbours, without any filter."""
    places = np.arange(round(len(samples) * target / source)) * (source / target)
    return np.interp(places, np.arange(len(samples)), samples)


CLEAN: dict[str, Method] = {
    "soxr HQ": soxr_of("HQ"),
    "soxr VHQ": soxr_of("VHQ"),
    "swr (FFmpeg)": swr,
    "scipy.signal.resample_poly": polyphase,
    "linear phase, to 98%": steep,
    "scipy.signal.resample": fourier,
}
BAD: dict[str, Method] = {"samples left out or held": nearest, "straight lines": straight_lines}


def sounds(table: str, every: int, pairs: int) -> Iterator[tuple[str, int, int, bool, Sound]]:
    """Method, from, to, whether the recording reaches that far, what is heard: of each clip and pair."""
    turns = itertools.cycle(itertools.permutations(RATES, 2))
    for clip in open_corpus(table)[1][::every]:
        channels, own = soundfile.read(clip.path, always_2d=True)
        samples = channels.mean(axis=1)
        if not np.abs(samples).max() > 0:
            continue
        samples *= 0.9 / np.abs(samples).max()
        whole = heard(samples, own)
        reach = whole.cutoff or own / 2
        for source, target in itertools.islice(turns, pairs):
            first = samples if source == own else soxr.resample(samples, own, source, "VHQ")
            for name, method in (CLEAN | BAD).items():
                made = method(first, source, target)
                yield name, source, target, reach >= 0.46 * min(source, target), heard(made, target)


def heard(samples: np.ndarray, rate: int) -> Sound:
    sound = Sound(rate)
    sound.add((np.rint(np.clip(samples, -1, 1) * 32767) / 32768).astype(np.float32))
    sound.finish()
    return sound


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("table", help="ESC-50's meta.csv")
    parser.add_argument("--every", type=int, default=8, help="take each so-manieth clip")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of rates for each clip")
    args = parser.parse_args()
    counts: Counter[tuple[str, str, str]] = Counter()
    for name, source, target, reaches, sound in sounds(args.table, args.every, args.pairs):
        if not reaches or not sound.clear_frames:
            continue
        way = "down" if target < source else "up"
        counts[name, way, "all"] += 1
        model = Reference(rate=target, highest=target / 2, audio={})
        for finding in findings(sound, Channels(), model):
            counts[name, way, finding.kind + ("" if finding.sure else "?")] += 1
    print("| brought by | | clips | may be `aliased` | `upsampled` |\n|---|---|---|---|---|")
    for name, way in itertools.product(CLEAN | BAD, ("down", "up")):
        count = counts[name, way, "all"]
        shares = " | ".join(f"{counts[name, way, kind] / max(1, count):.1%}" for kind in KINDS)
        print(f"| {name} | {way} | {count} | {shares} |")


if __name__ == "__main__":
    main()
