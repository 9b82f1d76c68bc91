"""Strangers' files are decoded as the command line does it, and harm nothing but their own process."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import caged
import numpy as np
import pytest
from media import RATE, tone, write_media, write_pcm

from auricle.audio import AudioError, blocks, probe, read
from auricle.serve import processes
from auricle.serve.decoding import (
    REMEDIES,
    Died,
    Limits,
    Stopped,
    close,
    deaths,
    decode,
    for_senders,
    make_playable,
    playable,
    warm,
)

TIGHT = Limits(memory=256 << 20, wait_seconds=2.0, audio_seconds=3600)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    warm()
    yield
    close()


def heard(path: object, rate: int | None = 16_000, limits: Limits | None = None, **options: object):
    with decode(path, rate, limits, **options) as decoded:
        return list(decoded), decoded


def line_of(work: str, tmp_path: Path, limits: Limits = TIGHT, **options: object) -> Died:
    """What is said of a file whose decoder does that; afterwards the next file is decoded as ever."""
    path = write_pcm(tmp_path / "x.wav", tone(16_000, 0.5), 16_000)
    with pytest.raises(AudioError) as caught:
        heard(path, name="mine.wav", work=f"caged:{work}", limits=limits, **options)
    line = str(caught.value)
    assert "\n" not in line and len(line) <= 1000
    assert sum(len(block.samples) for block in heard(path)[0]) == 8_000
    return caught.value  # type: ignore[return-value]


@pytest.mark.parametrize(
    "kind", ["wav", "mp3", "flac", "ogg", "opus", "mp4", "webm", "mka", "mkv", "aiff", "ts"]
)
def test_blocks_are_those_of_the_command_line_to_the_last_bit(kind: str, long_files: dict[str, Path]) -> None:
    path = long_files[kind]
    for rate in (16_000, None):
        for place in ({}, {"start": 1.234, "end": 4.5}, {"start": 5.0}):
            expected = list(blocks(path, rate, block_seconds=2.0, warn=lambda line: None, **place))
            got, decoded = heard(path, rate, block_seconds=2.0, **place)
            assert [block.start for block in got] == [block.start for block in expected]
            for ours, theirs in zip(got, expected, strict=True):
                assert ours.samples.dtype == np.float32 and np.array_equal(ours.samples, theirs.samples)
        facts = probe(path)
        assert (decoded.info.rate, decoded.info.codec) == (facts.rate, facts.codec)
        assert (decoded.duration, decoded.info.has_video) == (facts.duration, facts.has_video)


def test_a_range_far_into_a_long_file_is_sought_and_equal(tmp_path: Path) -> None:
    path = write_media(tmp_path / "long.mp4", tone(RATE, 40.0), RATE, "aac", video_seconds=40.0)
    expected = list(blocks(path, 16_000, start=30.5, end=33.0))
    got, _ = heard(path, start=30.5, end=33.0)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(got, expected, strict=True))


def test_errors_and_warnings_are_those_of_the_command_line_under_the_clients_name(tmp_path: Path) -> None:
    whole = write_pcm(tmp_path / "whole.wav", tone(16_000, 1.0), 16_000)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[:20_000])
    warned: list[str] = []
    list(blocks(cut, 16_000, warn=warned.append))
    _, decoded = heard(cut, name="rain.wav")
    assert decoded.warnings == [line.replace(str(cut), "rain.wav") for line in warned] and warned
    for content, start in (
        (b"", 0.0),
        (b"hello, world", 0.0),
        (np.random.default_rng(1).bytes(5000), 0.0),
        (whole.read_bytes(), 9.0),
    ):
        bad = tmp_path / "bad"
        bad.write_bytes(content)
        with pytest.raises(AudioError) as expected:
            list(blocks(bad, 16_000, start=start, warn=lambda line: None))
        with pytest.raises(AudioError) as got:
            heard(bad, name="rain.wav", start=start)
        assert str(got.value) == for_senders(str(expected.value).replace(str(bad), "rain.wav"))
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be opened \(No such file"):
        heard(tmp_path / "gone.wav", name="gone.wav")


def test_what_is_advised_can_be_done_by_who_sent_the_file(tmp_path: Path) -> None:
    odd = bytearray(write_pcm(tmp_path / "odd.wav", tone(16_000, 0.1), 16_000).read_bytes())
    odd[24:28] = (1).to_bytes(4, "little")  # samples a second
    contents = {
        "random": np.random.default_rng(1).bytes(5000),
        "text": b"hello, world",
        "empty": b"",
        "header": bytes(odd),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError) as caught:
            heard(tmp_path / name, name=name)
        line = str(caught.value)
        advice = line.split("; ", 1)[1]
        assert advice in REMEDIES.values(), line
        assert "PCM" not in advice and "name a" not in advice and "--" not in advice
    sources = "".join(path.read_text() for path in (Path(blocks.__code__.co_filename).parent).glob("*.py"))
    assert [remedy for remedy in REMEDIES if f'"{remedy}"' not in sources] == []  # it says them still


def test_a_descriptor_is_read_from_its_beginning_by_two_at_once_and_stays_open(tmp_path: Path) -> None:
    path = write_pcm(tmp_path / "x.wav", tone(16_000, 30.0), 16_000)
    with path.open("rb") as file:
        file.read(1000)
        with decode(file.fileno(), 16_000, name="x.wav") as first, decode(file.fileno(), 16_000) as second:
            both = zip(first, second, strict=True)
            assert all(np.array_equal(one.samples, other.samples) for one, other in both)
        assert file.read(4) == path.read_bytes()[1000:1004]


@pytest.mark.parametrize(
    ("work", "cause", "says"),
    [
        ("allocate", "memory", "took more than 256 MB of memory"),
        ("allocate_in_c", "crash", "made the decoder crash (SIGSEGV)"),
        ("spin", "time", "took too long"),
        ("sleep", "time", "took too long"),
        ("trickle", "time", "took too long"),
        ("crash", "crash", "made the decoder crash (SIGSEGV)"),
        ("abort", "crash", "made the decoder crash"),
        ("leave", "garbage", "gave no sensible answer"),
        ("garbage", "garbage", "gave no sensible answer"),
        ("endless_frame", "garbage", "gave no sensible answer"),
        ("bad_facts", "garbage", "gave no sensible answer"),
        ("nothing", "garbage", "gave no sensible answer"),
        ("not_finite", "garbage", "gave no sensible answer"),
        ("elsewhere", "garbage", "gave no sensible answer"),
        ("endless_sound", "length", "is longer than the 60 s that are taken here (it goes on)"),
    ],
)
def test_a_process_that_does_its_worst_ends_alone_with_one_clear_line(
    work: str, cause: str, says: str, tmp_path: Path
) -> None:
    patience = 0.5 if cause == "time" else 20.0
    limits = Limits(memory=256 << 20, wait_seconds=patience, audio_seconds=60)
    before = deaths[cause]
    error = line_of(work, tmp_path, limits)
    assert error.cause == cause and deaths[cause] == before + 1
    assert str(error).startswith("mine.wav: ") and says in str(error) and "; " in str(error), str(error)


def test_lines_of_a_process_are_made_short_harmless_and_few(tmp_path: Path) -> None:
    path = write_pcm(tmp_path / "x.wav", tone(16_000, 0.5), 16_000)
    with pytest.raises(AudioError) as caught:
        with decode(path, 16_000, work="caged:many_lines") as decoded:
            list(decoded)
    assert str(caught.value).startswith(r"a\nb\x1b[31myyy") and len(str(caught.value)) == 1000
    assert len(decoded.warnings) == 100 and decoded.warnings[0].startswith(r"warning 0\x1b[2J\nxxx")


def test_a_process_opens_no_file_no_socket_and_no_process(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        port = canary.getsockname()[1]
        error = line_of("open_things", tmp_path, start=str(secret), end=float(port))
        assert str(error).startswith("possible: []; tried 1"), error
        with pytest.raises(TimeoutError):
            canary.accept()


LAYER = """
import os, socket, sys
from auricle.serve import confine
without = sys.argv[1]
if without == "filter":
    confine._filter_calls = lambda prctl: False
