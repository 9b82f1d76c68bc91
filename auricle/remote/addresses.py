"""Addresses of what does not lie on a disk of this machine: s3://bucket/folder/file and the like.

They are texts. A `Path` takes one of their two slashes away (`s3:/bucket`): such paths are known again here.
"""

import re

# What fsspec has file systems for that are of use here. file:// goes through fsspec too, to try things with.
SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "file", "memory")
PATTERN = re.compile(rf"({'|'.join(SCHEMES)}):/+(.*)", re.DOTALL)


def address_of(path: object) -> str | None:
    """An address as fsspec takes it, without a slash at its end; None for a path of this machine.

    >>> address_of("s3://bucket/packs/"), address_of("packs/birds"), address_of("s3:")
    ('s3://bucket/packs', None, None)
    >>> from pathlib import PurePosixPath
    >>> address_of(PurePosixPath("gs://bucket/a.wav")), address_of(PurePosixPath("file:///tmp/a.wav"))
    ('gs://bucket/a.wav', 'file:///tmp/a.wav')
    """
    found = PATTERN.fullmatch(str(path))
    if found is None:
        return None
    root = "/" if found[1] == "file" else ""
    return f"{found[1]}://{root}{found[2].rstrip('/')}"


def join(address: str, *names: str) -> str:
    """What lies below an address; an address among the names begins anew.

    >>> join("s3://bucket/packs", "birds", "manifest.json")
    's3://bucket/packs/birds/manifest.json'
    >>> join("s3://bucket/meta", "../audio/a.wav"), join("s3://bucket", "gs://other/a.wav")
    ('s3://bucket/audio/a.wav', 'gs://other/a.wav')
    """
    for name in names:
        if (whole := address_of(name)) is not None:
            address = whole
            continue
        for part in name.split("/"):
            if part == "..":
                address = parent(address)
            elif part not in ("", "."):
                address = f"{address}/{part}"
    return address


def parent(address: str) -> str:
    """The folder that something lies in; a bucket's own is itself.

    >>> parent("s3://bucket/a/b.wav"), parent("s3://bucket")
    ('s3://bucket/a', 's3://bucket')
    """
    scheme, _, rest = address.partition("://")
    above, slash, _ = rest.rpartition("/")
    return f"{scheme}://{above}" if slash else address


def name_of(address: str) -> str:
    """The last part of an address.

    >>> name_of("s3://bucket/a/b.wav")
    'b.wav'
    """
    return address.rpartition("/")[2]
