"""Make recordings to search: `python examples/make_recordings.py FOLDER`.

Three days of three recordings of 36 seconds, as a recorder in a street might leave them: monday, tuesday and
wednesday under FOLDER/recordings; on thursday, one whose gain was far too low. Each has a siren, a dog, rain,
an engine and a clock, near or far, in an order of its own, and the hum of a town. All sounds are computed, as
in make_scene.py. FOLDER/siren.wav and FOLDER/dog.wav are two seconds of what to look for; FOLDER/truth.csv
says what sounds when: path, start, end, label.

With real recordings, somebody listens. Here the truth does: `python examples/make_recordings.py FOLDER
--answer TODO.csv` prints the table of `auricle review` with its column `answer` filled in: all that is heard,
where it fills half of the moment or more. A table without that column, of events, is given one: y or n.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from make_corpus import make_sound, write
from make_scene import RATE
from scipy.signal import lfilter

DAYS = ("monday", "tuesday", "wednesday")
TIMES = {"0700.mp3": "libmp3lame", "1200.flac": "flac", "2300.wav": "pcm_s16le"}
QUIET = ("thursday", "0700.wav", 0.005)  # a recorder whose gain was turned down: amplitudes times this
LABELS = ("siren", "dog", "rain", "engine", "clock_tick")
SECONDS = 36
SEED = 11


def make_recording(generator: np.random.Generator) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """A recording, (samples,) float32, and what sounds in it when: start and end in seconds, label."""
    town = lfilter(
        [1.0], [1.0, -0.97], generator.standard_normal(SECONDS * RATE)
    )  # the low more than the high
    sound = (generator.uniform(0.002, 0.006) * town).astype(np.float32)
    events, start = [], generator.uniform(0.5, 3.0)
    for label in generator.permutation(LABELS):
        length = 2.0 if label == "dog" else generator.uniform(3.0, 6.0)
        first = round(start * RATE)
        piece = make_sound(str(label), length, generator) * generator.uniform(0.1, 1.0)  # far, near
        sound[first : first + len(piece)] += piece
        events.append((round(start, 2), round(start + length, 2), str(label)))
        start += length + generator.uniform(0.5, 2.5)
    return sound, events


def answer(folder: Path, todo: Path) -> None:
    """Print the table of questions, answered."""
    with (folder / "truth.csv").open() as file:
        truth = list(csv.DictReader(file))
    with todo.open() as file:
        questions = list(csv.DictReader(file))
    columns = list(dict.fromkeys([*questions[0], "answer"]))
    table = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    table.writeheader()
    for question in questions:
        path, start, end = todo.parent / question["path"], float(question["start"]), float(question["end"])
        heard = {
            row["label"]
            for row in truth
            if path.resolve() == (folder / row["path"]).resolve()
            and min(end, float(row["end"])) - max(start, float(row["start"])) >= (end - start) / 2
        }
        if "answer" not in question:
            heard &= {question["label"]}
        said = ["y" if label == question["label"] else label for label in sorted(heard)]
        table.writerow({**question, "answer": ";".join(said) or "n"})


def main() -> None:
    """Write the recordings into the folder named on the command line, or answer."""
    if len(sys.argv) == 4 and sys.argv[2] == "--answer":
        answer(Path(sys.argv[1]), Path(sys.argv[3]))
        return
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/make_recordings.py FOLDER [--answer TODO.csv]")
    folder, rows = Path(sys.argv[1]), []
    kinds = [(day, name, codec, 1.0) for day in DAYS for name, codec in TIMES.items()]
    kinds.append((*QUIET[:2], "pcm_s16le", QUIET[2]))
    for number, (day, name, codec, gain) in enumerate(kinds):
        path = Path("recordings") / day / name
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        sound, events = make_recording(np.random.default_rng((SEED, number)))
        write(folder / path, gain * sound, codec)
        rows += [[path.as_posix(), *event] for event in events]
    for number, label in enumerate(("siren", "dog")):
        sound = make_sound(label, 2.0, np.random.default_rng((SEED, 99, number)))
        write(folder / f"{label}.wav", sound, "pcm_s16le")
    with (folder / "truth.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "start", "end", "label"])
        table.writerows(rows)
    print(f"{len(kinds)} recordings, {len(rows)} sounds in them: {folder / 'recordings'}")


if __name__ == "__main__":
    main()
