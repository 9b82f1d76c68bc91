"""One job over many files, in local processes or on Ray: packing, tagging, embedding."""

from auricle.engine.jobs import Engine
from auricle.engine.packing import pack
from auricle.engine.processes import WorkerDied, default_jobs, run_files
from auricle.engine.scenes import make_scenes

__all__ = ["Engine", "WorkerDied", "default_jobs", "make_scenes", "pack", "run_files"]
