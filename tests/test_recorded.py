"""Laws of the record: where and when jobs really ran is kept, hidden, and replays to real places."""

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.cli import cli
from hpcsim.engine.decisions import Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InputError, SchedulerError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.recorded import RecordedPlaces
from hpcsim.machine.service import Outage
from hpcsim.machine.torus import TorusBlocks, block_of_name, block_table
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, Conservative
from hpcsim.schedulers.recorded import Recorded
from hpcsim.workload.alcf import read_alcf, write_alcf
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.swf import write_swf
from hpcsim.workload.trace import read_trace

MIRA = load_machine("mira")
RINGS = (2, 3, 4, 4)
SIZES = (1, 2, 4, 8, 16, 32, 48, 64, 96)
TABLE = block_table(RINGS, MIRA.block_units)
OFF = dict.fromkeys(("variation", "heat", "failures", "outages", "maintenance", "queues"), False) | {"checkpoint": None}
RECORD = "traces/alcf/ANL-ALCF-DJC-MIRA_20200101_20201231.csv.gz"


def workload(*jobs, **columns):
    """Jobs as (submit, runtime, midplanes, walltime, place)."""
    submit, runtime, midplanes, walltime, place = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=1_600_000_000, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=np.array(midplanes) * 512, walltime_s=walltime, runtime_s=runtime, recorded_place=list(place), **columns,
    )  # fmt: skip


def name_of(units):
    """The name of a block by its midplanes: its first and last node along A to D, and 0 to 1 along E."""
    first, last = "", ""
    coordinates = np.array(np.unravel_index(units, RINGS))
    for along, ring in zip(coordinates, RINGS, strict=True):
        there = set(along.tolist())
        start = min(there) if len(there) == ring else next(c for c in there if (c - 1) % ring not in there)
        end = (start + len(there) - 1) % ring
        first, last = first + f"{4 * start:X}", last + f"{4 * end + 3:X}"
    return f"MIR-{first}0-{last}1-{512 * len(units)}"


def simulation(jobs, scheduler, *, recorded=True, **options):
    """The jobs on a Mira on which nothing else changes times."""
    cluster = Cluster(MIRA, draw_behaviour(jobs, 1), policy="torus", start=0, **options)
    places = RecordedPlaces(jobs, cluster.places.blocks.table, 512) if recorded else None
    site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None, recorded=places)
    return Simulation(jobs, scheduler, nodes=49_152, site=site)


def easy():
    return EASY(EASY.Options())


def checked(sim):
    """Run it and verify every law; its jobs and attempts."""
    sim.run()
    tables = jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim)
    check(sim, *tables, timeline_table(sim))
    return [table.to_pylist() for table in tables]


def units_of(text):
    ends = [part.split("-") for part in text.split(",")]
    return [unit for part in ends for unit in range(int(part[0]), int(part[-1]) + 1)]


# -- the names of places in a workload ------------------------------------------------------------


def test_what_is_done_to_a_workload_keeps_its_places():
    jobs = workload((0, 5, 1, 9, "a"), (1, 5, 1, 9, None), (2, 5, 1, 9, "c"))
    assert jobs.recorded_places == 2
    assert jobs.take(np.array([1, 2])).table["recorded_place"].to_pylist() == [None, "c"]
    assert jobs.first(2).table["recorded_place"].to_pylist() == ["a", None]
    assert jobs.with_nodes(np.array([7, 8, 9])).table["recorded_place"].to_pylist() == ["a", None, "c"]
    assert all("a" not in job and "c" not in job for job in jobs.jobs())  # no scheduler sees them


