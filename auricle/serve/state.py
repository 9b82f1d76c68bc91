"""What the routes of a service share."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from auricle.artifact import Artifact
from auricle.serve.jobs import JobQueue
from auricle.serve.scoring import Scorer
from auricle.serve.settings import Settings
from auricle.serve.space import Space
from auricle.serve.turns import Turns

if TYPE_CHECKING:
    from fastapi import FastAPI


@dataclass(kw_only=True)
class Service:
    """A running service.

    Args:
        settings: what it was told.
        data: the folder that it keeps its things in.
        artifact: the model.
        scorer: that everything is scored by.
        jobs: that wait, run and are done.
        library: recordings behind the page.
        metrics: what is counted.
        stopping: set once nothing new is taken.
        uploading: uploads under way; counted in the event loop, as
        listening: clients that are listened to live.
        writing: large results that are written and sent.
    """

    settings: Settings
    data: Path
    artifact: Artifact
    scorer: Scorer
    jobs: JobQueue
    library: Any = None
    metrics: Any = None
    stopping: threading.Event = field(default_factory=threading.Event)
    uploading: int = 0
    listening: int = 0
    writing: Turns = field(default_factory=Turns)

    @cached_property
    def space(self) -> Space:
        """The room that `data` has."""
        return Space(self.data, self.settings.max_data_bytes)

    @property
    def models(self) -> dict[str, Artifact]:
        """The models by name: one."""
        return {self.artifact.name: self.artifact}


async def get_service(connection: HTTPConnection) -> Service:
    """The service that a request or a WebSocket came to.

    It is no plain function, and neither are others of which every request has need: those are run in one of a
    few threads, which may all be busy with large answers.
    """
    return service_of(connection.app)


def service_of(app: "FastAPI") -> Service:
    """The service of an app that has started."""
    service = app.state.service
    assert isinstance(service, Service)
    return service


Ours = Annotated[Service, Depends(get_service)]
