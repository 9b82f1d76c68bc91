"""The recordings behind the page: whose they are, how far they are, what was found in them and said of it.

What is small is in SQLite, what is large in a folder for each recording. A recording goes when its visitor
deletes it, or when it was not looked at for as long as things are kept.
"""

import functools
import json
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auricle.serve.correcting import Correction
from auricle.serve.database import Database
from auricle.serve.errors import Refused
from auricle.serve.hearing import UPLOAD, hear
from auricle.serve.job import Ended, Job, stamp
from auricle.serve.keptscores import KeptScores
from auricle.serve.pictures import Spectrum
from auricle.serve.state import Service
from auricle.serve.uploads import Upload

logger = logging.getLogger("auricle.serve")

KIND = "recording"  # of jobs
LISTED = 1000  # recordings of a visitor
MOST_CORRECTIONS = 20_000  # of a recording
LOOK_SECONDS = 15.0  # how often what is old is looked for
TOUCH_SECONDS = 60.0  # how exactly it is known when a recording was last looked at
FILE = "library.sqlite"


class Library:
    """The recordings of a service.

    Args:
        service: that is starting; its queue learns to work on recordings.

    Raises:
        ValueError: the file of an earlier service cannot be used.
    """

    def __init__(self, service: Service):
        self.service = service
        self.folder = service.data / "recordings"
        self.folder.mkdir(exist_ok=True)
        self.database = Database(service.data / FILE)
        service.jobs.kinds[KIND] = self._work
        # What was on its way when an earlier service ended, and nobody was told of.
        self.database.change("DELETE FROM recordings WHERE state = 'waiting' AND job IS NULL")
        self._remove_orphans()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="auricle-library", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the file."""
        self._over.set()
        self._thread.join(10.0)
        self.database.close()

    @property
    def mark(self) -> str:
        """What tells this service's cookies from another's: kept with what they lead to."""
        (row,) = self.database.rows("SELECT mark FROM service")
        return str(row["mark"])

    # ---- recordings

    def add(self, visitor: str, upload: Upload) -> dict[str, str]:
        """Keep an upload and have it heard: {"id", "job"}.

        Raises:
            Refused: as `JobQueue.submit`; the upload is then gone.
        """
        id, now, artifact = secrets.token_urlsafe(16), time.time(), self.service.artifact
        folder = self.folder / id
        try:
            folder.mkdir(mode=0o700)
            upload.path.replace(folder / UPLOAD)
            self.database.change(
                "INSERT INTO recordings (id, visitor, name, bytes, created, touched, model, fingerprint,"
                " state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting')",
                *(id, visitor, upload.name, upload.size, now, now, artifact.name, artifact.fingerprint),
            )
            job = self.service.jobs.submit(KIND, {"recording": id}, name=upload.name)
            self.database.change("UPDATE recordings SET job = ? WHERE id = ?", job.id, id)
        except BaseException:
            upload.remove()
            self._remove(id)
            raise
        return {"id": id, "job": job.id}

    def get(self, visitor: str, id: str) -> "Recording":
        """A visitor's recording.

        Raises:
            Refused: 404 where they have none of that name.
        """
        row = self.database.row("SELECT * FROM recordings WHERE id = ? AND visitor = ?", id, visitor)
        if row is None or not visitor:
            raise Refused(404, f"no recording {id[:64]!r} of yours; it may have expired: upload it again")
        renewed = row["touched"] < time.time() - TOUCH_SECONDS
        if renewed:
            self.database.change("UPDATE recordings SET touched = ? WHERE id = ?", time.time(), id)
        return Recording(self, self._settled(row), renewed)

    def all_of(self, visitor: str) -> list["Recording"]:
        """A visitor's recordings, the newest first."""
        sql = "SELECT * FROM recordings WHERE visitor = ? ORDER BY created DESC, rowid DESC LIMIT ?"
        return [Recording(self, self._settled(row)) for row in self.database.rows(sql, visitor, LISTED)]

    def delete(self, visitor: str, id: str) -> None:
        """Remove a recording and what was said of it; its job ends.

        Raises:
            Refused: as `get`.
        """
        self.get(visitor, id)
        self._remove(id)

    def counts(self) -> dict[str, int]:
        """How many recordings and corrections there are."""
        tables = ("recordings", "corrections")
        return {name: self.database.rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}

    # ---- corrections

    def corrections(self, id: str) -> list[sqlite3.Row]:
        """What was said of a recording, in the order in which it was said or changed."""
        return self.database.rows(
            "SELECT * FROM corrections WHERE recording = ? ORDER BY changed, number", id
        )

    def correct(self, id: str, said: Correction) -> dict[str, Any]:
        """Keep what somebody says of a recording.

        Raises:
            Refused: 409 where there is too much already.
        """
        own = secrets.token_urlsafe(9)
        with self.database.changing() as connection:
            sql = "SELECT count(*), coalesce(max(changed), 0) FROM corrections WHERE recording = ?"
            count, latest = connection.execute(sql, (id,)).fetchone()
            if count >= MOST_CORRECTIONS:
                raise Refused(409, f"the recording has {count:,} corrections, which is the most; remove some")
            connection.execute(
                'INSERT INTO corrections (id, recording, label, start, "end", verdict, created, changed)'
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (own, id, *said, time.time(), latest + 1),
            )
        return self.correction(id, own)

    def correction(self, id: str, own: str) -> dict[str, Any]:
        """One thing that was said of a recording.

        Raises:
            Refused: 404 where it was not.
        """
        row = self.database.row("SELECT * FROM corrections WHERE id = ? AND recording = ?", own, id)
        if row is None:
            raise Refused(404, f"no correction {own[:64]!r} of this recording; ask for the list of them")
        return described(row)

    def change_correction(self, id: str, own: str, said: Correction) -> dict[str, Any]:
        """Say something else in place of what was said.

        Raises:
            Refused: as `correction`.
        """
        self.database.change(
            'UPDATE corrections SET label = ?, start = ?, "end" = ?, verdict = ?, changed = 1 + '
            "(SELECT max(changed) FROM corrections WHERE recording = ?) WHERE id = ? AND recording = ?",
            *(*said, id, own, id),
        )
        return self.correction(id, own)

    def remove_correction(self, id: str, own: str) -> None:
        """Take back what was said.

        Raises:
            Refused: as `correction`.
        """
        self.correction(id, own)
        self.database.change("DELETE FROM corrections WHERE id = ? AND recording = ?", own, id)

    # ---- work

    def _work(self, job: Job) -> dict[str, Any]:
        id = job.arguments["recording"]
        folder = self.folder / id
        if not (folder / UPLOAD).is_file():
            raise Refused(410, f"{job.name}: is not there any more; upload it again")
        try:
            found = hear(self.service, job, folder)
        except FileNotFoundError:
            if folder.is_dir():
                raise
            raise Ended("cancelled") from None  # it was deleted meanwhile
        artifact = self.service.artifact
        self.database.change(
            "UPDATE recordings SET state = 'done', error = NULL, found = ?, model = ?, fingerprint = ?"
            " WHERE id = ?",
            *(json.dumps(found), artifact.name, artifact.fingerprint, id),
        )
        return {}

    def job_of(self, row: sqlite3.Row) -> Job | None:
        """The job that a recording waits for, where it is still known."""
        try:
            return self.service.jobs.get(row["job"]) if row["job"] else None
        except Refused:
            return None

    def _settled(self, row: sqlite3.Row) -> sqlite3.Row:
        """The same, with its job's end noted, if that has ended without a result."""
        if row["state"] != "waiting" or row["job"] is None:
            return row
        job = self.job_of(row)
        if job is not None and job.state not in ("failed", "cancelled"):
            return self._again(row) if job.state == "done" else row
        state, error = ("cancelled", None) if job is None else (job.state, job.error)
        self.database.change(
            "UPDATE recordings SET state = ?, error = ? WHERE id = ? AND state = 'waiting'",
            state,
            error,
            row["id"],
        )
        self._empty(row["id"])
        return self._again(row)

    def _again(self, row: sqlite3.Row) -> sqlite3.Row:
        return self.database.row("SELECT * FROM recordings WHERE id = ?", row["id"]) or row

    # ---- what goes

    def expire(self, now: float) -> None:
        """Remove what nobody looked at for as long as things are kept."""
        last = now - self.service.settings.keep_hours * 3600
        for row in self.database.rows(
            "SELECT id FROM recordings WHERE touched < ? AND state <> 'waiting'", last
        ):
            self._remove(row["id"])

    def _remove(self, id: str) -> None:
        row = self.database.row("SELECT * FROM recordings WHERE id = ?", id)
        self.database.change("DELETE FROM recordings WHERE id = ?", id)
        if row is not None and row["job"]:
            self.service.jobs.forget(row["job"])
        shutil.rmtree(self.folder / id, ignore_errors=True)

    def _empty(self, id: str) -> None:
        """What failed or was cancelled needs no room."""
        for path in (self.folder / id).glob("*"):
            path.unlink(missing_ok=True)

    def _remove_orphans(self) -> None:
        known = {row["id"] for row in self.database.rows("SELECT id FROM recordings")}
        for folder in self.folder.iterdir():
            if folder.name not in known and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    def _look_after(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                for row in self.database.rows("SELECT * FROM recordings WHERE state = 'waiting'"):
                    self._settled(row)
                self.expire(time.time())
            except Exception:  # a full disk, say; it is tried again
                logger.exception("the library")


class Recording:
    """A recording of the library.

    Args:
        library: that has it.
        row: what is known of it.
        renewed: whether it is kept for longer from now on, since somebody looks at it.
    """

    def __init__(self, library: Library, row: sqlite3.Row, renewed: bool = False):
        self.library, self.row, self.renewed = library, row, renewed
        self.id, self.name = str(row["id"]), str(row["name"])

    @functools.cached_property
    def found(self) -> dict[str, Any] | None:
        """What `hear` found, once it has."""
        return json.loads(self.row["found"]) if self.row["found"] else None

    @property
    def folder(self) -> Path:
        """Of its files."""
        return self.library.folder / self.id

    @property
    def is_of_this_model(self) -> bool:
        """Whether the model that is served is the one that heard it."""
        return bool(self.row["fingerprint"] == self.library.service.artifact.fingerprint)

    def heard(self) -> dict[str, Any]:
        """What was found.

        Raises:
            Refused: 409 until it is; 410 where another model heard it.
        """
        state, error = self.state()
        if state == "done" and self.found is not None:
            return self.found
        if state == "failed":
            raise Refused(409, f"the recording could not be tagged: {error}")
        raise Refused(
            409, f"the recording is {state}; ask /v1/recordings/{self.id} how far it is", {"Retry-After": "1"}
        )

    def scores(self) -> KeptScores:
        """What the model said of it.

        Raises:
            Refused: as `heard`.
        """
        hop = int(self.heard()["hop"])
        return KeptScores(self.folder, self.library.service.artifact, hop)

    def spectrum(self) -> Spectrum:
        """Of its spectrogram.

        Raises:
            Refused: as `heard`.
        """
        return Spectrum(**self.heard()["spectrogram"])

    def corrections(self) -> list[Correction]:
        """What was said of it, in order."""
        rows = self.library.corrections(self.id)
        return [Correction(row["label"], row["start"], row["end"], row["verdict"]) for row in rows]

    def media(self) -> tuple[Path, str]:
        """The file that browsers play, and its type.

        Raises:
            Refused: 404 where there is none; as `heard`.
        """
        if self.found is None:
            self.heard()
        assert self.found is not None
        if self.found["media"] is None:
            raise Refused(
                404, f"{self.name}: cannot be played in a browser; {' '.join(self.found['warnings'])}"
            )
        return self.folder / self.found["media"], self.found["type"]

    def state(self) -> tuple[str, str | None]:
        """How far it is, and what went wrong."""
        state, error = self.row["state"], self.row["error"]
        if state == "done" and not self.is_of_this_model:
            return "failed", f"it was tagged by another model, {self.row['model']}; upload it again"
        if state != "waiting":
            return state, error
        job = self.library.job_of(self.row)
        if job is None or job.state == "done":
            return "queued", None  # it will be noted in a moment
        return job.state, job.error

    def about(self) -> dict[str, Any]:
        """What the page is told."""
        state, error = self.state()
        row, found = self.row, self.found if state == "done" else None
        job = self.library.job_of(row) if row["state"] == "waiting" else None
        rate = found["rate"] if found else 1
        keep = self.library.service.settings.keep_hours * 3600
        (count,) = self.library.database.rows(
            "SELECT count(*) FROM corrections WHERE recording = ?", self.id
        )[0]
        return {
            "id": self.id,
            "name": self.name,
            "bytes": row["bytes"],
            "created": stamp(row["created"]),
            "expires": stamp(row["touched"] + keep),
            "kind": found["kind"] if found else "audio",
            "model": row["model"],
            "duration": found["duration"] if found else (job.duration if job else None),
            "state": state,
            "job": row["job"] if state in ("queued", "running", "interrupted") else None,
            "progress": job.progress if job and state in ("queued", "running") else None,
            "error": error,
            "warnings": found["warnings"] if found else [],
            "tags": found["tags"] if found else [],
            "corrections": count,
            "hop": found["hop"] / rate if found else None,
            "window": found["window"] / rate if found else None,
            "playable": bool(found and found["media"]),
            "spectrogram": Spectrum(**found["spectrogram"]).about() if found else None,
        }


def described(row: sqlite3.Row) -> dict[str, Any]:
    """A correction as the page is told."""
    names = ("id", "label", "start", "end", "verdict")
    return {name: row[name] for name in names} | {"created": stamp(row["created"])}


def said_of(rows: Sequence[sqlite3.Row]) -> list[dict[str, Any]]:
    """Corrections as the page is told of them."""
    return [described(row) for row in rows]
