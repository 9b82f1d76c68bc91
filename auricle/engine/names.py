"""What the result of a recording is called: a name that every system can give a file."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from auricle.remote import address_of

# What Windows, and disks that it formatted, let no file be called. Recorders on Linux write 12:00:00.wav.
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]|[. ]$')
MAGIC = re.compile(r"[*?[]")
RESERVED = re.compile(r"^failures$")  # the list of what failed has this name
LONGEST = 255  # bytes of a name, on most disks
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?= *(\.|$))")


def result_names(files: Sequence[str], suffix: str, given: Sequence[str] = ()) -> list[str]:
    """What each recording's file is called, from the folder of results.

    It is the path of the recording from the folder that all that was `given` has in common, and `suffix`, see
    `portable`: so a recording keeps its name when others come.

    Args:
        files: the recordings.
        suffix: of each name.
        given: the folders, globs and recordings that they were found by; else the recordings themselves.

    Raises:
        ValueError: two would have one name.

    >>> result_names(["x/a.wav", "x/deep/a.wav"], ".csv")
    ['a.wav.csv', 'deep/a.wav.csv']
    """
    if not files:
        return []
    whole = [_whole(file) for file in files]
    try:
        root = os.path.commonpath(_places(given or files, set(files)))
        inside = [Path(os.path.relpath(path, root)).as_posix() for path in whole]
    except ValueError:  # on several drives of Windows
        inside = [Path(path).as_posix().lstrip("/") for path in whole]
    names = [portable(RESERVED.sub("failures_", path) + suffix) for path in inside]
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        # On a disk that does not tell A from a, or one way to write an accent from another, they are one.
        first = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), number)
        if first != number:
            if whole[first] == whole[number]:
                raise ValueError(f"{files[first]} and {files[number]} are one recording; name it once")
            raise ValueError(
                f"the results of {files[first]} and {files[number]} would both be called {name}; "
                "tag them into two folders"
            )
    return names


def _places(given: Sequence[str], files: set[str]) -> list[str]:
    """The folders that recordings are in or below, by what was asked for."""
    found = []
    for one in given:
        whole = _whole(one)
        magic = None if one in files or Path(one).is_dir() else MAGIC.search(whole)
        if magic is not None:
            whole = whole[: magic.start()] + "x"  # a folder, or the beginning of a name
        elif one not in files:
            whole = os.path.join(whole, "x")  # noqa: PTH118
        found.append(os.path.dirname(whole))  # noqa: PTH120
    return found


def portable(name: str) -> str:
    """A path of several parts, as every system takes it: other characters by number, devices with a line.

    >>> portable("night/2026-11-21T22:00:00.wav.csv"), portable("aux.wav.csv"), portable("take 1. /a.csv")
    ('night/2026-11-21T22%3A00%3A00.wav.csv', 'aux_.wav.csv', 'take 1.%20/a.csv')
    """
    return "/".join(map(_portable, name.split("/")))


def _portable(part: str) -> str:
    if part in ("", ".", ".."):
        return part
    part = FORBIDDEN.sub(_by_number, part)
    device = DEVICES.match(part)
    return _short(part if device is None else f"{device[1]}_{part[device.end() :]}")


def _short(part: str) -> str:
    """A name that is not too long for any system; of one that is, its beginning, a mark of it all, its end.

    >>> _short("a" * 300 + ".wav.csv")[-30:]
    'aaaaaaaaaaaaa~33fc91f3.wav.csv'
    """
    whole = os.fsencode(part)
    if len(whole) <= LONGEST:
        return part
    end = "".join(Path(part).suffixes[-2:])[-40:]
    mark = f"~{hashlib.blake2b(whole, digest_size=4).hexdigest()}{end}"
    beginning = whole[: LONGEST - len(os.fsencode(mark))]
    return beginning.decode(errors="ignore") + mark


def _by_number(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _whole(file: str) -> str:
    if (address := address_of(file)) is not None:
        return os.sep + address.replace("://", "/")
    return os.path.abspath(file)  # noqa: PTH100  links stay as they were given
