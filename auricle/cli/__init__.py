"""The `auricle` command: parse, call one function, print.

Exit status: 0 all well, 1 something failed (and it is named), 2 wrong usage, 130 interrupted, 143 terminated;
1, and no word, where whoever reads the results (head, less) has closed the pipe before all were written.
Results go to standard output and nothing else does; errors, warnings and progress go to standard error. One
file per group of verbs: recordings.py (tag), embedding.py (embed), inputs.py (inputs), search.py (index,
find), review.py (review), convert.py (convert), timeline.py (timeline, report), corpora.py (pack, evaluate),
urban.py (evaluate --protocol urban), labels.py (labels, subset), annotations.py (annotations, urban-scenes),
scenes.py (scenes), networks.py (train, check, export, models, filters), experiments.py (compare, sweep),
planning.py (plan), calibration.py (calibrate), doctor.py (doctor), serve.py (serve).
"""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from auricle.cli.annotations import annotations, urban_scenes
from auricle.cli.augment import augment
from auricle.cli.calibration import calibrate
from auricle.cli.completion import completed
from auricle.cli.convert import convert
from auricle.cli.corpora import evaluate, pack
from auricle.cli.doctor import doctor
from auricle.cli.embedding import embed
from auricle.cli.events import events
from auricle.cli.experiments import compare, sweep
from auricle.cli.importing import efficientat, onnx, panns, tflite, vggish, yamnet
from auricle.cli.inputs import inputs
from auricle.cli.labels import labels, subset
from auricle.cli.networks import average, check, export, filters, models, train
from auricle.cli.options import quieted
from auricle.cli.output import describe, print_error, show_warning
from auricle.cli.planning import plan
from auricle.cli.recordings import tag
from auricle.cli.review import review
from auricle.cli.scenes import scenes
from auricle.cli.search import find, index
from auricle.cli.serve import serve
from auricle.cli.timeline import report, timeline

OTHERS_SPEAK = 3.0  # seconds


class ReaderGone(Exception):
    """Whoever reads the results has closed the pipe; no OSError, which click would make its own end of."""


class Verbs(TyperGroup):
    """Verbs, each with the whole first sentence of its help: where it is too long, on several lines."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102  of its base
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: D102  of its base
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, verb.get_short_help_str(limit=1000)) for name, verb in commands if verb is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Verb(TyperCommand):
    """A verb whose errors say what came, beside what was expected."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102  of its base
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _with_value(error.message, getattr(error.param, "opts", []), given)
            raise


def _with_value(message: str, options: list[str], given: list[str]) -> str:
    """What is said of a wrong value, with the value in it.

    >>> _with_value("Input should be less than or equal to 1", ["--threshold"], ["a.wav", "--threshold", "2"])
    "'2'; expected something less than or equal to 1"
    """
    message = message.removeprefix("Value error, ")
    before, expected, what = message.partition("Input should be ")
    if before or not expected:
        return message
    values = [value for option, value in zip(given, given[1:], strict=False) if option in options]
    values += [text.partition("=")[2] for text in given if text.partition("=")[0] in options and "=" in text]
    came = " or ".join(repr(value) for value in values)
    wish = "" if what.startswith("a ") else "something "
    return f"{came}{'; ' * bool(came)}expected {wish}{what.partition(',')[0]}"


