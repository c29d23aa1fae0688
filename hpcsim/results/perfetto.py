"""A run as a trace for Perfetto: JSON in the Trace Event Format, packed, which ``ui.perfetto.dev`` opens as it is.

It has three processes: the *run* (dates, and counters of power, temperature and queue), the *queue* (an instant for
each time that a job came into it) and the *machine* (a slice for each job on each of its places, and for each
interrupt). An arrow leads from a job in the queue to where it starts. Times are microseconds since ``t0_utc``.
docs/top.md has what is on which track, and what becomes of a run that is too large to be shown node by node.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine, machine_names
from hpcsim.results.lanes import lanes_of
from hpcsim.results.period import period_s
from hpcsim.results.run import Run
from hpcsim.results.units import Spans, spans_of
from hpcsim.strict_yaml import parse_mapping

Int64s = npt.NDArray[np.int64]

FILE: Final = "trace.json.gz"
MOST_SLICES: Final = 400_000
"""Of jobs and interrupts in a trace; more are joined until they are so few, or one a lane."""
MOST_POINTS: Final = 8_000
"""Of a counter."""

_BEGINNING: Final = b'{"displayTimeUnit":"ms","otherData":{"hpcsim": '
_RUN, _QUEUE, _MACHINE = 1, 2, 3  # pids
_DATE_TRACK, _QUEUE_TRACK, _FIRST_TRACK = 11, 12, 100  # tids: a trace has each only once, and none is a pid
_MOST_DAYS = 1_000  # more are shown as months
_LONGEST = 80  # characters of a text in a slice's details
_LINES_AT_ONCE = 20_000
_MICRO = 1_000_000  # s in microseconds


def write_trace(run: Run, path: Path) -> str:
    """Write ``run`` to ``path``, the same bytes each time; what was there is replaced once all is written.

    The answer says what the tracks of the machine are. Raises InputError if it cannot be written there.
    """
    jobs = _Jobs(run)
    machine = _Machine(run, jobs)
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as draft:
            try:
                with gzip.GzipFile("", "wb", 6, draft, mtime=0) as packed:
                    for text in _document(run, jobs, machine):
                        packed.write(text.encode("ascii"))
                draft.close()
                Path(draft.name).chmod(0o644)
                os.replace(draft.name, path)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return machine.about


def is_trace(path: Path) -> bool:
    """Whether ``write_trace`` wrote this file."""
    if not path.is_file():
        return False
    try:
        with gzip.open(path, "rb") as packed:
            return packed.read(len(_BEGINNING)) == _BEGINNING
    except (OSError, EOFError, zlib.error):
        return False


def _document(run: Run, jobs: _Jobs, machine: _Machine) -> Iterator[str]:
    """The pieces of the JSON text, a line for each event."""
    yield '{"displayTimeUnit":"ms","otherData":'
    yield json.dumps(_provenance(run, machine))
    yield ',"traceEvents":[\n'
    separator, lines = "", []
    for line in _events(run, jobs, machine):
        lines.append(line)
        if len(lines) == _LINES_AT_ONCE:
            yield separator + ",\n".join(lines)
            separator, lines = ",\n", []
    yield separator + ",\n".join(lines) + "\n]}\n"


def _provenance(run: Run, machine: _Machine) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "hpcsim": manifest["hpcsim"],
        "scenario": manifest["scenario"],
        "scheduler": manifest["scheduler"],
        "seed": manifest["seed"],
        "machine_nodes": manifest["machine"]["nodes"],
        "t0_utc": manifest["t0_utc"],
        "time": "ts and dur are microseconds; ts 0 is the Unix time t0_utc",
        "tracks": machine.about,
        "units_per_track": machine.size,
        "starts_per_slice": machine.joined,
        "most_slices": MOST_SLICES,
        "counters": f"step functions; of more than {MOST_POINTS} changes each interval's first, lowest, highest, last",
    }


def _events(run: Run, jobs: _Jobs, machine: _Machine) -> Iterator[str]:
    yield from _names(
        _RUN, f"{run.manifest['scenario']} under {run.manifest['scheduler']}", {_DATE_TRACK: "date (UTC)"}
    )
    yield from _dates(jobs.first_s, jobs.end_s, int(run.manifest["t0_utc"]))
    yield from _counters(run, jobs.end_s)
    if machine.joined == 1:
        yield from _names(_QUEUE, "queue", {_QUEUE_TRACK: "submitted, or back in the queue"})
        yield from jobs.in_queue()
    yield from _names(_MACHINE, "machine", machine.tracks)
    yield from machine.slices()


def _names(process: int, name: str, tracks: dict[int, str]) -> Iterator[str]:
    """Metadata: what a process and its tracks are called, and the order in which they are shown."""
    about = f'{{"ph":"M","pid":{process},"name":"process_'
    yield f'{about}name","args":{{"name":{quoted(name)}}}}}'
    yield f'{about}sort_index","args":{{"sort_index":{process}}}}}'
    for track, called in tracks.items():
        about = f'{{"ph":"M","pid":{process},"tid":{track},"name":"thread_'
        yield f'{about}name","args":{{"name":{quoted(called)}}}}}'
        yield f'{about}sort_index","args":{{"sort_index":{track}}}}}'


def _dates(first_s: int, end_s: int, t0_utc: int) -> Iterator[str]:
    """A slice for each day of the run, or for each month of a long one."""
    step = "D" if end_s - first_s <= _MOST_DAYS * 86_400 else "M"
    first, end = (np.datetime64(t0_utc + second, "s") for second in (first_s, max(end_s, first_s + 1)))
    days = np.arange(first.astype(f"M8[{step}]"), end.astype(f"M8[{step}]") + 1)
    edges = np.append(days, days[-1] + 1).astype("M8[s]").astype(np.int64) - t0_utc
    edges = np.clip(edges, first_s, max(end_s, first_s + 1))
    for day, begins, ends in zip(days.astype(str).tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if begins < ends:
            yield (
                f'{{"ph":"X","pid":{_RUN},"tid":{_DATE_TRACK},"ts":{_MICRO * begins},"dur":{_MICRO * (ends - begins)},'
                f'"cat":"date","name":"{day}"}}'
            )


# -- counters -----------------------------------------------------------------------------------


def _counters(run: Run, end_s: int) -> Iterator[str]:
    for table, column, name, unit, scale in _COUNTERS:
        if table in run.tables and column in run.tables[table].column_names:
            there = run.tables[table].select(["time_s", column]).drop_null()
            time, value = there.column("time_s").to_numpy(), there.column(column).to_numpy() * scale
            kept = extremes(value, MOST_POINTS - 1)
            time, value = time[kept], value[kept]
            if time.size and time[-1] < end_s:  # the last value holds to the end
                time, value = np.append(time, end_s), np.append(value, value[-1])
            head = f'{{"ph":"C","pid":{_RUN},"name":"{name}","ts":'
            for second, each in zip(time.tolist(), value.tolist(), strict=True):
                yield f'{head}{_MICRO * second},"args":{{{quoted(unit)}:{each!r}}}}}'


_COUNTERS: Final = (
    ("power", "facility_w", "facility power", "kW", 1e-3),
    ("power", "it_w", "IT power", "kW", 1e-3),
    ("grid", "cap_w", "cap on facility power", "kW", 1e-3),
    ("temperature", "hottest_c", "hottest node", "°C", 1),
    ("temperature", "hottest_gpu_c", "hottest GPU", "°C", 1),
    ("temperature", "mean_c", "mean of the nodes", "°C", 1),
    ("temperature", "throttled_nodes", "throttled", "nodes", 1),
    ("timeline", "queue", "waiting", "jobs", 1),
    ("timeline", "running", "running", "jobs", 1),
    ("timeline", "busy_nodes", "busy", "nodes", 1),
)
"""Table and column of each counter, what it is called, in which unit, and the factor to that unit."""


def extremes(value: npt.NDArray[Any], most: int) -> Int64s:
    """The rows of a curve to draw: all if these are at most ``most``, else of each interval of rows up to four.

    These are its first, lowest, highest and last one, so that no peak is lost.
    """
    if value.size <= most:
        return np.arange(value.size)
    edges = np.linspace(0, value.size, most // 4 + 1).astype(np.int64)
    first, last = edges[:-1], edges[1:] - 1
    low, high = (
        np.array([a + int(find(value[a : b + 1])) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        for find in (np.argmin, np.argmax)
    )
    return np.unique(np.concatenate([first, low, high, last]))


# -- jobs ---------------------------------------------------------------------------------------


class _Jobs:
    """The attempts of a run as columns: when each came into the queue, started and ended, and what is told of it."""

    def __init__(self, run: Run) -> None:
        jobs, attempts = run.tables["jobs"], run.tables["attempts"]
        self._jobs = jobs
        job_A = pc.index_in(attempts.column("job_id"), value_set=jobs.column("job_id").combine_chunks()).to_numpy()
        self.start_A: Int64s = attempts.column("start_s").to_numpy()
        submit = jobs.column("submit_s")
        begin_s, self.end_s = period_s(run)
        self.first_s = min(begin_s, pc.min(submit).as_py()) if len(jobs) else begin_s
        self.end_A: Int64s = attempts.column("end_s").fill_null(self.end_s).to_numpy()
        attempt = attempts.column("attempt").to_numpy()
        self._came_A: Int64s = submit.to_numpy()[job_A]
        order = np.lexsort((attempt, job_A))
        again = attempt[order] > 1
        self._came_A[order[again]] = self.end_A[order[np.flatnonzero(again) - 1]]
        self.name_A = [quoted(name) for name in attempts.column("job_id").to_pylist()]
        self.details_A, self.briefly_A = self._details(attempts, job_A)

    def _details(self, attempts: pa.Table, job_A: Int64s) -> tuple[list[str], list[str]]:
        """What is shown of each attempt when it is selected, as JSON: all of it, and less for all but one place."""
        of_job = self._jobs.select(["user", "project", "queue", "walltime_s"]).take(job_A)
        columns = {name: _quoted_each(of_job.column(name)) for name in ("user", "project", "queue")}
        columns |= {name: attempts.column(name).to_pylist() for name in ("nodes", "attempt")}
        columns["walltime_s"] = of_job.column("walltime_s").to_pylist()
        columns["waited_s"] = (self.start_A - self._came_A).tolist()
        names = [name for name in ("units", "state", "why") if name in attempts.column_names]
        columns |= {name: _quoted_each(attempts.column(name)) for name in names}
        return _objects(columns), _objects({name: columns[name] for name in ("user", "nodes", "state")})

    def in_queue(self) -> Iterator[str]:
        """An instant for each time that a job came into the queue, and the beginning of the arrow to its start."""
        at = f'"pid":{_QUEUE},"tid":{_QUEUE_TRACK},"ts":'
        never = self._jobs.filter(pc.equal(self._jobs.column("attempts"), 0)).slice(0, MOST_SLICES)
        came = np.concatenate([self._came_A, never.column("submit_s").to_numpy()])
        name = [*self.name_A, *(quoted(name) for name in never.column("job_id").to_pylist())]
        texts = {name: _quoted_each(never.column(name)) for name in ("state", "rejected_by")}
        details = _objects({"waited_s": (self.start_A - self._came_A).tolist()})
        details += _objects({"nodes": never.column("nodes").to_pylist(), **texts})
        second = came.tolist()
        for each in np.argsort(came, kind="stable").tolist():
            ts = f"{at}{_MICRO * second[each]}"
            yield f'{{"ph":"X",{ts},"dur":0,"cat":"queue","name":{name[each]},"args":{details[each]}}}'
            if each < self.start_A.size:
                yield f'{{"ph":"s",{ts},"id":{each + 1},"cat":"start","name":"start"}}'


def _objects(columns: Mapping[str, Iterable[object]]) -> list[str]:
    """A JSON object for each row; texts are quoted already."""
    form = "{" + ",".join(f'"{name}":%s' for name in columns) + "}"
    return [form % row for row in zip(*columns.values(), strict=True)]


def _quoted_each(column: Any) -> list[str]:
    """Texts as JSON, cut where they are long; null is empty. Each distinct one is looked at once."""
    coded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    names = [quoted(t if len(t) <= _LONGEST else t[:_LONGEST] + "...") for t in coded.dictionary.to_pylist()]
    return [names[code] for code in coded.indices.to_pylist()]


# -- the machine --------------------------------------------------------------------------------


class _Machine:
    """Jobs and interrupts as slices on tracks of ``size`` adjacent units; 0: the run knows no places.

    ``joined`` starts in a row on a track are one slice, and ``tracks`` are the names of these by their numbers.
    """

    def __init__(self, run: Run, jobs: _Jobs) -> None:
        self._names, self._details, self._briefly = jobs.name_A, jobs.details_A, jobs.briefly_A
        self._attempts = len(jobs.name_A)
        start, end = jobs.start_A, jobs.end_A
        attempts, interrupts = run.tables["attempts"], run.tables.get("interrupts")
        row, group = np.arange(self._attempts), np.zeros(self._attempts, np.int64)
        self.size, called = 0, "lane"
        if interrupts is not None and "units" in attempts.column_names:
            since, until = (interrupts.column(name).to_numpy() for name in ("time_s", "until_s"))
            start, end = np.append(start, since), np.append(end, np.clip(until, since, np.maximum(since, jobs.end_s)))
            self._names = self._names + _quoted_each(interrupts.column("cause"))
            numbers = {name: interrupts.column(name).to_pylist() for name in ("nodes", "jobs", "until_s")}
            details = _objects(numbers | {"units": _quoted_each(interrupts.column("units"))})
            self._details, self._briefly = self._details + details, self._briefly + details
            places = [each.column("units").cast(pa.string()).combine_chunks() for each in (attempts, interrupts)]
            spans = spans_of(pa.concat_arrays(places))
            last = int(spans.last.max(initial=0))
            self.size = 1
            while spans.in_groups(self.size).count > MOST_SLICES and self.size <= last:
                self.size *= 2
            row, group = spans.in_groups(self.size).each()
            if self.size == 1 or self.size <= last:
                called = _unit_name(run, spans)
        self._place(row, group, start[row], end[row], called)

    def _place(self, row: Int64s, group: Int64s, start: Int64s, end: Int64s, called: str) -> None:
        lane = lanes_of(group, start, end)
        lanes = int(lane.max(initial=0)) + 1
        places, track = np.unique(group * lanes + lane, return_inverse=True)
        self.tracks = {
            _FIRST_TRACK + number: _track_name(called, self.size, *divmod(place, lanes))
            for number, place in enumerate(places.tolist())
        }
        order = np.lexsort((end, start, track))
        row, track, start, end = (column[order] for column in (row, track, start, end))
        number = np.arange(track.size)
        on_track = number - np.searchsorted(track, track)
        self.joined, first = 1, number
        while first.size > max(MOST_SLICES, places.size):
            self.joined *= 2
            first = np.flatnonzero(on_track % self.joined == 0)
        last = np.append(first[1:], number.size)[: first.size] - 1
        self._row, self._track, self._start = row[first], track[first] + _FIRST_TRACK, start[first]
        self._length = end[last] - self._start
        self._starts = np.add.reduceat(row < self._attempts, first) if first.size else first
        self.about = _about(called, self.size, self.joined)

    def slices(self) -> Iterator[str]:
        """The slices in the order of their tracks; at the first one of each attempt ends the arrow from the queue."""
        is_first = np.zeros(self._row.size, bool)
        is_first[np.unique(self._row, return_index=True)[1]] = True
        columns = self._row, self._track, self._start, self._length, self._starts, is_first
        for row, track, start, length, starts, first in zip(*(each.tolist() for each in columns), strict=True):
            at = f'"pid":{_MACHINE},"tid":{track},"ts":{_MICRO * start}'
            name, details = self._names[row], (self._details if first else self._briefly)[row]
            kind = "job" if row < self._attempts else "interrupt"
            if starts > 1:
                name, details, kind = f'"{starts} starts"', f'{{"starts":{starts}}}', "jobs"
            yield f'{{"ph":"X",{at},"dur":{_MICRO * length},"cat":"{kind}","name":{name},"args":{details}}}'
            if first and row < self._attempts and self.joined == 1:
                yield f'{{"ph":"f","bp":"e",{at},"id":{row + 1},"cat":"start","name":"start"}}'


def _unit_name(run: Run, spans: Spans) -> str:
    """What a unit of the machine is called: a midplane on Blue Gene/Q, else a node."""
    try:
        model = parse_mapping(run.scenario_yaml, "scenario.yaml").data["machine"]["model"]
    except (InputError, KeyError, TypeError):  # written by hand, or of a machine without a model
        model = None
    if model in machine_names():
        return "node" if load_machine(model).unit_nodes == 1 else "midplane"
    nodes = [*run.tables["attempts"].column("nodes").to_pylist(), *run.tables["interrupts"].column("nodes").to_pylist()]
    units = np.bincount(spans.row, spans.last - spans.first + 1, minlength=len(nodes))
    return "midplane" if (np.array(nodes) > units).any() else "node"


def _track_name(called: str, size: int, group: int, lane: int) -> str:
    if called == "lane":
        return f"lane {lane + 1}"
    place = f"{called} {group}" if size == 1 else f"{called}s {group * size}-{(group + 1) * size - 1}"
    return place if lane == 0 else f"{place}, lane {lane + 1}"


def _about(called: str, size: int, joined: int) -> str:
    """What the tracks of the machine are, and why."""
    if called != "lane":
        tracks = f"a track for each {called}" if size == 1 else f"tracks for each {size} adjacent {called}s"
        joins = "" if size == 1 else f": with one for each {called} there were more than {MOST_SLICES} slices"
        return f"{tracks}, and another where several jobs are at once{joins}"
    if joined == 1:
        return "as few lanes as there are jobs at once: a lane is no place"
    return f"as few lanes as there are jobs at once; up to {joined} jobs in a row are one slice, without arrows"