def test_places_survive_in_the_cache_and_in_records_but_not_in_swf(data, tmp_path):
    once, again = (read_trace(data / RECORD, reservations="keep") for _ in range(2))
    names = again.table["recorded_place"].to_pylist()
    assert once.table["recorded_place"].to_pylist() == names
    assert again.recorded_places == 6833
    assert names[:2] == ["MIR-04000-37FF1-8192", "MIR-08000-3BFF1-8192"]
    part = again.first(500)
    write_alcf(part, tmp_path / "part.csv")
    assert read_alcf(tmp_path / "part.csv", reservations="keep").table["recorded_place"].to_pylist() == names[:500]
    write_swf(part, tmp_path / "part.swf")
    assert "; Note: the places of 500 jobs are left out" in (tmp_path / "part.swf").read_text()
    assert read_trace(tmp_path / "part.swf").recorded_places == 0
    said = CliRunner().invoke(cli, ["trace", "convert", str(tmp_path / "part.csv"), str(tmp_path / "other.swf")])
    assert f"{read_alcf(tmp_path / 'part.csv').recorded_places} of them" in said.stdout


def test_lists_of_hosts_are_no_places(data):
    for record in ("THETAGPU_20200922_20201231", "INTREPID_20140101_20141231"):
        assert read_trace(data / f"traces/alcf/ANL-ALCF-DJC-{record}.csv.gz").recorded_places == 0


@pytest.mark.parametrize("block", range(0, len(TABLE.units), 7))
def test_every_block_has_a_name_that_leads_back_to_it(block):
    assert block_of_name(name_of(TABLE.units[block])).tolist() == TABLE.units[block].tolist()


# -- placement: recorded --------------------------------------------------------------------------


def test_a_job_gets_its_place_if_it_is_free_and_else_the_least_blocking_one():
    home = name_of([40, 41])
    jobs = workload(
        (0, 100, 2, 100, home),
        (1, 100, 2, 100, home),  # taken
        (2, 100, 2, 100, name_of([41])),  # not as large as the job
        (3, 100, 1, 100, None),
        (4, 100, 2, 100, "MIR-nowhere"),
        (200, 100, 2, 100, home),
    )
    sim = simulation(jobs, easy())
    placed = [units_of(row["units"]) for row in checked(sim)[1]]
    assert placed[0] == placed[5] == [40, 41]
    assert sim.site.recorded.starts == {"kept": 2, "other": 1, "none": 3}
    blocks = TorusBlocks(RINGS, MIRA.block_units)
    blocks.start(blocks.block_of(np.array([40, 41])))
    assert placed[1] == TABLE.units[blocks.least_blocking(2)].tolist()


jobs_with_places = st.lists(
    st.tuples(
        st.integers(0, 4000), st.integers(1, 3000), st.sampled_from(SIZES), st.integers(1, 3000), st.integers(0, 10**6)
    ),
    min_size=1, max_size=30,
)  # fmt: skip


def with_places(rows):
    """Jobs with some block of their size as their recorded place; every fifth without one."""
    jobs = []
    for submit, runtime, size, walltime, number in sorted(rows):
        first, end = TABLE.span[size]
        place = name_of(TABLE.units[first + number % (end - first)]) if number % 5 else None
        jobs.append((submit, runtime, size, walltime, place))
    return workload(*jobs)


@settings(deadline=None, max_examples=40)
@given(jobs_with_places, st.booleans())
def test_what_the_room_agrees_to_is_carried_out_and_every_start_is_counted(rows, conservative):
    jobs = with_places(rows)
    scheduler = Conservative(Conservative.Options()) if conservative else easy()
    sim = simulation(jobs, scheduler, outages=[Outage(1500, 2500, 30, "outage")])
    _, attempts = checked(sim)
    refuse_conflicts(attempts)
    names = dict(zip(jobs.table["name"].to_pylist(), jobs.table["recorded_place"].to_pylist(), strict=True))
    counts = {"kept": 0, "other": 0, "none": 0}
    for row in attempts:
        name = names[row["job_id"]]
        same = name is not None and block_of_name(name).tolist() == units_of(row["units"])
        counts["none" if name is None else "kept" if same else "other"] += 1
    assert sim.site.recorded.starts == counts


@settings(deadline=None, max_examples=20)
@given(jobs_with_places, st.integers(0, 5000))
def test_a_fork_places_and_counts_as_its_parent_does(rows, at):
    parent = simulation(with_places(rows), easy())
    parent.run(at)
    fork = parent.fork()
    before = dict(parent.site.recorded.starts)
    fork.run()
    assert parent.site.recorded.starts == before
    parent.run()
    assert fork.site.recorded.starts == parent.site.recorded.starts
    assert attempts_table(fork) == attempts_table(parent)


