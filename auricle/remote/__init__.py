"""What lies elsewhere: s3://, gs:// and other addresses, read and written through fsspec.

Nothing here imports fsspec before an address is used: paths of this machine go on without it.
"""

from auricle.remote.addresses import address_of, join, name_of, parent
from auricle.remote.cache import cached_folder, cached_shard, copied_folder, fetch_checked
from auricle.remote.files import (
    TEMPORARY,
    Entry,
    digest,
    entries,
    get,
    get_into,
    is_folder,
    list_files,
    look_up,
    match,
    put,
    put_bytes,
    read,
    read_json,
    read_many,
    remove,
    remove_folder,
    sizes,
    sizes_of,
    stream,
)
from auricle.remote.folders import WorkingCopy, results_folder, working_copy
from auricle.remote.lease import held

__all__ = [
    "TEMPORARY",
    "Entry",
    "WorkingCopy",
    "address_of",
    "cached_folder",
    "cached_shard",
    "copied_folder",
    "digest",
    "entries",
    "fetch_checked",
    "get",
    "get_into",
    "held",
    "is_folder",
    "join",
    "list_files",
    "look_up",
    "match",
    "name_of",
    "parent",
    "put",
    "put_bytes",
    "read",
    "read_json",
    "read_many",
    "remove",
    "remove_folder",
    "results_folder",
    "sizes",
    "sizes_of",
    "stream",
    "working_copy",
]
