"""A finished run: its tables, its summary, where it came from, and the directory that holds all of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpcsim.errors import HpcsimError, InputError
from hpcsim.results.drafts import begin_draft, sweep_drafts

if TYPE_CHECKING:
    import pandas as pd

    from hpcsim.results.telemetry import TelemetryFile

TABLES = ("jobs", "attempts", "timeline")  # of every run
OF_SCHEDULERS = ("choices", "weights")  # that keep them
OF_SOME = (
    "decisions",
    "interrupts",
    "power",
    "grid",
    "temperature",
    *OF_SCHEDULERS,
)  # with physics; older runs lack some


@dataclass(frozen=True, repr=False)
class Run:
    """What a run leaves behind.

    ``tables`` are Arrow tables; the properties ``jobs``, ``attempts``, ``timeline``, ``decisions`` and, with physics,
    ``interrupts``, ``power``, ``grid`` and ``temperature`` are the same as pandas DataFrames. ``manifest`` says where
    every number came from, ``scenario_yaml`` repeats the run, ``timing`` holds all that a clock measured (and is the
    only part that differs when the run is repeated).
    ``telemetry_file``, of a run with telemetry, is a file and not a table, because it may be larger than memory.
    """

    tables: Mapping[str, pa.Table]
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    scenario_yaml: str
    timing: Mapping[str, Any]
    telemetry_file: TelemetryFile | None = None

    def __repr__(self) -> str:
        return f"<Run of {self.title}: {self.tables['jobs'].num_rows} jobs>"

    @property
    def title(self) -> str:
        """Such as ``polaris under easy with power_cap``; with the trace, and options that are not the default.

        ``bare (my.swf.gz) under easy (order=sjf)``: at most three options are named, the others are counted.
        """
        workload = self.manifest["workload"]
        trace = f" ({workload['source']})" if workload.get("format") else ""
        return f"{self.manifest['scenario']}{trace} under {scheduler_of(self.manifest)}"

    @cached_property
    def rejected(self) -> int:
        """How many of all jobs no queue took."""
        rejected = pc.equal(self.tables["jobs"].column("state").cast(pa.string()), "rejected")
        return int(pc.sum(rejected).as_py() or 0)

    @property
    def jobs_in_words(self) -> str:
        """All jobs that it had, such as ``20,910 jobs (8 rejected)``; and how many count, where not all are measured.

        ``summary["jobs"]`` are the measured ones that were not rejected.
        """
        jobs = self.tables["jobs"]
        count, measured = jobs.num_rows, pc.sum(jobs.column("measured")).as_py() or 0
        of_which = [f"{self.rejected:,} rejected"] if self.rejected else []
        of_which += [f"{measured:,} measured"] if measured < count else []
        return f"{count:,} job{'' if count == 1 else 's'}" + (f" ({', '.join(of_which)})" if of_which else "")

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """A row per job."""
        return self._frame("jobs")

    @cached_property
    def attempts(self) -> pd.DataFrame:
        """A row per time a job was put on the machine."""
        return self._frame("attempts")

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """A row per change of the queue or of the busy nodes."""
        return self._frame("timeline")

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """A row per decision of the scheduler besides starts."""
        return self._frame("decisions")

    @cached_property
    def interrupts(self) -> pd.DataFrame:
        """A row per time that units went out of service. Raises AttributeError for a run without physics."""
        return self._of_machine("interrupts")

    @cached_property
    def power(self) -> pd.DataFrame:
        """A row per change of what the machine or its facility draws; only a run with physics has it."""
        return self._of_machine("power")

    @cached_property
    def grid(self) -> pd.DataFrame:
        """A row per change of cap, price or carbon intensity; only a run with physics has it."""
        return self._of_machine("grid")

    @cached_property
    def temperature(self) -> pd.DataFrame:
        """A row per regular second: how warm the machine was; only a run with heat has it."""
        return self._of_machine("temperature")

    def _of_machine(self, table: str) -> pd.DataFrame:
        if table not in self.tables:
            lacking = "heat" if table == "temperature" else "physics"
            raise AttributeError(f"a run without {lacking} has no {table}")
        return self._frame(table)

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """A row per sampled second and unit, read when first asked for. Raises AttributeError for a run without any."""
        if self.telemetry_file is None:
            raise AttributeError("this run has no telemetry; set physics.telemetry")
        frame: pd.DataFrame = self.telemetry_file.table().to_pandas()
        return frame

    def _frame(self, table: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.tables[table].to_pandas()
        return frame

    def write(self, directory: str | Path, *, plots: bool = True) -> Path:
        """Write everything into ``directory``, which must not exist or be empty.

        It is written under a temporary name beside it and then renamed, so that what stands under ``directory``
        is always complete. With ``plots`` there are pictures and a report as well. Raises InputError if it cannot be
        written there.
        """
        directory = Path(directory).expanduser()
        refuse_used(directory)
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{directory.name}-"
            sweep_drafts(directory.parent, prefix)
            draft = begin_draft(directory.parent, prefix)
            try:
                self._write_into(draft, plots)
                draft.chmod(0o777 & ~_umask())
                refuse_used(directory)
                os.replace(draft, directory)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        except OSError as error:
            raise InputError(
                f"{directory}: cannot be written: {error.strerror or error}; choose another --out"
            ) from error
        return directory

    def write_into(
        self, folder: Path, *, tables: bool = True, timing: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Write everything but plots into a folder that is there; without ``tables`` only what is text.

        ``timing`` is what else a clock measured.
        """
        if tables:
            for name, table in self.tables.items():
                pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
            if self.telemetry_file is not None:
                self.telemetry_file.copy_to(folder / TELEMETRY)
        (folder / "scenario.yaml").write_text(self.scenario_yaml, encoding="utf-8")
        for name, content in (
            ("summary", self.summary),
            ("manifest", self.manifest),
            ("timing", {**self.timing, **timing}),
        ):
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    def _write_into(self, draft: Path, plots: bool) -> None:
        self.write_into(draft)
        sums = {path.name: _sha256(path) for path in sorted(draft.iterdir()) if path.name != "timing.json"}
        (draft / SUMS).write_text("".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()), encoding="utf-8")
        if plots:
            from hpcsim.results.page import write_report  # these are for runs that are looked at
            from hpcsim.results.perfetto import FILE, write_trace

            write_report(draft / "report.html", [self])
            write_trace(self, draft / FILE)
            # matplotlib takes longer to load than a small run
            from hpcsim.results.plots import write_standard

            write_standard(self, draft / "plots")

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """Read a run directory. Raises InputError if it is not one, not a whole one, or changed since."""
        directory = Path(directory).expanduser()
        refuse_no_run(directory)
        try:
            names = [*TABLES, *(name for name in OF_SOME if (directory / f"{name}.parquet").exists())]
            for file in (*(f"{name}.parquet" for name in names), *(f"{name}.json" for name in _JSONS), "scenario.yaml"):
                if not (directory / file).exists():
                    raise ValueError(f"it has no {file}")
            _refuse_changed(directory, [f"{name}.parquet" for name in names])
            tables = {name: pq.read_table(directory / f"{name}.parquet") for name in names}
            texts = {name: json.loads((directory / f"{name}.json").read_text("utf-8")) for name in _JSONS}
            _refuse_unfit(tables, texts)
            telemetry_file = None
            if (directory / TELEMETRY).exists():
                from hpcsim.results.telemetry import TelemetryFile  # with the machine floor, for few runs

                telemetry_file = TelemetryFile.open(directory / TELEMETRY)
            scenario_yaml = (directory / "scenario.yaml").read_text("utf-8")
            return cls(tables, **texts, scenario_yaml=scenario_yaml, telemetry_file=telemetry_file)
        except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
            raise InputError(f"{directory}: not a complete run directory: {error}") from error


