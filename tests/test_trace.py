"""Laws of reading a trace by its name and of the copies that are kept."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hpcsim.errors import InputError
from hpcsim.workload import trace
from hpcsim.workload.job import Workload
from hpcsim.workload.trace import cache_folder, read_trace, write_trace

LINES = "; UnixStartTime: 1600000000\n; MaxProcs: 16\n" + "".join(
    f"{number} {number * 10} 5 50 4 -1 -1 8 100 -1 1 7 3 -1 2 -1 -1 -1\n" for number in range(1, 6)
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own; the folder of its copies."""
    monkeypatch.setenv("HPCSIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "traces"


@pytest.fixture
def swf(tmp_path: Path) -> Path:
    path = tmp_path / "made.swf"
    path.write_text(LINES)
    return path


def same(one: Workload, other: Workload) -> bool:
    return one.table.to_pylist() == other.table.to_pylist() and (
        (one.t0_utc, one.machine_nodes, one.cleaning, one.source)
        == (other.t0_utc, other.machine_nodes, other.cleaning, other.source)
    )


def never(*_: object, **__: object) -> Workload:
    raise AssertionError("the trace was read again")


def test_the_name_tells_the_format(swf: Path, tmp_path: Path) -> None:
    workload = read_trace(swf)
    for name in ("out.swf", "out.SWF.gz", "out.csv", "out.csv.gz"):
        write_trace(workload, tmp_path / name)
        again = read_trace(tmp_path / name)
        assert len(again) == 5
        assert again.column("nodes").tolist() == [8] * 5
        assert again.t0_utc + again.column("submit_s")[0] == 1_600_000_010
        assert again.source == name
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("name", ["made.txt", "made.gz", "made", "swf", "made.swf.zip"])
def test_another_name_is_refused(swf: Path, name: str) -> None:
    workload = read_trace(swf)
    swf.rename(swf.with_name(name))
    for use in (read_trace, lambda path: write_trace(read_trace(path), path)):
        with pytest.raises(InputError, match=r"expected \.swf, \.swf\.gz .*\.csv or \.csv\.gz"):
            use(swf.with_name(name))
    with pytest.raises(InputError, match=r"nosuch\.txt: there is no such file$"):
        read_trace(swf.with_name("nosuch.txt"))
    with pytest.raises(InputError, match="the name does not tell the format"):
        write_trace(workload, swf.with_name("nosuch.txt"))


@pytest.mark.parametrize("form", ["swf", "csv"])
@pytest.mark.parametrize(
    ("content", "packed", "message"),
    [
        (None, False, "there is no such file"),
        (b"", False, "the file is empty"),
        (b"", True, "the file is empty"),
        (b"\n \n\n", False, None),
        (LINES.encode(), True, "not gzip"),
        (gzip.compress(bytes(range(256)) * 2, mtime=0)[:200], True, "damaged or cut off"),
        (gzip.compress(LINES.encode(), mtime=0)[:-12], True, "damaged or cut off"),
        (gzip.compress(LINES.encode(), mtime=0)[:5], True, "damaged or cut off"),
        (gzip.compress(b"", mtime=0), True, "the file is empty"),
        (
            gzip.compress(LINES.encode(), mtime=0),
            False,
            r"found gzip-compressed data; its name should end in \.\w+\.gz",
        ),
        (bytes(range(256)) * 20, False, None),
        (b"\x00" * 3_000_000, False, "a line of more than 1048576 bytes"),
        (b"; only comments\n", False, None),
    ],
)
def test_a_file_that_is_no_trace_is_refused(
    tmp_path: Path, form: str, content: bytes | None, packed: bool, message: str | None
) -> None:
    path = tmp_path / f"made.{form}{'.gz' if packed else ''}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_trace(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 1000


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made.swf").mkdir()
    with pytest.raises(InputError, match=r"made\.swf: cannot be read: Is a directory"):
        read_trace(tmp_path / "made.swf")


def test_an_unknown_treatment_of_reservations_is_refused(swf: Path) -> None:
    with pytest.raises(InputError, match="reservations: found 'maybe', expected 'drop' or 'keep'"):
        read_trace(swf, reservations="maybe")  # type: ignore[arg-type]  # what a scenario might say


def test_writing_leaves_the_whole_file_or_the_old_one(swf: Path, tmp_path: Path) -> None:
    workload = read_trace(swf)
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(workload, tmp_path / "missing" / "out.swf")
    before = sorted(tmp_path.iterdir())

    def broken(*_: object) -> object:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpcsim.workload.trace_file.os.replace", broken)
        with pytest.raises(InputError, match="No space left on device"):
            write_trace(workload, swf)
    assert swf.read_text() == LINES
    assert sorted(tmp_path.iterdir()) == before


def test_the_same_workload_is_written_as_the_same_bytes(swf: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_trace(read_trace(swf), tmp_path / name / "out.swf.gz")
    assert (tmp_path / "a/out.swf.gz").read_bytes() == (tmp_path / "b/out.swf.gz").read_bytes()


def test_a_trace_is_read_once(swf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_trace(swf)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(trace, "read_swf", never)
    assert same(read_trace(swf), first)
    copy = swf.rename(swf.with_name("copy.swf"))
    assert read_trace(copy).source == "copy.swf"


def test_another_content_is_read_anew(swf: Path, cache: Path) -> None:
    read_trace(swf)
    swf.write_text(LINES.replace("MaxProcs: 16", "MaxProcs: 32"))
    assert read_trace(swf).machine_nodes == 32
    assert len(list(cache.iterdir())) == 2


def test_a_copy_does_not_excuse_a_wrong_name(swf: Path, cache: Path) -> None:
    read_trace(swf)
    with pytest.raises(InputError, match="not gzip"):
        read_trace(swf.rename(swf.with_name("made.swf.gz")))


def test_reservations_are_kept_apart(swf: Path, cache: Path, tmp_path: Path) -> None:
    workload = read_trace(swf)
    path = tmp_path / "out.csv"
    write_trace(workload, path)
    path.write_text(path.read_text().replace('"2"', '"R2"', 1))
    assert [len(read_trace(path, reservations=how)) for how in ("drop", "keep", "drop")] == [4, 5, 4]


def test_waits_for_other_jobs_survive_in_the_cache(swf: Path, cache: Path) -> None:
    swf.write_text(LINES + "6 60 5 50 4 -1 -1 8 100 -1 1 7 3 -1 2 -1 5 -1\n")
    assert same(read_trace(swf), read_trace(swf))
    assert [job.after for job in read_trace(swf).jobs()] == [None] * 5 + [(4,)]


def test_strict_reading_refuses_also_what_is_kept(swf: Path, cache: Path) -> None:
    swf.write_text(LINES + "6 60 5 0 4 -1 -1 8 100 -1 1 7 3 -1 2 -1 -1 -1\n")
    assert len(read_trace(swf)) == 5
    with pytest.raises(InputError, match=r"made\.swf:8: job '6': strict reading refuses what no_runtime"):
        read_trace(swf, strict=True)
    swf.write_text(LINES)
    assert same(read_trace(swf, strict=True), read_trace(swf, strict=True))


def damaged(entry: Path) -> None:
    raw = bytearray(entry.read_bytes())
    for place in range(4, len(raw) // 2):
        raw[place] ^= 0xFF
    entry.write_bytes(raw)


def foreign(entry: Path) -> None:
    table = pq.read_table(entry).replace_schema_metadata({b"hpcsim": b'{"t0_utc": 0}'})
    pq.write_table(table, entry)


def columnless(entry: Path) -> None:
    pq.write_table(pq.read_table(entry).drop_columns("user"), entry)


def cut_off(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-50])


def emptied(entry: Path) -> None:
    entry.write_bytes(b"")


def a_folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


@pytest.mark.parametrize("spoil", [damaged, foreign, columnless, cut_off, emptied, a_folder])
def test_a_broken_copy_is_ignored_and_made_anew(swf: Path, cache: Path, spoil: Callable[[Path], object]) -> None:
    first = read_trace(swf)
    (entry,) = cache.iterdir()
    spoil(entry)
    assert same(read_trace(swf), first)
    assert [file.name for file in cache.iterdir()] == [entry.name], "nothing half-written stays"
    if spoil is not a_folder:
        assert json.loads(pq.read_schema(entry).metadata[b"hpcsim"])["machine_nodes"] == 16


@pytest.mark.parametrize("place", ["a file", "a file/below", "/proc/1/nowhere"])
def test_without_a_place_to_keep_copies_nothing_is_kept(
    swf: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("HPCSIM_CACHE", str(tmp_path / place))
    assert len(read_trace(swf)) == len(read_trace(swf)) == 5


def test_copies_unused_for_the_longest_time_go_first(swf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[Path] = []
    for nodes in (1, 2, 3):
        swf.write_text(LINES.replace("MaxProcs: 16", f"MaxProcs: {nodes}"))
        read_trace(swf)
        (entry,) = set(cache.iterdir()) - set(entries)
        os.utime(entry, (nodes, nodes))
        entries.append(entry)
    swf.write_text(LINES.replace("MaxProcs: 16", "MaxProcs: 1"))
    read_trace(swf)  # used just now
    monkeypatch.setattr(trace, "CACHE_BYTES", 3 * entries[0].stat().st_size + 100)
    swf.write_text(LINES)
    read_trace(swf)
    assert [entry.exists() for entry in entries] == [True, False, True]
    monkeypatch.setattr(trace, "CACHE_BYTES", 0)
    swf.write_text(LINES + "\n")
    read_trace(swf)
    assert len(list(cache.iterdir())) == 1


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPCSIM_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("HPCSIM_CACHE")
    assert cache_folder() == tmp_path / "shared" / "hpcsim"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "hpcsim"


def test_real_traces_are_the_same_from_the_cache(data: Path, cache: Path) -> None:
    for path in (
        data / "traces/swf/thetagpu_2020-09_2020-12.swf.gz",
        data / "traces/alcf/ANL-ALCF-DJC-THETAGPU_20200922_20201231.csv.gz",
    ):
        assert same(read_trace(path), read_trace(path))