@pytest.mark.parametrize(
    ("machine", "more", "said"),
    [
        ("cooley", {}, "found 'recorded', but Cooley has no torus with blocks"),
        ("mira", {"machine.nodes": 24_576}, "Mira has no torus with blocks with 24576 nodes"),
        ("mira", {}, "synthetic mira, seed 1 names no block of Mira"),
    ],
)
def test_where_no_place_can_be_replayed_the_scenario_is_refused(machine, more, said):
    changes = {"machine.model": machine, "physics": OFF | {"placement": "recorded"}, "jobs": 5} | more
    with pytest.raises(InputError, match=rf"^override physics: physics\.placement: .*{said}"):
        hpcsim.simulate(machine, changes)


# -- what really happened -------------------------------------------------------------------------


@cache
def box_and_cables(text):
    """The midplanes of an attempt and the cables of their rings: a count by hand, without the tables of the machine."""
    units = frozenset(units_of(text))
    corners = {tuple(int(c) for c in np.unravel_index(unit, RINGS)) for unit in units}
    along = [{corner[d] for corner in corners} for d in range(4)]
    assert len(units) == np.prod([len(part) for part in along]), text
    cables = set()
    for d, part in enumerate(along):
        if len(part) == 1:
            continue
        mesh = len(units) in (2, 64) and len(part) < RINGS[d]
        used = {c for c in part if (c + 1) % RINGS[d] in part} if mesh else range(RINGS[d])
        cables |= {(d, rest, c) for rest in product(*along[:d], *along[d + 1 :]) for c in used}
    return units, frozenset(cables)


def refuse_conflicts(attempts):
    """No two attempts that overlap in time share a midplane or a cable; how many pairs there were."""
    running, pairs = [], 0
    for row in sorted(attempts, key=lambda row: row["start_s"]):
        units, cables = box_and_cables(row["units"])
        running = [other for other in running if other[0] > row["start_s"]]
        for _, other_units, other_cables in running:
            assert not units & other_units
            assert not cables & other_cables
        pairs += len(running)
        if row["end_s"] > row["start_s"]:
            running.append((row["end_s"], units, cables))
    return pairs


@pytest.mark.parametrize("placement", ["torus", "recorded"])
def test_jobs_of_a_torus_never_share_a_midplane_or_a_cable(data, placement):
    settings = {"trace": str(data / RECORD), "machine.model": "mira", "physics": {"placement": placement}}
    run = hpcsim.simulate("mira", settings, check=True)
    assert run.summary["interrupts"] > 20
    assert refuse_conflicts(run.tables["attempts"].to_pylist()) > 100_000


def test_the_record_of_mira_replays_to_its_own_seconds_and_places(data):
    """All 6,833 jobs fit in the second and the block of the record, but two, whose block is free 1 s and 4 s late."""
    settings = {
        "trace": str(data / RECORD), "reservations": "keep", "scheduler": "recorded",
        "machine.model": "mira", "physics": OFF | {"placement": "recorded"},
    }  # fmt: skip
    run = hpcsim.simulate("mira", settings, check=True)
    record = read_trace(data / RECORD, reservations="keep")
    late = run.jobs["start_s"].to_numpy() - record.column("recorded_start_s")
    assert sorted(late[late != 0].tolist()) == [1, 4]
    assert run.summary["recorded_places"] == {"kept": 6833, "other": 0, "none": 0}
    names = dict(zip(record.table["name"].to_pylist(), record.table["recorded_place"].to_pylist(), strict=True))
    for job, units in zip(run.attempts["job_id"], run.attempts["units"], strict=True):
        assert block_of_name(names[job]).tolist() == units_of(units)
    refuse_conflicts(run.tables["attempts"].to_pylist())
    assert run.manifest["needs"] == ["clairvoyance"]


