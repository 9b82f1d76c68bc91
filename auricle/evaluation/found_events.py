"""Events that were found elsewhere, beside those that somebody wrote down: two files, and no model.

Shape letters: M recordings, K labels.
"""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from auricle.evaluation.events import DRAWS, Tolerances, class_columns, count, intervals_of
from auricle.evaluation.files import jsonable, write_figures
from auricle.formats.annotated import same_in_words
from auricle.formats.matching import alike, match_recordings
from auricle.formats.reading import Annotated
from auricle.metrics.events import EventTable, event_table, f1_figures
from auricle.remote import results_folder


def evaluate_found(
    truth: Annotated,
    found: Annotated,
    *,
    tolerances: Tolerances | None = None,
    out: str | Path | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """F1 of segments and events of what was found, as `evaluate_events` has them; PSDS needs scores.

    Judged are the recordings and labels of the truth. A recording ends with the last event in it: nothing
    after that changes a figure.

    Args:
        truth: of recordings that were listened to in full.
        found: in the same recordings; of others it is left out, and counted. Those of the truth that it does
            not name count as without events, and are counted, too.
        tolerances: None is `Tolerances()`.
        out: folder, or its address, for `metrics.json` and `per_class.csv`, if any.
        draws: as in `evaluate_events`, and so is seed.
        seed: see above.

    Raises:
        ValueError: there is no event in the truth, or no recording is in both.

    >>> from auricle.formats.reading import TimedEvent
    >>> events = [TimedEvent("a.wav", 1.0, 2.0, "dog", None, "t.csv, row 2")]
    >>> both = Annotated(events=events, recordings={"a.wav": "t.csv, row 2"})
    >>> evaluate_found(both, both)["events"]["f1_macro"]
    1.0
    """
    tolerances = tolerances or Tolerances()
    longest, names = alike(truth), truth.labels
    recordings = list(dict.fromkeys(longest.values()))
    if not names:
        raise ValueError("the annotations hold no event; expected at least one")
    clip_of = {name: row for row, name in enumerate(recordings)}
    matched = match_recordings(found.recordings, recordings)
    if found.recordings and not matched:
        raise ValueError(
            f"no recording is in both: the predictions name {next(iter(found.recordings))!r}, the "
            f"annotations {recordings[0]!r}; a name is a recording's path, or the end of it"
        )
    position = {name: k for k, name in enumerate(names)}
    tables_of = []
    for of, events, meant in (("annotations", truth, longest), ("predictions", found, matched)):
        kept, same = events.once({name: clip_of[recording] for name, recording in meant.items()})
        if same:
            warnings.warn(f"the {of}: {same_in_words(same)}", stacklevel=2)
        tables_of.append(
            [(clip, position[e.label], e.start, e.end) for clip, e in kept if e.label in position]
        )
    there, said = tables_of
    tables = event_table(there), event_table(said)
    durations = _last_ends(tables, len(recordings))
    counts = count(*tables, durations, len(names), tolerances)
    figures: dict[str, Any] = {name: f1_figures(each) for name, each in counts.items()}
    figures |= {"psds1": None, "psds2": None, "mixed_from": None}
    groups = np.array(recordings, object)
    figures |= intervals_of(*tables, durations, groups, len(names), tolerances, draws, seed)
    figures |= {
        "clips": len(recordings),
        "classes": len(names),
        "true_events": len(there),
        "found_events": len(said),
        "classes_without_events": [],
        "labels_not_in_annotations": sorted(set(found.labels) - set(names)),
        "clips_not_annotated": len(found.recordings) - len(matched),
        "clips_not_predicted": len(recordings) - len(set(matched.values())),
        "tolerances": dataclasses.asdict(tolerances),
    }
    figures = jsonable(figures)
    with results_folder(out, ("metrics.json",)) as folder:
        if folder is not None:
            write_figures(folder, figures, names, class_columns(counts, {}, *tables, len(names)))
    return figures


def _last_ends(tables: tuple[EventTable, EventTable], recordings: int) -> np.ndarray:
    """(M,) seconds of the last event of each recording, 0 where there is none."""
    ends = np.zeros(recordings)
    for table in tables:
        np.maximum.at(ends, table.clip, table.end)
    return ends
