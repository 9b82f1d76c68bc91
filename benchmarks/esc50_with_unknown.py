"""ESC-50 with sounds beside it that are none of its classes, so that a tagger learns when to say nothing.

The sounds are those of examples/make_unknown.py, by another seed than the default and of its half "choose"
only: what the other half is judged by has other seeds, instruments, voices and sentences. None is a
recording. They have no label, the split "made" and the licence CC0.

    python benchmarks/esc50_with_unknown.py ../shared/data/esc50/meta.csv out/with-unknown
    auricle pack out/with-unknown/meta.csv out/esc50-unknown

`--without drawn` gives the sounds that compact-esc50-equalized was trained with at first, with `--without
struck` beside it those of the recipes before.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEED = 7
KEPT = ("licence", "author", "title", "url")


def rows_of_esc50(meta: Path) -> list[dict[str, str]]:
    """As `auricle pack` reads ESC-50's own table: a recording within a fold is a group."""
    with meta.open(newline="") as stream:
        return [
            {
                "id": Path(row["path"]).stem,
                "path": str((meta.parent / row["path"]).resolve()),
                "labels": row["category"],
                "split": f"fold{row['fold']}",
                "group": f"{row['fold']}-{row['freesound_id']}",
                "freesound_id": row["freesound_id"],
                **{name: row[name] for name in KEPT},
            }
            for row in csv.DictReader(stream)
        ]


def rows_of_made(folder: Path, share: float, without: Sequence[str] = ()) -> list[dict[str, str]]:
    """The made sounds of the half that may be learned from."""
    sys.path.insert(0, str(ROOT / "examples"))
    from make_unknown import ALL, write

    if unknown := set(without) - set(ALL):
        sys.exit(f"error: --without {', '.join(sorted(unknown))}: no such kind; there are: {', '.join(ALL)}")
    kinds = [kind for kind in ALL if kind not in without]
    write(folder, seed=SEED, share=share, kinds=kinds, halves=("choose",))
    with (folder / "meta.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    return [
        {
            "id": f"made-{number:03d}",
            "path": str((folder / row["path"]).resolve()),
            "labels": "",
            "split": "made",
            "group": f"made-{number}",
            "freesound_id": "",
            "licence": "CC0",
            "author": "auricle",
            "title": f"{row['kind']}: {row['what']}",
            "url": "",
        }
        for number, row in enumerate(found)
    ]


def main() -> None:
    """Command line of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("meta", type=Path, help="ESC-50's table")
    parser.add_argument("out", type=Path, help="a folder for the made sounds and the table of all")
    parser.add_argument("--share", type=float, default=0.5, help="of the made sounds that there are")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="not made")
    given = parser.parse_args()
    rows = rows_of_esc50(given.meta)
    made = rows_of_made(given.out / "sounds", given.share, given.without)
    with (given.out / "meta.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows + made)
    print(f"{len(rows)} clips and {len(made)} made sounds: {given.out / 'meta.csv'}")


if __name__ == "__main__":
    main()
