"""Which recording a name in a file of events means: people write more or less of its path."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath


def match_recordings(
    names: Mapping[str, str], recordings: Sequence[str], roots: Iterable[str] = ()
) -> dict[str, str]:
    """Name -> recording, of the names that mean one.

    A name means a recording whose path is the same; or ends in it, or it ends in the path below one of the
    roots; where none does, the same without the suffix of one of the two.

    Args:
        names: name -> where it is written, for the message.
        recordings: paths, or ids of clips.
        roots: folders that the recordings were looked for in.

    Raises:
        ValueError: a name may mean two recordings; or two names of one file mean the same recording.

    >>> match_recordings({"monday/0700": "t.csv, row 2"}, ["rec/monday/0700.mp3", "rec/tuesday/0700.mp3"])
    {'monday/0700': 'rec/monday/0700.mp3'}
    >>> match_recordings({"0700.mp3": "t.csv, row 2"}, ["rec/monday/0700.mp3", "rec/tuesday/0700.mp3"])
    Traceback (most recent call last):
    ...
    ValueError: t.csv, row 2: '0700.mp3' may be rec/monday/0700.mp3 or rec/tuesday/0700.mp3; write more ...
    """
    # The last part of the path, with and without its suffix -> (recording, all parts, parts below its root)
    ends: list[dict[str, list[tuple[str, tuple[str, ...], tuple[str, ...]]]]] = [{}, {}]
    folders = [_parts(root) for root in roots]
    for recording in dict.fromkeys(recordings):
        parts = _parts(recording)
        below = next((parts[len(f) :] for f in folders if f == parts[: len(f)] != parts), parts)
        for cut, by_end in enumerate(ends):
            last = PurePosixPath(parts[-1]).stem if cut else parts[-1]
            mine = [(*p[:-1], last) for p in (parts, below)]
            by_end.setdefault(last, []).append((recording, mine[0], mine[1]))
    exact = {_whole(recording): recording for recording in recordings}
    found: dict[str, str] = {}
    for name, where in names.items():
        if _whole(name) in exact:
            found[name] = exact[_whole(name)]
            continue
        said = _parts(name)
        if not said:
            continue
        bare = (*said[:-1], PurePosixPath(said[-1]).stem)
        for by_end, wanted in ((ends[0], said), (ends[1], said), (ends[0], bare)):
            fits = [
                recording
                for recording, parts, below in by_end.get(wanted[-1], [])
                if parts[-len(wanted) :] == wanted or wanted[-len(below) :] == below
            ]
            if len(fits) > 1:
                raise ValueError(
                    f"{where}: {name!r} may be {fits[0]} or {fits[1]}; write more of its path, or name the "
                    "recordings of one folder"
                )
            if fits:
                found[name] = fits[0]
                break
    return found


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def _whole(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  links stay as they are
