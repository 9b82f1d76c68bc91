"""How a recipe's models do on changed sound, out of fold: level, noise, rooms, MP3, bands, windows, hops.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_folds.py --data out/esc50 --out runs/folds
    python benchmarks/robustness.py --data out/esc50 --folds runs/folds --json robustness.json

Each fold's model is asked about the fold it has not heard, on its clips as they are and under each change of
auricle/recipes/conditions.py, and in other windows. Differences are paired: the same draws of recordings on
both sides. Also the ten pairs of classes most often confused, and how far scores are from probabilities.
`python -m auricle.recipes.bundled --robustness robustness.json` puts all of it into the model's card.
`--clips 20 --draws 50` is a quick look.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from auricle.artifact.card_robustness import robustness_sections
from auricle.recipes.robustness import DRAWS, measure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="ESC-50 as a pack")
    parser.add_argument("--folds", type=Path, required=True, help="what benchmarks/esc50_folds.py wrote")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", action="append", metavar="CHANGE", help="this change; may be repeated")
    parser.add_argument("--no-windows", action="store_true", help="leave other windows and hops out")
    parser.add_argument("--clips", type=int, help="of each fold, spread over it; default: all")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of recordings, for intervals")
    parser.add_argument("--threads", type=int, help="for scoring; default: all cores")
    options = parser.parse_args()
    began = time.monotonic()
    found = measure(
        options.data,
        options.folds,
        most=options.clips,
        only=options.only,
        windows=not options.no_windows,
        threads=options.threads,
        draws=options.draws,
        say=lambda text: print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True),
    )
    print("\n".join(robustness_sections(found)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