@contextmanager
def reading(directories: Sequence[Path]) -> Iterator[list[Run]]:
    """The runs of these directories, while something is made of them. Raises InputError as ``Run.open``.

    What goes wrong with a run whose files are known to be as they were written is a bug, and goes on as it is. Where
    ``SHA256SUMS`` is not there to tell, the tables were most likely changed: that is an InputError.
    """
    runs = [Run.open(directory) for directory in directories]
    try:
        yield runs
    except (HpcsimError, OSError):
        raise
    except Exception as error:
        unsure = next((each for each in directories if not (each.expanduser() / SUMS).exists()), None)
        if unsure is None:
            raise
        raise InputError(
            f"{unsure}: what its tables hold does not go together ({type(error).__name__}: {error}), and it has no "
            f"{SUMS} that would tell which file was changed or damaged; run it again: hpcsim run {unsure}/scenario.yaml"
        ) from error


def _refuse_changed(directory: Path, tables: Sequence[str]) -> None:
    """Raise ValueError for a file that is read of a run and is not as the run wrote it; older runs cannot tell."""
    if not (directory / SUMS).exists():
        return
    lines = (directory / SUMS).read_text("utf-8", "replace").splitlines()
    sums = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    for name in (*tables, "summary.json", "manifest.json", "scenario.yaml"):
        if sums.get(name) != _sha256(directory / name):
            raise ValueError(
                f"its {name} is not as the run wrote it, by {SUMS}: damaged or changed; run it again, or remove {SUMS} "
                "to have it read as it is"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_unfit(tables: Mapping[str, pa.Table], texts: Mapping[str, Any]) -> None:
    """Raise ValueError for what every reader of a run relies on and is not there, or of another kind."""
    for name, table in tables.items():
        for column in _COLUMNS.get(name, ("time_s",)):
            if column not in table.column_names:
                raise ValueError(f"its {name}.parquet has no column {column}")
            if column.endswith("_s") and not pa.types.is_integer(table.schema.field(column).type):
                kind = table.schema.field(column).type
                raise ValueError(f"its {name}.parquet has a column {column} of {kind}; it should be whole seconds")
            if column in _KNOWN and table.column(column).null_count:
                raise ValueError(f"its {name}.parquet has rows without {column}")
        for column in table.column_names:
            if column.endswith("_s") and pa.types.is_integer(table.schema.field(column).type):
                bounds = pc.min_max(table.column(column)).as_py()
                if max(map(abs, (value or 0 for value in bounds.values()))) > _FARTHEST_S:
                    raise ValueError(f"its {name}.parquet has a {column} that is thousands of years away")
    for name, needed in _KEYS.items():
        if not isinstance(texts[name], dict):
            raise ValueError(f"its {name}.json is no object of keys and values")
        if lacking := [key for key in needed if key not in texts[name]]:
            raise ValueError(f"its {name}.json has no {', '.join(lacking)}")
    t0_utc, machine = texts["manifest"]["t0_utc"], texts["manifest"]["machine"]
    if not (isinstance(t0_utc, int) and abs(t0_utc) < _LATEST_UTC):
        raise ValueError(f"its manifest.json has the t0_utc {t0_utc!r}; it should be a Unix time")
    if not (isinstance(machine, dict) and isinstance(machine.get("nodes"), int) and machine["nodes"] > 0):
        raise ValueError("its manifest.json does not say how many nodes the machine has")


def scheduler_of(manifest: Mapping[str, Any]) -> str:
    """The scheduler of a run, with its options that are not the default, and with the levers around it."""
    scheduler = str(manifest["scheduler"])
    given = [f"{key}={_short(value)}" for key, value in (manifest.get("scheduler_options") or {}).items()]
    if len(given) > _OPTIONS:
        given[_OPTIONS:] = [f"{len(given) - _OPTIONS} more"]
    if given:
        scheduler += f" ({', '.join(given)})"
    return with_levers(scheduler, manifest.get("levers") or ())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def with_levers(scheduler: str, levers: Iterable[str]) -> str:
    """Such as ``easy with power_cap``."""
    return f"{scheduler} with {named}" if (named := ", ".join(levers)) else scheduler


class DirectoryTaken(InputError):
    """There is something under the name that a run directory was to have."""


TELEMETRY = "telemetry.parquet"
_OPTIONS, _LONG = 3, 24  # that a headline names at most, and the characters of a value
SUMS = "SHA256SUMS"  # of all that repeats byte for byte; sha256sum -c reads it
_LATEST_UTC = 253_402_300_800  # the year 10000, of which Python knows no dates
_FARTHEST_S = 1 << 42  # from t0_utc; node-seconds are larger
_KNOWN = ("job_id", "submit_s", "nodes", "time_s", "state", "measured")  # in each row
_JSONS = ("summary", "manifest", "timing")
_COLUMNS = {
    "jobs": ("job_id", "submit_s", "start_s", "end_s", "nodes", "runtime_s", "state", "wait_s", "measured"),
    "attempts": ("job_id", "start_s", "end_s", "nodes"),
    "timeline": ("time_s", "queue", "running", "busy_nodes"),
    "interrupts": ("time_s", "until_s", "cause", "nodes"),
    "power": ("time_s", "it_w", "facility_w"),
    "temperature": ("time_s", "hottest_c", "mean_c", "supply_c", "throttled_nodes"),
}
_KEYS = {
    "summary": ("utilisation", "makespan_s"),
    "manifest": ("hpcsim", "scenario", "scheduler", "seed", "t0_utc", "machine", "workload"),
}


def refuse_no_run(directory: Path) -> None:
    """Raise InputError for what cannot be a run directory, whatever is in its files."""
    try:
        is_there, is_tournament = directory.is_dir(), (directory / "cells.csv").exists()
        what = "is a file" if directory.exists() else "there is no such directory"
    except OSError as error:
        raise InputError(f"{directory}: cannot be read: {error.strerror or error}") from error
    if not is_there:
        raise InputError(f"{directory}: {what}; expected a run directory")
    if is_tournament:
        raise InputError(f"{directory}: a tournament; expected a run directory (hpcsim leaderboard is for tournaments)")


def refuse_used(directory: Path) -> None:
    """Raise InputError if ``directory`` holds something already, is a file, or lies where nothing can be written."""
    try:
        is_free = directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir())
        if is_free and directory.resolve() == Path.cwd():
            raise InputError(f"{directory}: is where hpcsim was called, and cannot be replaced; choose another --out")
        taken = not is_free and (directory.exists() or directory.is_symlink())
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror or error}; choose another --out") from error
    if taken:
        raise DirectoryTaken(
            f"{directory}: exists already and is kept as it is; choose another --out, or remove it first"
        )
    refuse_unwritable(directory)


def refuse_unwritable(directory: Path) -> None:
    """Raise InputError if nothing can be made where ``directory`` is to be."""
    above = next(each for each in directory.absolute().parents if each.exists() or each.is_symlink())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = f"nothing can be written in {above}" if above.is_dir() else f"{above} is no directory"
        raise InputError(f"{directory}: cannot be written: {why}; choose another --out")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
