"""AudioSet's sounds as the package carries them: names, ids, what stands above what, and taggers' orders.

Source: Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP 2017. The
table is vocabularies/audioset.csv; ATTRIBUTION.md beside it says whose it is, under CC BY-SA 4.0.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("vocabularies")
VOCABULARIES = {  # whose list of outputs -> the column with its order
    "audioset-527": "index_527",
    "audioset-521": "index_521",
    "527": "index_527",
    "521": "index_521",
    "panns": "index_527",
    "efficientat": "index_527",
    "yamnet": "index_521",
}


class AudiosetSound(NamedTuple):
    """A sound of the ontology.

    `id` is AudioSet's mid, `parents` are mids of the sounds right above it, several for some. The indices are
    its places among the 527 labels of AudioSet and the 521 of YAMNet; None where it is not among them.
    """

    id: str
    name: str
    parents: tuple[str, ...]
    index_527: int | None
    index_521: int | None


@cache
def audioset_sounds() -> dict[str, AudiosetSound]:
    """Id -> sound, of all 632, in the ontology's order.

    >>> sounds = audioset_sounds()
    >>> len(sounds), sounds["/m/0bt9lr"].name, [sounds[id].name for id in sounds["/m/0bt9lr"].parents]
    (632, 'Dog', ['Domestic animals, pets'])
    """
    with (FOLDER / "audioset.csv").open(encoding="utf-8", newline="") as file:
        found = [
            AudiosetSound(
                id=row["id"],
                name=row["name"],
                parents=tuple(filter(None, row["parents"].split(";"))),
                index_527=int(row["index_527"]) if row["index_527"] else None,
                index_521=int(row["index_521"]) if row["index_521"] else None,
            )
            for row in csv.DictReader(file)
        ]
    return {sound.id: sound for sound in found}


def ids(vocabulary: str = "audioset-527") -> list[str]:
    """The ids of a vocabulary, in the order of its outputs.

    Args:
        vocabulary: "audioset-527" (also "panns", "efficientat", "527"), as most taggers of AudioSet list
            them, or "audioset-521" (also "yamnet", "521").

    Raises:
        ValueError: there is no such vocabulary.

    >>> ids("yamnet")[:2]
    ['/m/09x0r', '/m/0ytgt']
    """
    if vocabulary not in VOCABULARIES:
        raise ValueError(f"no vocabulary {vocabulary!r}; there are: {', '.join(VOCABULARIES)}")
    column = VOCABULARIES[vocabulary]
    listed = [sound for sound in audioset_sounds().values() if getattr(sound, column) is not None]
    return [sound.id for sound in sorted(listed, key=lambda sound: getattr(sound, column))]


def labels(vocabulary: str = "audioset-527") -> list[str]:
    """The names of a vocabulary, in the order of its outputs; see `ids`.

    >>> labels("panns")[:2], len(labels("yamnet"))
    (['Speech', 'Male speech, man speaking'], 521)
    """
    sounds = audioset_sounds()
    return [sounds[id].name for id in ids(vocabulary)]


def audioset_parents(names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Name of each sound -> names right above it; between some of the sounds, the others stepped over.

    Args:
        names: of the sounds that are left; one that AudioSet does not have stands alone. None takes all 632.

    Returns:
        As an artifact's `parents` and `auricle labels --parents` have them. What stands above
        another that is named is left out: it is reached through that.

    >>> audioset_parents()["Bark"], audioset_parents(["Bark", "Animal", "Jingle"])
    (['Dog'], {'Bark': ['Animal'], 'Animal': [], 'Jingle': []})
    """
    from auricle.hierarchy import ancestors  # brings NumPy

    sounds = audioset_sounds()
    direct = {sound.name: [sounds[id].name for id in sound.parents] for sound in sounds.values()}
    if names is None:
        return direct
    kept, above = set(names), ancestors(direct)
    found = {}
    for name in names:
        higher = [one for one in above.get(name, ()) if one in kept]
        found[name] = [one for one in higher if not any(one in above[other] for other in higher)]
    return found
