"""One job over many files, in local processes: packing, and whatever else goes file by file."""

from auricle.engine.packing import pack
from auricle.engine.processes import WorkerDied, default_jobs, run_files
from auricle.engine.scenes import make_scenes

__all__ = ["WorkerDied", "default_jobs", "make_scenes", "pack", "run_files"]