else:
    import resource
    lower, free = confine._limit, {resource.RLIMIT_NOFILE}
    confine._limit = lambda kind, value: None if kind in free else lower(kind, value)
os.closerange(3, 4096)
confine.confine(memory=1 << 30, cpu_seconds=60, open_files=3)
done = []
attempts = {
    "file": lambda: os.open("/etc/hostname", os.O_RDONLY), "socket": socket.socket, "pipe": os.pipe,
    "duplicate": lambda: os.dup(0),
}
for name, attempt in attempts.items():
    try:
        attempt()
        done.append(name)
    except OSError:
        pass
os.write(1, repr(done).encode())
os._exit(0)
"""


@pytest.mark.parametrize("without", ["filter", "limit"])
def test_each_of_two_layers_alone_keeps_files_and_sockets_closed(without: str) -> None:
    if without == "limit" and not caged.FILTERED:
        pytest.skip("system calls are filtered on Linux only")
    command = [sys.executable, "-c", LAYER, without]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.stdout == "[]", done


def test_a_process_that_is_not_wanted_any_more_is_gone(tmp_path: Path) -> None:
    path = write_pcm(tmp_path / "x.wav", tone(16_000, 60.0), 16_000)
    with decode(path, 16_000, work="caged:endless_sound") as decoded:
        next(iter(decoded))
        assert children()
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        heard(path, work="caged:sleep", stop=stop)
    assert time.monotonic() - began < 2
    deadline = time.monotonic() + 5
    while children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not children()


def children() -> list[str]:
    """Processes that the fork server has, zombies with them."""
    server = processes._SERVER._process
    assert server is not None
    return Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()


def test_decoders_hold_nothing_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_TOKEN", "a-secret-of-the-service")
    close()
    warm()
    server = processes._SERVER._process
    assert server is not None
    assert b"a-secret" not in Path(f"/proc/{server.pid}/environ").read_bytes()
    names = {str(link.readlink()) for link in Path(f"/proc/{server.pid}/fd").iterdir()}
    assert not any(str(tmp_path.parent) in name for name in names)


@pytest.mark.parametrize("kind", ["flac", "ogg", "wv"])
def test_a_small_file_of_much_silence_is_taken_up_to_the_limit_only(kind: str, tmp_path: Path) -> None:
    bomb = tmp_path / f"bomb.{kind}"
    _write_silence(bomb, seconds=1200)
    assert bomb.stat().st_size < 300_000
    taken = 0.0
    with pytest.raises(Died) as caught:
        with decode(bomb, 1_000, Limits(audio_seconds=300), name="bomb") as decoded:
            for block in decoded:
                taken += len(block.samples) / 1_000
    assert caught.value.cause == "length" and taken <= 320, caught.value
    assert "is longer than the 5 minutes that are taken here" in str(caught.value)
    assert ("its header says 20 minutes of sound" in str(caught.value)) == (taken == 0)
    assert len(heard(bomb, 1_000, Limits(audio_seconds=300), end=30.0)[0]) == 3  # a part may be short enough


def _write_silence(path: Path, seconds: float) -> None:
    kinds = {"flac": ("flac", "flac"), "ogg": ("ogg", "libopus"), "wv": ("wv", "wavpack")}
    container, codec = kinds[path.suffix[1:]]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=8_000, layout="mono")
        if codec == "libopus":
            stream.bit_rate = 500
            stream.options = {"frame_duration": "60"}
        size = stream.codec_context.frame_size or 8_000
        form = stream.codec_context.format.name
        dtype = {"u8p": np.uint8, "s16": np.int16, "flt": np.float32}[form]
        zeros = np.full((1, size), 128 if form == "u8p" else 0, dtype)
        silence = av.AudioFrame.from_ndarray(zeros, form, layout="mono")
        silence.sample_rate = 8_000
        for number in range(round(seconds * 8_000 / size)):
            silence.pts = number * size
            out.mux(stream.encode(silence))
        out.mux(stream.encode(None))


LISTS = {  # a line each; {media} is another file, {url} a server
    "hls": (
        *("#EXTM3U", "#EXT-X-TARGETDURATION:5", "#EXTINF:5,", "{media}", "#EXTINF:5,", "{url}/a.ts"),
        "#EXT-X-ENDLIST",
    ),
    "hls key": (
        *("#EXTM3U", "#EXT-X-TARGETDURATION:5", '#EXT-X-KEY:METHOD=AES-128,URI="{url}/key"'),
        *("#EXTINF:5,", "{media}", "#EXT-X-ENDLIST"),
    ),
    "hls master": ("#EXTM3U", "#EXT-X-STREAM-INF:BANDWIDTH=1", "{url}/b.m3u8", "file://{media}"),
    "m3u": ("{url}/a.mp3", "{media}"),
    "ffconcat": (
        *("ffconcat version 1.0", "file '{media}'", "file '{url}/a.wav'"),
        "file 'subfile,,start,0,end,100,,:{media}'",
    ),
    "ffconcat unsafe": (
        *("ffconcat version 1.0", "option safe 0", "option protocol_whitelist file,http,tcp"),
        "file {media}",
    ),
    "dash": (
        *('<?xml version="1.0"?>', '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'),
        *('mediaPresentationDuration="PT5S"><BaseURL>{url}/</BaseURL><Period>',),
        *('<AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">',),
        "<BaseURL>file://{media}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    ),
    "sdp": (
        *("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0"),
        *("m=audio {port} RTP/AVP 0", "a=rtpmap:0 PCMU/8000"),
    ),
    "imf": (
        '<?xml version="1.0"?>',
        '<AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><Path>{media}</Path></AssetMap>',
    ),
    "smil": ('<smil><body><audio src="{url}/a.mp3"/><audio src="{media}"/></body></smil>',),
    "asx": ('<asx version="3.0"><entry><ref href="{url}/a.mp3"/></entry></asx>',),
    "pls": ("[playlist]", "File1={url}/a.mp3", "File2={media}", "NumberOfEntries=2"),
    "webm_dash_manifest": ('<?xml version="1.0"?><MPD><BaseURL>{url}/x.webm</BaseURL></MPD>',),
}
PLAYLISTS = {kind: "\n".join([*lines, ""]) for kind, lines in LISTS.items()}


@pytest.mark.parametrize("suffix", ["{0}", "m3u8", "mp3"])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
def test_a_playlist_reaches_neither_a_server_nor_another_file(
    kind: str, hidden: bool, suffix: str, tmp_path: Path
) -> None:
    media = write_pcm(tmp_path / "canary.wav", tone(16_000, 5.0), 16_000)
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        port = canary.getsockname()[1]
        text = PLAYLISTS[kind].format(media=media, url=f"http://127.0.0.1:{port}", port=port)
        path = tmp_path / f"list.{suffix.format(kind.split()[0])}"
        # With a zero byte it does not look like a text, and FFmpeg gets to see it.
        path.write_bytes(text.encode() + (b"#\0\0\n" if hidden else b""))
        with pytest.raises(AudioError):
            heard(path, name=path.name)
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_not_even_an_ffmpeg_that_may_do_all_reaches_out_of_its_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        url = f"http://127.0.0.1:{canary.getsockname()[1]}"
        path = tmp_path / "list.m3u8"
        path.write_text(PLAYLISTS["hls"].format(media=f"{url}/b.ts", url=url))

        def answer() -> None:
            while True:
                with canary.accept()[0] as connection:
                    if done.is_set():
                        return
                    asked.set()
                    connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")

        asked, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        with path.open("rb") as file, pytest.raises(av.error.FFmpegError):
            caged.trusting(None, file, {}, [])
        assert asked.wait(5)  # so it does where nothing holds it
        asked.clear()
        with pytest.raises(AudioError, match="^FFmpeg says"):
            heard(path, name="list.m3u8", work="caged:trusting")
        done.set()
        socket.create_connection(canary.getsockname()).close()
        thread.join(5)
        assert not asked.is_set()


def test_an_mp4_whose_samples_lie_in_another_file_gives_none_of_it(tmp_path: Path) -> None:
    whole = write_media(tmp_path / "whole.mov", tone(RATE, 5.0), RATE, "pcm_s16le")
    content = bytearray(whole.read_bytes())
    place = content.find(b"dref")
    assert place > 0
    other = b"alis"  # a reference to a file: without its flag "the samples are in this file"
    at = content.find(b"url ", place)
    content[at : at + 4] = other
    content[at + 4 : at + 8] = bytes(4)
    bad = tmp_path / "elsewhere.mov"
    bad.write_bytes(bytes(content))
    try:
        heard(bad, name="elsewhere.mov")
    except AudioError as error:
        assert str(error).startswith("elsewhere.mov: ")


@pytest.mark.parametrize(("kind", "plays"), [("wav", True), ("mp3", True), ("webm", True), ("aiff", False)])
def test_what_browsers_do_not_play_gets_a_copy_that_they_do(
    kind: str, plays: bool, long_files: dict[str, Path], tmp_path: Path
) -> None:
    source = long_files[kind]
    assert playable(probe(source)) == plays
    copy = tmp_path / "copy.mp3"
    seconds = list(make_playable(source, copy, name=source.name))
    assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(6.0, abs=0.03)
    facts = probe(copy)
    assert playable(facts) and facts.channels == 1 and facts.duration == pytest.approx(6.0, abs=0.03)
    original, copied = read(source, 16_000), read(copy, 16_000)
    size = min(len(original), len(copied)) - 1600
    spans = [
        np.correlate(copied[at : at + size][1000:9000], original[1000:9000])[0] for at in range(0, 800, 1)
    ]
    assert abs(int(np.argmax(spans))) <= 1  # to the sample: no encoder's delay is heard
    assert abs(np.abs(copied).max() - np.abs(original).max()) < 0.1


def test_a_film_with_subtitles_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as out:
        sound, words = out.add_stream("pcm_s16le", rate=16_000, layout="mono"), out.add_stream("subrip")
        words.codec_context.subtitle_header = b"-"
        frame = av.AudioFrame.from_ndarray(np.ones((1, 16_000), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 16_000, 0
        out.mux([*sound.encode(frame), *sound.encode(None)])
        said = av.Packet(b"It rains.")
        said.stream, said.pts, said.dts, said.time_base = words, 0, 0, Fraction(1, 1000)
        out.mux(said)
    (block,), _ = heard(path)
    assert len(block.samples) == 16_000


def test_a_damaged_file_that_leads_before_its_own_beginning_is_called_unreadable(tmp_path: Path) -> None:
    whole = write_media(
        tmp_path / "whole.wma", tone(44_100, 2.0, channels=2), 44_100, "wmav2", bit_rate=128_000
    )
    content, lines = whole.read_bytes(), []
    for seed in range(30, 50):  # five of these did so when this was written
        path, drawn = tmp_path / "x.wma", np.random.default_rng(seed)
        keep = int(drawn.integers(4, 2000))
        path.write_bytes(content[:keep] + drawn.bytes(len(content) - keep))
        try:
            heard(path)
        except AudioError as error:
            lines.append(str(error))
    assert len(lines) > 3
    assert not [line for line in lines if "written" in line or "sensible" in line]


def test_a_copy_that_fails_leaves_no_file(tmp_path: Path) -> None:
    bad, long = tmp_path / "bad.wma", write_pcm(tmp_path / "long.aiff", tone(16_000, 30.0), 16_000)
    bad.write_bytes(np.random.default_rng(0).bytes(10_000))
    copy = tmp_path / "copy.mp3"
    with pytest.raises(AudioError, match=r"^bad\.wma: is no audio"):
        list(make_playable(bad, copy, name="bad.wma"))
    assert not copy.exists()
    with pytest.raises(AudioError, match=r"^long\.aiff: .*(File too large|too long)"):
        list(make_playable(long, copy, Limits(file_bytes=20_000), name="long.aiff"))
    assert not copy.exists()
    copying = make_playable(long, copy)
    next(copying)
    copying.close()
    assert not copy.exists()


def test_the_fork_server_outlives_the_thread_that_started_it() -> None:
    close()
    thread = threading.Thread(target=warm)
    thread.start()
    thread.join()
    process = processes._SERVER._process
    assert process is not None
    with pytest.raises(subprocess.TimeoutExpired):  # on Linux, "parent" may mean the thread
        process.wait(0.3)
