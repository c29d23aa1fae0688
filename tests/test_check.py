"""``--check`` sees each law that is broken: a sound run passes, and its books, tampered with, are told apart."""

import numpy as np
import pyarrow as pa
import pytest

import hpcsim
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InvariantBroken
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.service import Outage
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

COOLEY = load_machine("cooley")


def finished():
    """Three jobs on Cooley, the last of which waits for the first; 40 nodes are out of service for a while."""
    jobs = workload_from_columns(
        t0_utc=0, source="test", name=["a", "b", "c"], submit_s=[0, 10, 20], nodes=[120, 126, 2],
        walltime_s=[100, 100, 100], runtime_s=[100, 100, 100], after=[None, None, [0]],
    )  # fmt: skip
    outages = [Outage(250, 400, 40, "outage")]
    cluster = Cluster(COOLEY, draw_behaviour(jobs, 1), policy="packed", start=0, outages=outages)
    site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None)
    simulation = Simulation(jobs, EASY(EASY.Options()), nodes=126, site=site)
    simulation.run()
    return simulation


def tables(simulation):
    jobs = jobs_table(simulation, np.ones(len(simulation.workload), bool))
    return {"jobs": jobs, "attempts": attempts_table(simulation), "timeline": timeline_table(simulation)}


def changed(table, column, row, value):
    values = table.column(column).to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(values, table.column(column).type))


def a_job_comes_twice(simulation, made):
    simulation.ledger.came(0)


def a_job_stays_longer(simulation, made):
    simulation.ledger.left(5)
    simulation.ledger.came(4)


def busy_seconds_are_lost(simulation, made):
    simulation.ledger.busy_node_seconds -= 1


def the_timeline_counts_a_job_too_many(simulation, made):
    made["timeline"] = changed(made["timeline"], "queue", 1, made["timeline"].column("queue")[1].as_py() + 1)


def the_timeline_is_busier(simulation, made):
    made["timeline"] = changed(made["timeline"], "busy_nodes", 0, 121)


def an_end_is_told_late(simulation, made):
    made["jobs"] = changed(made["jobs"], "end_s", 2, 1000)


def the_end_before_is_told_late(simulation, made):
    made["jobs"] = changed(made["jobs"], "end_s", 0, 250)


def a_start_before_its_submission(simulation, made):
    made["attempts"] = changed(made["attempts"], "start_s", 1, 3)


def an_outage_while_a_job_runs(simulation, made):
    (outage,) = simulation.site.cluster.service.interrupts
    simulation.site.cluster.service.interrupts[0] = outage._replace(time_s=150, until_s=300)


def a_start_where_nothing_works(simulation, made):
    (outage,) = simulation.site.cluster.service.interrupts
    simulation.site.cluster.service.interrupts[0] = outage._replace(time_s=0, until_s=60)


def a_repair_that_took_longer(simulation, made):
    (outage,) = simulation.site.cluster.service.interrupts
    simulation.site.cluster.service.interrupts[0] = outage._replace(time_s=240)


def a_node_second_in_no_state(simulation, made):
    simulation.site.cluster.meter._since_s["idle"] += 1


def a_node_second_in_another_state(simulation, made):
    simulation.site.cluster.meter._since_s["idle"] += 1
    simulation.site.cluster.meter._since_s["busy"] -= 1


def joules_that_nobody_booked(simulation, made):
    simulation.site._books.to_change(0)[0][1][0] += 1000.0


def joules_of_no_job(simulation, made):
    made["jobs"] = changed(made["jobs"], "energy_j", 0, 1.0)


SAID = {
    a_job_comes_twice: r"disagree on the job-seconds, by Little's law, of the run: the ledger \d+, the jobs \d+",
    a_job_stays_longer: "disagree on the job-seconds, by Little's law,",
    busy_seconds_are_lost: r"disagree on the node-seconds of the run: the ledger (\d+), the attempts \d+",
    the_timeline_counts_a_job_too_many: "Little's law",
    the_timeline_is_busier: "disagree on the node-seconds",
    an_end_is_told_late: "Little's law",
    the_end_before_is_told_late: "t=200: job c started before job a had ended",
    a_start_before_its_submission: "t=3: job b started before its submission at 10",
    an_outage_while_a_job_runs: "t=150: unit 86 is out of service, and job b goes on there",
    a_start_where_nothing_works: "t=0: job a starts on unit 86, which is out of service",
    a_repair_that_took_longer: "nodes were in repair for 2000 s, the interrupts come to 2400",
    a_node_second_in_no_state: r"nodes spent .* seconds in their states, of 37800",
    a_node_second_in_another_state: r"nodes were busy for \d+ s, the ledger integrated \d+",
    joules_that_nobody_booked: r"the parts add up to \S+ J, the facility drew \S+ J",
    joules_of_no_job: r"the jobs drew \S+ J, their attempts \S+ J",
}


def test_a_sound_run_keeps_all_laws():
    simulation = finished()
    check(simulation, **tables(simulation))


@pytest.mark.parametrize("tamper", SAID, ids=lambda tamper: tamper.__name__)
def test_what_is_broken_is_told(tamper):
    simulation = finished()
    made = tables(simulation)
    tamper(simulation, made)
    with pytest.raises(InvariantBroken, match=SAID[tamper]):
        check(simulation, **made)


def test_a_checked_run_leaves_the_same_behind():
    """Whatever the check settles: tables and summary are those of a run that was not checked."""
    plain, checked = (hpcsim.simulate("polaris", {"jobs": 60}, check=check) for check in (False, True))
    assert checked.manifest["checked"]
    assert checked.tables == plain.tables
    assert checked.summary == plain.summary