# Plain help and plain errors: they start faster than rich ones, and one line stays one line.
app = typer.Typer(cls=Verbs, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


def _version(asked: bool) -> None:
    if asked:
        from auricle import __version__

        print(f"auricle {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Say which sounds are in a recording, and when; train and judge the models that do."""
    started = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    if started > 1 and context.invoked_subcommand != "train":
        raise ValueError(
            f"torchrun has started {started} processes, each of which would do all of `auricle "
            f"{context.invoked_subcommand}`: only train shares its work out; start others without torchrun"
        )


for _verb, _example in (
    (tag, "auricle tag film.mp4 recordings/ --top 3"),
    (timeline, "auricle timeline film.mp4 --out tagged.mp4"),
    (embed, "auricle embed recordings/ --out x.parquet"),
    (inputs, "auricle inputs street.wav --out street.png"),
    (index, "auricle index recordings/ --out out/index"),
    (find, "auricle find siren.wav --index out/index --top 20"),
    (review, "auricle review out/index --label siren --example siren.wav --out labels.csv"),
    (convert, "auricle convert labels/ --recordings recordings/ --out events.csv"),
    (pack, "auricle pack meta.csv out/pack"),
    (labels, "auricle labels out/pack --most-frequent 400 --name top400"),
    (subset, "auricle subset out/pack --name balanced --split eval --balanced 33"),
    (scenes, "auricle scenes out/pack out/scenes --scenes 1000 --seed 1"),
    (
        annotations,
        "auricle annotations annotations.csv --taxonomy taxonomy.yaml --pack out/pack --agreement 0.5",
    ),
    (urban_scenes, "auricle urban-scenes out/esc50 out/urban --scenes train=600 --scenes validate=150"),
    (augment, "auricle augment dog.wav --out changed.wav --pitch 2 --noise pink --snr 15"),
    (train, "auricle train --data out/pack --out out/run --recipe compact-esc50"),
    (evaluate, "auricle evaluate out/run/best out/pack --split fold5"),
    (events, "auricle events default out/scenes --split validation --hop 0.5 --out out/mine"),
    (
        calibrate,
        "auricle calibrate out/run/best out/pack --split fold5 --precision 0.9 --out out/calibrated",
    ),
    (report, "auricle report out/eval out/run --out out/figures"),
    (compare, "auricle compare architectures --data out/esc50 --out out/table2 --test-splits fold5"),
    (
        sweep,
        "auricle sweep --data out/pack --out out/sweep --preset hershey-fully-connected --set steps=2000",
    ),
    (plan, "auricle plan --hours 5.24e6 --clips 70e6 --labels 30871 --model resnet50 --costs hershey-2017"),
    (average, "auricle average runs/first/last runs/second/last --out runs/mean"),
    (check, "auricle check out/run/best"),
    (doctor, "auricle doctor default recordings/"),
    (export, "auricle export out/run/best model.onnx"),
    (serve, "auricle serve --root recordings/ --data out/served"),
    (models, "auricle models --classes 50"),
    (filters, "auricle filters out/run/best --out filters.png"),
):
    app.command(cls=Verb, epilog=f"Example: {_example}")(quieted(completed(_verb)))

_imports = typer.Typer(cls=Verbs, rich_markup_mode=None, no_args_is_help=True, add_completion=False)
app.add_typer(_imports, name="import", help="Make a model of published weights.")
for _import, _example in (
    (tflite, "auricle import tflite yamnet.tflite --embedding layer28/reduce_mean --out yamnet"),
    (onnx, "auricle import onnx perch_v2.onnx --rate 32000 --labels labels.csv --outputs logits --out perch"),
    (panns, "auricle import panns Cnn14_mAP=0.431.pth --out cnn14"),
    (efficientat, "auricle import efficientat mn10_as_mAP_471.pt --out mn10"),
    (yamnet, "auricle import yamnet yamnet.h5 --out yamnet-float"),
    (vggish, "auricle import vggish --weights vggish-10086976.pth --pca vggish_pca_params.npz --out vggish"),
):
    _imports.command(cls=Verb, epilog=f"Example: {_example}")(quieted(completed(_import)))


def verbs() -> dict[str, Any]:
    """Every verb, by what stands after `auricle`, and its command.

    >>> "tag" in verbs() and "import vggish" in verbs()
    True
    """
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {last}": inner[last] for last in inner}
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    Args:
        arguments: what stands after `auricle`; None takes the process's own.

    Raises:
        SystemExit: always, with the status.

    >>> try:
    ...     main(["--version"])
    ... except SystemExit as done:
    ...     done.code
    auricle 0.1.0
    0
    """
    if sys.stderr is None:  # closed by the shell: print(file=None) would put errors among the results
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name that is not UTF-8 is printed escaped, never a crash
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings(), _terminated_cleanly():
            warnings.showwarning = show_warning
            app(arguments, prog_name="auricle")
    except SystemExit as done:
        if _one_of_several() and (done.code is None or isinstance(done.code, int)):
            leave(done.code or 0)
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError as error:
            _end_at_once(error)
        except OSError:  # a full disk: Python itself says so
            pass
        raise
    except ReaderGone as gone:
        _end_at_once(gone.__cause__)
    except BrokenPipeError as error:
        _end_at_once(error)
    except Exception as error:
        if os.environ.get("AURICLE_DEBUG") == "1":
            raise
        _say(error)
        leave(1)


@contextlib.contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM (of a service manager, a container, a queue of jobs) ends workers and temporary files, too.

    One of several processes is left to end at once: it may wait for another that is gone.
    """
    ours = threading.current_thread() is threading.main_thread() and not _one_of_several()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: Any) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _say(error: Exception) -> None:
    """Print an error; of several processes started together, by which of them it was met.

    What another process has ended for is said here once a machine, and then waited with: torchrun ends all
    processes when it sees one end, also those that have not yet said why.
    """
    elsewhere = getattr(error, "elsewhere", False)
    if not elsewhere or os.environ.get("LOCAL_RANK", "0") == "0":
        print_error((f"process {os.environ['RANK']}: " if _one_of_several() else "") + describe(error))
    if elsewhere:
        time.sleep(OTHERS_SPEAK)


def _end_at_once(error: BaseException | None) -> NoReturn:
    """End where nobody reads on; Python's own leave would wait for a decoder at work in a thread, or abort.

    What the work held (workers, temporary files) lives on in the error's frames, and goes with them.
    """
    if error is not None:
        traceback.clear_frames(error.__traceback__)
    with contextlib.suppress(Exception):
        if (util := sys.modules.get("multiprocessing.util")) is not None:
            util._run_finalizers(0)  # semaphores
            # What another thread has given back by half, the tracker of semaphores would call a leak.
            tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
            if pid := getattr(tracker, "_pid", None):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(1)


def _one_of_several() -> bool:
    """Whether torchrun has started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def leave(status: int) -> NoReturn:
    """End the process with this status, also where standard output takes no more: Python would say 120.

    One of several processes ends at once. The threads of gloo may wait for another process that is gone, and
    abort a Python that takes its leave of everything.

    >>> try:
    ...     leave(1)
    ... except SystemExit as done:
    ...     done.code
    1
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if _one_of_several():
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
