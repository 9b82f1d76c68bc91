"""How well a clip of a model's training is known again when it comes coded or at another rate.

Of every k-th recording of a folder the key (`auricle.shards.contents`) is made at 16 kHz, and again of its
coded, resampled, delayed and trimmed copies, as if they had the same name. Other recordings, and noise of
one level, must not be taken for it. With --data, a pack of these recordings: how many of its clips the
bundled model says that it was trained on, and what the keys of all take of a processor.

    python benchmarks/known_again.py ../shared/data/esc50/audio [--every 25] [--data out/esc50]
"""

import argparse
import io
import platform
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from auricle.artifact import load_artifact
from auricle.evaluation.choice import clips_heard
from auricle.shards import Pack
from auricle.shards.contents import KEY, alike, clip_keys, course, levels

RATE = 16000


def key(wave: np.ndarray, rate: int = RATE) -> np.ndarray:
    """What can be told of samples without a name."""
    pcm = np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)
    found = np.zeros(1, KEY)
    found["levels"], found["course"] = levels(pcm), course(pcm, rate)
    return found


def coded(wave: np.ndarray, rate: int, kind: str, subtype: str, **options: float) -> np.ndarray:
    memory = io.BytesIO()
    soundfile.write(memory, wave, rate, format=kind, subtype=subtype, **options)
    memory.seek(0)
    return soundfile.read(memory, dtype="float32")[0]


def copies(wave: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Name of a change -> the key of a recording that was changed so."""

    def there(changed: np.ndarray) -> np.ndarray:
        return key(soxr.resample(changed, rate, RATE))

    gap = np.zeros(rate // 20, np.float32)
    return {
        "as it was, at its own rate": key(wave, rate),
        "8 kHz": key(soxr.resample(wave, rate, 8000), 8000),
        "MP3": there(coded(wave, rate, "MP3", "MPEG_LAYER_III")),
        "MP3, smallest": there(coded(wave, rate, "MP3", "MPEG_LAYER_III", compression_level=0.9)),
        "MP3 with the coder's delay": there(np.concatenate([np.zeros(1105, np.float32), wave])),
        "Vorbis": there(coded(wave, rate, "OGG", "VORBIS")),
        "50 ms later": there(np.concatenate([gap, wave])[: len(wave)]),
        "50 ms cut off": there(wave[: -len(gap)]),
    }


def print_pack(pack: Pack) -> None:
    """What is known again of a pack's clips, and what that costs."""
    learned = len(clips_heard(load_artifact("default"), pack))
    print(f"{pack.path}: {learned:,} of {len(pack):,} clips are of the bundled model's training")
    began = time.process_time()
    clip_keys(pack, np.arange(len(pack)))
    took = (time.process_time() - began) / len(pack)
    seconds = pack.lengths.mean() / pack.rate
    machine = platform.processor() or platform.machine()
    print(f"a key takes {1e3 * took:.2f} ms of a core for {seconds:.1f} s at {pack.rate} Hz ({machine})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--data", type=Path, help="a pack of these recordings")
    options = parser.parse_args()
    originals, hits = [], dict[str, int]()
    for path in sorted(options.folder.iterdir())[7 :: options.every]:
        wave, rate = soundfile.read(path, dtype="float32")
        wave = wave.mean(axis=1) if wave.ndim > 1 else wave
        originals.append(key(soxr.resample(wave, rate, RATE))[0])
        for name, copy in copies(wave, rate).items():
            hits[name] = hits.get(name, 0) + bool(alike(originals[-1], copy)[0])
    for name, found in hits.items():
        print(f"{name}: {found} of {len(originals)} known again")
    noises = [key(np.random.default_rng(seed).normal(0, 0.05, 2 * RATE))[0] for seed in range(60)]
    for name, keys in (("other recordings", originals), ("noise of one level", noises)):
        others = np.array(keys)
        taken = sum(int(alike(one, others).sum()) - 1 for one in keys)  # each is like itself
        print(f"{name}: {taken} of {len(keys) * (len(keys) - 1)} pairs taken for one")
    if options.data:
        print_pack(Pack(options.data))


if __name__ == "__main__":
    main()
