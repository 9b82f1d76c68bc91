"""Make a small corpus to try everything on: `python examples/make_corpus.py FOLDER`.

Four classes of sounds, computed as in make_scene.py and varied in speed and level; 48 clips of two seconds as
WAV, FLAC, M4A and MP3 under FOLDER/audio, their table FOLDER/meta.csv with splits "train" and "test"; and two
recordings that are in neither: new.mp3 (a siren, then rain) and new.mp4, a film with the same sound.
"""

import csv
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from make_scene import MAKERS, RATE

CLASSES = ("clock_tick", "siren", "rain", "engine")
CLIPS_PER_CLASS = 12
TEST_EVERY = 4  # the fourth, eighth and twelfth clip of a class
SUFFIXES = {".wav": "pcm_s16le", ".flac": "flac", ".m4a": "aac", ".mp3": "libmp3lame"}
SEED = 7


def make_sound(label: str, seconds: float, generator: np.random.Generator) -> np.ndarray:
    """One more of that class: (seconds * 44100,) float32."""
    speed = generator.uniform(0.85, 1.18)
    count = round(seconds * RATE)
    sound = MAKERS[label](seconds * speed + 0.2, generator)
    sound = np.interp(np.arange(count) * speed, np.arange(len(sound)), sound)
    return (sound * generator.uniform(0.15, 0.7) / np.max(np.abs(sound))).astype(np.float32)


def write(path: Path, sound: np.ndarray, codec: str, picture: bool = False) -> None:
    """Write mono sound by any encoder of PyAV, with a moving picture where asked."""
    with av.open(str(path), "w") as container:
        film = container.add_stream("mpeg4", rate=Fraction(10)) if picture else None
        track = container.add_stream(codec, rate=RATE, layout="mono")
        if film is not None:
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
            for number in range(round(len(sound) / RATE * 10)):
                image = np.full((48, 64, 3), number * 5 % 256, np.uint8)
                container.mux(film.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(film.encode())
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        wanted = av.AudioResampler(
            format=track.codec_context.format,
            layout="mono",
            rate=RATE,
            frame_size=track.codec_context.frame_size,
        )
        for part in [*wanted.resample(frame), *wanted.resample(None)]:
            container.mux(track.encode(part))
        container.mux(track.encode())


def main() -> None:
    """Write the corpus into the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/make_corpus.py FOLDER")
    folder = Path(sys.argv[1])
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for class_number, label in enumerate(CLASSES):
        for number in range(CLIPS_PER_CLASS):
            suffix, codec = list(SUFFIXES.items())[(number + number // 4) % len(SUFFIXES)]
            path = Path("audio") / f"{label}_{number:02d}{suffix}"
            write(
                folder / path,
                make_sound(label, 2.0, np.random.default_rng((SEED, class_number, number))),
                codec,
            )
            rows.append([path, label, "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train"])
    with (folder / "meta.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "labels", "split"])
        table.writerows(rows)
    generator = np.random.default_rng((SEED, 99))
    new = np.concatenate([make_sound(label, 4.0, generator) for label in ("siren", "rain")])
    write(folder / "new.mp3", new, "libmp3lame")
    write(folder / "new.mp4", new, "aac", picture=True)
    print(f"{len(rows)} clips: {folder / 'meta.csv'}")
    print(f"not among them: {folder / 'new.mp3'}, {folder / 'new.mp4'}")


if __name__ == "__main__":
    main()
