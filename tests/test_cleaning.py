"""Every rule of cleaning, met by exactly the row that it is about."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hpcsim.errors import InputError
from hpcsim.workload.alcf import read_alcf
from hpcsim.workload.cleaning import ALCF_RULES, SWF_RULES, Rule, cleaning_table, refused_by_strict
from hpcsim.workload.job import Workload
from hpcsim.workload.swf import read_swf

SWF_JOB = [str(n) for n in (1, 100, 10, 50, 4, -1, -1, 8, 100, -1, 1, 7, 3, -1, 2, -1, -1, -1)]
RECORD = {
    "JOB_NAME": "1.mira",
    "QUEUED_TIMESTAMP": "2020-01-01 00:00:00",
    "START_TIMESTAMP": "2020-01-01 00:01:40",
    "END_TIMESTAMP": "2020-01-01 00:11:40",
    "USERNAME_GENID": "29946708553445",
    "PROJECT_NAME_GENID": "82547079018571",
    "QUEUE_NAME": "prod-short",
    "WALLTIME_SECONDS": "1200.0000",
    "RUNTIME_SECONDS": "600.0000",
    "NODES_USED": "512.00",
    "EXIT_STATUS": "0",
}


def swf(folder: Path, odd: dict[int, str]) -> Path:
    """Three jobs, the second with the fields of ``odd``."""
    path = folder / "made.swf"
    jobs = [[str(number), *SWF_JOB[1:]] for number in (1, 2, 3)]
    for number, value in odd.items():
        jobs[1][number - 1] = value
    path.write_text("; Version: 2.2\n" + "".join(" ".join(job) + "\n" for job in jobs))
    return path


def records(folder: Path, odd: dict[str, str]) -> Path:
    """Three jobs, the second with the cells of ``odd``."""
    path = folder / "made.csv"
    rows = [RECORD | {"JOB_NAME": f"{number}.mira"} for number in (1, 2, 3)]
    rows[1] |= odd
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(RECORD))
        writer.writeheader()
        writer.writerows(rows)
    return path


SWF_CASES: list[tuple[str, dict[int, str]]] = [
    ("partial_execution", {11: "2"}),
    ("partial_execution", {11: "3"}),
    ("partial_execution", {11: "4"}),
    ("missing_submit", {2: "-1"}),
    ("no_nodes", {5: "0", 8: "-1"}),
    ("no_nodes", {5: "-1", 8: "0"}),
    ("no_runtime", {4: "-1"}),
    ("no_runtime", {4: "0"}),
    ("beyond_time", {2: "9e15"}),
    ("beyond_time", {3: "9007199254740992"}),
    ("beyond_time", {4: "3153600001"}),
    ("absurd_walltime", {9: "9e15"}),
    ("missing_walltime", {9: "-1"}),
    ("missing_walltime", {9: "0"}),
    ("missing_user", {12: "-1"}),
    ("unsorted_rows", {2: "99"}),
    ("unknown_preceding_job", {17: "77"}),
    ("unknown_preceding_job", {17: "2"}),
    ("unknown_preceding_job", {17: "3"}),
]

BEYOND = (("QUEUED_TIMESTAMP", 10), ("START_TIMESTAMP", 20), ("END_TIMESTAMP", 30))
ALCF_CASES: list[tuple[str, dict[str, str]]] = [
    ("missing_submit", {"QUEUED_TIMESTAMP": ""}),
    ("missing_submit", {"QUEUED_TIMESTAMP": "1970-01-01 00:00:00"}),
    ("missing_start", {"START_TIMESTAMP": "1970-01-01 00:00:00", "RUNTIME_SECONDS": "1718000000"}),
    ("missing_start", {"START_TIMESTAMP": ""}),
    ("end_before_start", {"END_TIMESTAMP": "2020-01-01 00:01:39"}),
    ("end_before_start", {"END_TIMESTAMP": ""}),
    ("no_nodes", {"NODES_USED": "0.00"}),
    ("no_nodes", {"NODES_USED": ""}),
    ("runtime_unlike_timestamps", {"RUNTIME_SECONDS": "539.9"}),
    ("runtime_unlike_timestamps", {"RUNTIME_SECONDS": "661"}),
    ("runtime_unlike_timestamps", {"RUNTIME_SECONDS": ""}),
    ("no_runtime", {"END_TIMESTAMP": "2020-01-01 00:02:00", "RUNTIME_SECONDS": "0.4"}),
    ("no_runtime", {"END_TIMESTAMP": "2020-01-01 00:02:00", "RUNTIME_SECONDS": "-3"}),
    ("duplicate_name", {"JOB_NAME": "1.mira"}),
    ("reservation_queue", {"QUEUE_NAME": "R.pm"}),
    ("reservation_queue", {"QUEUE_NAME": "R1123900"}),
    ("reservation_queue", {"QUEUE_NAME": "M485344"}),
    ("absurd_walltime", {"WALLTIME_SECONDS": "3153600001"}),
    ("absurd_runtime", {"WALLTIME_SECONDS": "299"}),
    ("missing_walltime", {"WALLTIME_SECONDS": ""}),
    ("beyond_time", {name: f"3000-01-01 00:{minute}:00" for name, minute in BEYOND}),
    ("missing_walltime", {"WALLTIME_SECONDS": "0.0"}),
    ("start_before_submit", {"QUEUED_TIMESTAMP": "2020-01-01 00:01:41"}),
    ("missing_user", {"USERNAME_GENID": ""}),
    ("unsorted_rows", {"QUEUED_TIMESTAMP": "2019-12-31 23:59:59"}),
]


def met(workload: Workload) -> dict[str, int]:
    return {rule: rows for rule, rows in workload.cleaning.items() if rows and not rule.startswith("rows_")}


def effect(name: str, rules: tuple[Rule, ...]) -> str:
    return next(rule.effect for rule in rules if rule.name == name)


@pytest.mark.parametrize(("rule", "odd"), SWF_CASES)
def test_a_rule_of_swf_meets_only_its_row(tmp_path: Path, rule: str, odd: dict[int, str]) -> None:
    path = swf(tmp_path, odd)
    workload = read_swf(path)
    assert met(workload) == {rule: 1}
    assert len(workload) == (2 if effect(rule, SWF_RULES) == "dropped" else 3)
    assert set(workload.cleaning) == {"rows_read", "rows_kept", *(each.name for each in SWF_RULES)}
    check_strict(path, rule, effect(rule, SWF_RULES), line=3, job="2")


@pytest.mark.parametrize(("rule", "odd"), ALCF_CASES)
def test_a_rule_of_alcf_meets_only_its_row(tmp_path: Path, rule: str, odd: dict[str, str]) -> None:
    path = records(tmp_path, odd)
    workload = read_alcf(path)
    others = {"unsorted_rows": 1} if rule == "start_before_submit" else {}  # it must be submitted later to be met
    assert met(workload) == {rule: 1} | others
    assert len(workload) == (2 if effect(rule, ALCF_RULES) == "dropped" else 3)
    assert set(workload.cleaning) == {"rows_read", "rows_kept", *(each.name for each in ALCF_RULES)}
    if rule == "duplicate_name":
        check_strict(path, rule, "dropped", line=2, job="1.mira")  # of equals the last is kept
    else:
        check_strict(path, rule, effect(rule, ALCF_RULES), line=3, job="2.mira")


def check_strict(path: Path, rule: str, effect: str, *, line: int, job: str) -> None:
    """Strict reading refuses, and names, what would be dropped or mended, and nothing else."""
    read = read_swf if path.suffix == ".swf" else read_alcf
    if effect in ("noted", "sorted"):
        assert not refused_by_strict(read(path, strict=True).cleaning)
        return
    assert refused_by_strict(read(path).cleaning)
    with pytest.raises(InputError) as error:
        read(path, strict=True)
    assert str(error.value).startswith(f"{path}:{line}: job {job!r}: strict reading refuses what {rule} (")
    assert f"in 1 of 3 rows, which would be {effect}" in str(error.value)


def test_every_rule_has_its_case_and_its_description() -> None:
    assert {rule for rule, _ in SWF_CASES} == {rule.name for rule in SWF_RULES}
    assert {rule for rule, _ in ALCF_CASES} | {"only_reservations"} == {rule.name for rule in ALCF_RULES}
    for rule in (*SWF_RULES, *ALCF_RULES):
        assert rule.about.endswith(".")
        assert "\n" not in rule.about


def test_mended_values_are_the_ones_described(tmp_path: Path) -> None:
    def second(odd: dict[str, str]) -> dict[str, object]:
        return next(row for row in read_alcf(records(tmp_path, odd)).table.to_pylist() if row["name"] == "2.mira")

    assert second({"RUNTIME_SECONDS": "661"})["runtime_s"] == 600
    assert second({"RUNTIME_SECONDS": "660"})["runtime_s"] == 660
    assert second({"WALLTIME_SECONDS": "299"})["runtime_s"] == 598
    assert second({"WALLTIME_SECONDS": "300"})["runtime_s"] == 600
    assert second({"WALLTIME_SECONDS": ""})["walltime_s"] == 600
    late = second({"QUEUED_TIMESTAMP": "2020-01-01 00:01:41"})
    assert (late["recorded_start_s"], late["runtime_s"]) == (-1, 600)


@pytest.mark.parametrize(
    ("walltime_days", "days", "expected_days"), [(40, 35, 35), (20, 35, 30), (None, 35, 30), (10, 19, 19)]
)
def test_runtimes_above_30_days_are_cut_unless_asked_for(
    tmp_path: Path, walltime_days: int | None, days: int, expected_days: int
) -> None:
    odd = {
        "START_TIMESTAMP": "2020-02-01 00:00:00",
        "END_TIMESTAMP": str(datetime(2020, 2, 1) + timedelta(days=days)),
        "RUNTIME_SECONDS": str(days * 86_400),
        "WALLTIME_SECONDS": "" if walltime_days is None else str(walltime_days * 86_400),
    }
    workload = read_alcf(records(tmp_path, odd))
    assert workload.column("runtime_s")[1] == expected_days * 86_400


def test_of_attempts_the_one_that_ended_last_is_kept(tmp_path: Path) -> None:
    dates = {"START_TIMESTAMP": "2020-01-01 00:00:10", "END_TIMESTAMP": "2020-01-01 00:00:20"}
    workload = read_alcf(records(tmp_path, {"JOB_NAME": "1.mira", "RUNTIME_SECONDS": "10", **dates}))
    assert workload.table["name"].to_pylist() == ["1.mira", "3.mira"]
    assert workload.column("runtime_s").tolist() == [600, 600]


def test_a_broken_attempt_does_not_displace_a_good_one(tmp_path: Path) -> None:
    workload = read_alcf(records(tmp_path, {"JOB_NAME": "1.mira", "NODES_USED": "0"}))
    assert workload.table["name"].to_pylist() == ["1.mira", "3.mira"]
    assert met(workload) == {"no_nodes": 1}


def test_a_trace_of_nothing_but_reservations_is_kept(tmp_path: Path) -> None:
    path = records(tmp_path, {})
    path.write_text(path.read_text().replace(RECORD["QUEUE_NAME"], "R.the_end"))
    workload = read_alcf(path, strict=True)
    assert met(workload) == {"only_reservations": 3}
    assert len(workload) == 3


def test_reservations_are_kept_on_demand(tmp_path: Path) -> None:
    workload = read_alcf(records(tmp_path, {"QUEUE_NAME": "R.pm"}), reservations="keep", strict=True)
    assert len(workload) == 3
    assert "reservation_queue" not in workload.cleaning


@pytest.mark.parametrize("queue", ["Regular", "Medium", "debug", "prod-R.1", "R", "r.pm", ""])
def test_other_queues_are_no_reservations(tmp_path: Path, queue: str) -> None:
    assert len(read_alcf(records(tmp_path, {"QUEUE_NAME": queue}), strict=True)) == 3


def test_failed_jobs_stay(tmp_path: Path) -> None:
    assert len(read_alcf(records(tmp_path, {"EXIT_STATUS": "271"}), strict=True)) == 3
    assert len(read_swf(swf(tmp_path, {11: "0"}), strict=True)) == 3


def test_no_job_left_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.swf"
    path.write_text("1 0 -1 0 1 -1 -1 1 10 -1 0 1 1 -1 1 -1 -1 -1\n" * 3)
    with pytest.raises(InputError, match=r"no job is left after cleaning \(rows_read 3, no_runtime 3\)"):
        read_swf(path)


def test_the_table_of_cleaning_accounts_for_every_row(data: Path) -> None:
    workload = read_alcf(data / "traces/alcf/ANL-ALCF-DJC-THETAGPU_20200922_20201231.csv.gz")
    table = list(cleaning_table(workload.cleaning))
    assert [row.rule for row in table] == ["rows_read", *(rule.name for rule in ALCF_RULES), "rows_kept"]
    dropped = sum(row.rows for row in table if row.effect == "dropped")
    assert workload.cleaning["rows_read"] - dropped == workload.cleaning["rows_kept"] == len(workload)
    assert workload.cleaning["no_nodes"] == 90
