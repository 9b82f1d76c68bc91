"""Draws the figures that docs/figures.md shows of evaluations and of a training run.

python examples/draw_report.py docs/img out/scenes-eval out/run --only priors curves
python examples/draw_report.py docs/img out/esc50-eval --only confusion
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from auricle.report.folders import write_report


def main(out: Path, folders: list[Path], only: list[str]) -> None:
    """Write what `auricle report` draws of the folders as PNG, and nothing else."""
    with tempfile.TemporaryDirectory() as made:
        for path in write_report(folders, made).paths:
            if path.suffix == ".png" and path.stem in only:
                shutil.copyfile(path, out / path.name)
                print(out / path.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", default=["priors", "curves", "confusion"])
    main(**vars(parser.parse_args()))
