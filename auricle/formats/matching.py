"""Which recording a name in a file of events means: people write more or less of its path."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from auricle.formats.annotated import Annotated
from auricle.text import for_terminal

Parts = tuple[str, ...]


def match_recordings(
    names: Mapping[str, str],
    recordings: Sequence[str],
    roots: Sequence[str] = (),
    problems: dict[str, str] | None = None,
) -> dict[str, str]:
    r"""Name -> recording, of the names that mean one.

    A name means a recording whose path is the same, or ends in the name; of several that one whose whole path
    from its root it is: `a.wav` is no `deep/a.wav` where both are there. A longer name, of another machine
    say, ends in the recording's path from its root on, with the root's own name: `/home/ann/june/a.wav` is
    `a.wav` in the folder `june`, and never one in `july`. Where none does, the same without the suffix of one
    of the two, or with the colons and the like that a file of results has as `%3A` in its name. What a table
    cannot hold counts as it is spelled out there: bytes that are not UTF-8, line ends and the like, as `\xe9`
    and `\n`; space around a name does not count.

    Args:
        names: name -> where it is written, for the message.
        recordings: paths, or ids of clips.
        roots: folders that the recordings were looked for in. Without any, recordings are names themselves,
            and a longer name ends in the whole of one.
        problems: takes name -> what is wrong with it, and the others are matched; None: that is an error.

    Raises:
        ValueError: a name may mean two recordings, or two longer names the same one.

    >>> match_recordings({"monday/0700": "t.csv, row 2"}, ["rec/monday/0700.mp3", "rec/tuesday/0700.mp3"])
    {'monday/0700': 'rec/monday/0700.mp3'}
    >>> match_recordings({"0700.mp3": "t.csv, row 2"}, ["rec/monday/0700.mp3", "rec/tuesday/0700.mp3"])
    Traceback (most recent call last):
    ...
    ValueError: t.csv, row 2: '0700.mp3' may be rec/monday/0700.mp3 or rec/tuesday/0700.mp3; write more ...
    """
    # The last part of a path, with and without suffix -> (recording, all parts, what longer names end in)
    ends: list[dict[str, list[tuple[str, Parts, Parts]]]] = [{}, {}]
    for recording in dict.fromkeys(recordings):
        parts = _parts(recording)
        if not parts:
            continue
        tail = _from_root(recording, roots) if roots else parts
        for cut, by_end in enumerate(ends):
            last = PurePosixPath(parts[-1]).stem if cut else parts[-1]
            by_end.setdefault(last, []).append((recording, (*parts[:-1], last), (*tail[:-1], last)))
    exact = {_whole(recording): recording for recording in recordings}
    found: dict[str, str] = {}
    longer: dict[str, str] = {}  # recording -> the longer name that it has
    for name, where in names.items():
        if _whole(name) in exact:
            found[name] = exact[_whole(name)]
            continue
        said = _parts(name)
        if not said:
            continue
        bare, plain = (*said[:-1], PurePosixPath(said[-1]).stem), _parts(unquote(name))
        for by_end, wanted in ((ends[0], said), (ends[1], said), (ends[0], bare), (ends[0], plain)):
            fits = [
                recording
                for recording, parts, tail in by_end.get(wanted[-1], [])
                if parts[-len(wanted) :] == wanted or (len(tail) > 0 and wanted[-len(tail) :] == tail)
            ]
            if len(fits) > 1 and roots:
                fits = [file for file, _, tail in by_end[wanted[-1]] if tail[1:] == wanted] or fits
            if not fits:
                continue
            if len(fits) > 1:
                problem = f"may be {fits[0]} or {fits[1]}; write more of its path, or name the recordings of "
                _refuse(f"{where}: {name!r} {problem}one folder", name, problems)
            elif len(said) > len(_parts(fits[0])) and longer.setdefault(fits[0], name) != name:
                problem = f"and {longer[fits[0]]!r} may be {fits[0]}; write more of that one's path"
                _refuse(f"{where}: both {name!r} {problem}", name, problems)
            else:
                found[name] = fits[0]
            break
    return found


def alike(found: Annotated) -> dict[str, str]:
    """Name -> the longest name of the same recording, of all that are named in files of events.

    One file may call a recording `a.wav`, another one `rec/a.wav`: where no file has both and the same events
    are in both, they are one, and so are then `b.wav` and `rec/b.wav`.

    >>> from auricle.formats.annotated import TimedEvent
    >>> rows = [TimedEvent(name, 1.0, 2.0, "dog", None, "") for name in ("a.wav", "rec/a.wav")]
    >>> named = {"a.wav": {"a.txt"}, "rec/a.wav": {"t.csv"}}
    >>> alike(Annotated(events=rows, recordings=dict.fromkeys(named, ""), sources=named))
    {'a.wav': 'rec/a.wav', 'rec/a.wav': 'rec/a.wav'}
    """
    names = {_parts(name): name for name in found.recordings}
    pairs = []  # a name, one that ends in it, and what that has before
    for parts, name in names.items():
        for cut in range(1, len(parts)):
            end = names.get(parts[cut:])
            if end is not None and _apart(found.sources.get(end), found.sources.get(name)):
                pairs.append((end, name, parts[:cut]))
    if not pairs:
        return {name: name for name in found.recordings}
    heard: dict[str, set[tuple[str, float, float]]] = {name: set() for name in found.recordings}
    for event in found.events:
        heard[event.recording].add((event.label, round(event.start, 4), round(event.end, 4)))
    agree: dict[Parts, list[bool]] = {}  # one label of a whole recording may be there by chance
    for end, name, before in pairs:
        if heard[end] and heard[name]:
            agree.setdefault(before, []).append(heard[end] == heard[name])
    shown = {before for before, same in agree.items() if 2 * sum(same) > len(same)}
    above: dict[str, list[str]] = {}
    for end, name, before in pairs:
        if before in shown:
            above.setdefault(end, []).append(name)
    longest = {name: name for name in found.recordings}
    for name in sorted(above, key=lambda name: -len(_parts(name))):
        if len(meant := {longest[other] for other in above[name]}) == 1:
            longest[name] = meant.pop()
    return longest


def _apart(one: set[str] | None, other: set[str] | None) -> bool:
    """Whether no file has both of two names, as far as that is known."""
    return one is not None and other is not None and one.isdisjoint(other)


def _refuse(problem: str, name: str, problems: dict[str, str] | None) -> None:
    if problems is None:
        raise ValueError(problem)
    problems[name] = problem


def _from_root(recording: str, roots: Sequence[str]) -> Parts:
    """The parts of a recording's path from its root's own name on; of none of the roots: the whole path."""
    whole = _parts(_whole(recording))
    for root in roots:
        above = _parts(_whole(root))
        if above == whole[: len(above)] != whole:
            return whole[len(above) - 1 :]
    return whole


def find_named(name: str, folder: Path = Path()) -> Path | None:
    """The file of a name, from a folder: also of one spelled out, as in a table or a result's name.

    >>> find_named("no/such.wav") is None
    True
    """
    if (folder / name).is_file():
        return folder / name
    return _find_spelled(name, folder) or (_find_spelled(unquote(name), folder) if "%" in name else None)


def _find_spelled(name: str, place: Path) -> Path | None:
    for part in PurePosixPath(name).parts:
        if not (place / part).exists():
            try:
                held = sorted(path.name for path in place.iterdir())
            except OSError:
                return None
            meant = next((other for other in held if _spelled(other) == _spelled(part)), None)
            if meant is None:
                return None
            place /= meant
        else:
            place /= part
    return place if place.is_file() else None


def _parts(path: str) -> tuple[str, ...]:
    parts = (part.strip() for part in _spelled(path).replace("\\", "/").split("/"))
    return tuple(part for part in parts if part not in ("", "."))


def _spelled(name: str) -> str:
    """A name as every format can hold it."""
    return for_terminal(name).strip()


def _whole(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  links stay as they are
