"""A verb that answers others: serve."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

GIB = 1 << 30


def serve(
    model: Annotated[
        str, typer.Option(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ] = "default",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all, which wants a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8765,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Recordings below may be tagged by path; at first none."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Uploads, jobs, corrections; at first gone when the service ends."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Clients must show the token in this file.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name the service goes by; may be given again."),
    ] = None,
    open: Annotated[
        bool, typer.Option("--open", help="Listen beyond this machine without a token: anybody may ask.")
    ] = False,
    max_upload: Annotated[float, typer.Option(min=0.001, metavar="GIB", help="Largest upload.")] = 2.0,
    max_hours: Annotated[float, typer.Option(min=0.01, metavar="H", help="Longest recording.")] = 24.0,
    max_data: Annotated[float, typer.Option(min=0.001, metavar="GIB", help="Most that --data holds.")] = 20.0,
    keep_hours: Annotated[
        float, typer.Option(min=0.01, metavar="H", help="Recordings and results are kept so long.")
    ] = 24.0,
    queue: Annotated[int, typer.Option(min=1, metavar="N", help="Recordings that may wait.")] = 64,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Recordings read at the same time.")] = 4,
    live: Annotated[
        int, typer.Option(min=0, metavar="N", help="Clients that may listen live at the same time.")
    ] = 8,
    job_seconds: Annotated[
        float, typer.Option(min=1, metavar="S", help="Longest that one recording may take.")
    ] = 3600.0,
    grace: Annotated[
        float, typer.Option(min=0, metavar="S", help="For what runs and waits, once asked to end.")
    ] = 30.0,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads for scoring; all cores at first.")
    ] = None,
) -> None:
    """Answer over HTTP, with a page to listen, look and correct.

    Drop a recording on the page, or send it: `curl -F file=@dog.wav http://127.0.0.1:8765/v1/tag`. The scores
    are those of `auricle tag`. Ctrl-C or SIGTERM ends it: what runs and waits is finished first, and what is
    not is taken up at the next start with the same --data. Needs the extra `serve`.
    """
    require_serve()
    from auricle.serve.settings import Settings

    settings = Settings(
        model=model,
        host=host,
        port=port,
        root=root,
        data=data,
        token=None if token_file is None else read_token(token_file),
        allowed_hosts=tuple(allowed_host or ()),
        max_upload_bytes=_whole(max_upload * GIB),
        max_audio_seconds=max_hours * 3600,
        max_data_bytes=_whole(max_data * GIB),
        keep_hours=keep_hours,
        queue=queue,
        jobs_at_once=jobs,
        live_sessions=live,
        job_seconds=job_seconds,
        grace_seconds=grace,
        threads=threads,
    )
    if not settings.is_loopback and settings.token is None and not open:
        raise typer.BadParameter(
            f"{host} is reached from other machines, and anybody there might ask: give --token-file FILE, or "
            "--open where that is meant",
            param_hint="--host",
        )
    run(settings)


def _whole(value: float) -> Any:
    """A whole number; what is none, inf say, as it is, for the settings to refuse."""
    return round(value) if math.isfinite(value) else value


def run(settings: Any) -> None:
    """Serve until asked to end.

    Raises:
        ValueError: the address is taken, the model is broken, or the folder is another service's.

    >>> run(Settings(port=0))  # doctest: +SKIP
    """
    import logging

    from auricle.artifact import load_artifact
    from auricle.progress import say
    from auricle.serve.server import make_server

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    name = load_artifact(settings.model).name  # a wrong model is one clear line
    if settings.data is None:
        say("uploads, jobs and corrections are gone when the service ends; --data DIR keeps them")

    def ready(address: str) -> None:
        print(f"auricle serves {name} at {address} (Ctrl-C ends it)", flush=True)

    server = make_server(settings, ready)
    server.run()


def require_serve() -> None:
    """Say what to install where the extra is missing.

    Raises:
        ModuleNotFoundError: which `auricle.cli.output.describe` makes a line of.

    >>> require_serve()
    """
    from importlib.util import find_spec

    for name in ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


def read_token(path: Path) -> str:
    """The token in a file, without what surrounds it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "token").write_text("0123456789abcdef" + chr(10))
    ...     read_token(Path(folder, "token"))
    '0123456789abcdef'
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: holds no token; write one, say with `openssl rand -hex 32`") from None
    if not text:
        raise ValueError(f"{path}: is empty; write a token into it, say with `openssl rand -hex 32`")
    return text