@settings(deadline=None, max_examples=40)
@given(jobs_with_places, st.sampled_from(["easy", "conservative"]))
def test_the_record_of_any_run_replays_to_that_run(rows, scheduler):
    jobs = with_places(rows)
    made = {"easy": easy, "conservative": lambda: Conservative(Conservative.Options())}[scheduler]()
    table, attempts = checked(simulation(jobs, made, recorded=False))
    places = {row["job_id"]: name_of(units_of(row["units"])) for row in attempts}
    columns = {name: jobs.column(name).tolist() for name in ("submit_s", "runtime_s", "nodes", "walltime_s")}
    record = workload(
        *zip(columns["submit_s"], columns["runtime_s"], [n // 512 for n in columns["nodes"]], columns["walltime_s"],
             [places[row["job_id"]] for row in table], strict=True),
        recorded_start_s=[row["start_s"] for row in table],
    )  # fmt: skip
    again, attempts_again = checked(simulation(record, Recorded()))
    assert [row["start_s"] for row in again] == [row["start_s"] for row in table]
    assert {row["job_id"]: row["units"] for row in attempts_again} == {row["job_id"]: row["units"] for row in attempts}


def test_on_a_machine_that_counts_nodes_a_job_starts_in_its_second_or_as_soon_as_it_fits():
    submit, nodes, start = [0, 0, 0, 0, 5], [2, 2, 2, 4, 1], [10, 10, 12, -1, 30]
    jobs = workload_from_columns(
        t0_utc=0, source="test", name=list("abcde"), submit_s=submit, nodes=nodes, walltime_s=[9] * 5,
        runtime_s=[9] * 5, recorded_start_s=start,
    )  # fmt: skip
    sim = Simulation(jobs, Recorded(), nodes=4)
    sim.run()
    # d has no recorded start and the whole machine to itself at first; c is late by what the record overlaps
    assert dict(zip(sim.attempts.job, sim.attempts.start, strict=True)) == {3: 0, 0: 10, 1: 10, 2: 19, 4: 30}
    assert sim.attempts.why == ["as recorded", "as recorded", "as recorded", "its second was 12", "as recorded"]
    late = Simulation(jobs, Recorded(), nodes=4, launch_latency=3)
    late.run()
    assert dict(zip(late.attempts.job, late.attempts.start, strict=True))[4] == 30


@pytest.mark.parametrize("ask", ["recorded_start", "recorded_place_is_taken"])
def test_only_a_scheduler_that_declares_clairvoyance_may_ask_for_the_record(ask):
    class Curious:
        name = "curious"
        api = 1

        def schedule(self, view):
            room = view.room()
            for job in view.queue:
                view.recorded_start(job) if ask == "recorded_start" else view.recorded_place_is_taken(job, room)
                yield Start(job)

    jobs = workload((0, 10, 1, 10, name_of([3])), recorded_start_s=[0])
    with pytest.raises(SchedulerError, match=r"curious raised PermissionError: .*declare needs = \{\"clairvoyance\"\}"):
        simulation(jobs, Curious()).run()
    Curious.needs = frozenset({"clairvoyance"})
    simulation(jobs, Curious()).run()


def test_a_warm_start_finds_no_job_in_a_place_that_is_not_to_be_had(data):
    """On 2020-01-10 eight jobs ran; blocks that are chosen anew leave no room for the last of them: it waits."""
    for placement, found in (("torus", 7), ("recorded", 8)):
        settings = {
            "trace": str(data / RECORD), "reservations": "keep", "machine.model": "mira",
            "physics": OFF | {"placement": placement}, "until": "2020-01-11 12:00:00",
            "window": {"start": "2020-01-10 12:00:00", "end": "2020-01-11 12:00:00", "warm_start": True},
        }  # fmt: skip
        run = hpcsim.simulate("mira", settings, check=True)
        assert int((run.attempts["why"] == "running at the start").sum()) == found
        assert run.manifest["warm_start_jobs"] == found


def test_the_machine_is_where_the_trace_was_recorded(data):
    """A name of Mira says nothing about another torus."""
    jobs = read_trace(Path(data) / RECORD).first(10)
    other = block_table((2, 2, 2, 2), (1, 2, 4, 8, 16))
    assert RecordedPlaces(jobs, other, 512).jobs == 0
    assert RecordedPlaces(jobs, TABLE, 512).jobs == 10
