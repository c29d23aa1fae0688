"""Node pools: nobody gets what is exclusive to others, bounds hold, counts are right; and who is stopped for whom."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.preemption import Stoppable, to_stop
from hpcsim.machine.places import Places
from hpcsim.machine.pools import NodePools
from hpcsim.machine.queue_rules import Pool
from hpcsim.machine.spec import CoolingSpec, FailureSpec, MachineSpec, PowerSpec, ThermalSpec
from hpcsim.workload.job import Job

UNITS = 14


def machine(unit_nodes: int = 1, units: int = UNITS) -> MachineSpec:
    return MachineSpec(
        name="tiny",
        nodes=units * unit_nodes,
        unit_nodes=unit_nodes,
        racks=-(-units // 4),
        units_per_rack=4,
        racks_per_group=2,
        cores_per_node=1,
        gpus_per_node=0,
        memory_gib=1.0,
        power=PowerSpec(idle_w=1.0, cpu_dyn_w=1.0, gpu_dyn_w=0.0),
        thermal=ThermalSpec(supply_c=20.0, supply_season_k=0.0, supply_day_k=0.0, node_k_per_w=0.1, node_j_per_k=1.0),
        failures=FailureSpec(mean_gap_h=1.0, weibull_shape=1.0, repair_median_h=1.0, repair_sigma=1.0),
        cooling=CoolingSpec(kind="air"),
    )


def job(number: int, nodes: int, queue: str) -> Job:
    return Job(number, str(number), 0, nodes, 60, "u", "p", queue)


# -- pools ----------------------------------------------------------------------------------------

QUEUES = ("a", "b", "c")
some_pools = st.dictionaries(
    st.sampled_from(QUEUES[:2]), st.builds(Pool, exclusive=st.integers(0, 5), shared=st.integers(0, 6)), max_size=2
)
actions = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "begin", "end", "end", "down", "up", "sleep", "wake", "turn", "wanted"]),
        st.integers(0, 99),
        st.lists(st.integers(0, UNITS - 1), min_size=1, max_size=6, unique=True),
        st.sampled_from(QUEUES),
        some_pools,
    ),
    max_size=40,
)


class Model:
    """What is true of the pools, unit by unit."""

    def __init__(self, policy: str, unit_nodes: int, pools: dict[str, Pool]) -> None:
        self.unit_nodes = unit_nodes
        self.places = Places(machine(unit_nodes), policy)
        self.pools = NodePools(self.places, QUEUES[:2], pools)
        self.rules = pools
        self.due = self.laid_out(pools)
        self.owner: list[str | None] = [None] * UNITS
        self.down: set[int] = set()
        self.asleep: set[int] = set()
        self.jobs: dict[int, tuple[str, Any, int]] = {}  # queue, units, general nodes when it began

    def laid_out(self, pools: dict[str, Pool]) -> list[str | None]:
        last_first = [queue for queue, pool in pools.items() for _ in range(-(-pool.exclusive // self.unit_nodes))]
        return [*reversed([*last_first[:UNITS], *[None] * (UNITS - len(last_first))])]

    def held(self) -> set[int]:
        return {unit for _, units, _ in self.jobs.values() for unit in units.tolist()}

    def hand_over(self) -> None:
        for unit in set(range(UNITS)) - self.held():
            self.owner[unit] = self.due[unit]

    def usable(self, owner: str | None) -> set[int]:
        ready = set(range(UNITS)) - self.held() - self.down - self.asleep
        return {unit for unit in ready if self.owner[unit] == owner}

    def general_of(self, queue: str) -> int:
        return sum(general for other, _, general in self.jobs.values() if other == queue)

    def check(self) -> None:
        assert self.places.free_nodes == len(self.usable(None)) * self.unit_nodes
        assert len(self.held()) == sum(units.size for _, units, _ in self.jobs.values())
        for queue, pool in self.rules.items():
            assert self.pools.own_free(queue) == len(self.usable(queue)) * self.unit_nodes
            assert self.pools.general_left(queue) == pool.shared - self.general_of(queue)
        for job_id, (_, units, _) in self.jobs.items():
            due = Counter(self.due[unit] for unit in units.tolist())
            nodes = units.size * self.unit_nodes
            assert self.pools.coming_back(job_id, nodes) == due[None] * self.unit_nodes
            own = {queue: count * self.unit_nodes for queue, count in due.items() if queue is not None}
            assert self.pools.returns.get(job_id, (0, {}))[1] == own
        assert set(self.places.aside_U.nonzero()[0].tolist()) == {u for u in range(UNITS) if self.owner[u] is not None}

    def begin(self, number: int, count: int, queue: str, wanted: list[int] | None = None) -> None:
        asked = job(number, count * self.unit_nodes, queue)
        mine = self.usable(queue) if queue in self.rules else set()
        general = self.usable(None)
        named = None if wanted is None else np.array(wanted, np.int64)
        own_count = min(count, len(mine)) if wanted is None else len(mine & set(wanted))
        allowed = own_count + len(general) >= count if wanted is None else set(wanted) <= mine | general
        if queue in self.rules:
            left = self.rules[queue].shared - self.general_of(queue)
            allowed = allowed and (count - own_count) * self.unit_nodes <= max(0, left)
        scores = np.arange(UNITS) % 5 * 1.0

        def start() -> Any:
            own, others = self.pools.choose(asked, named)
            if own is None:
                return own, self.places.take(asked.nodes, wanted=others, scores_U=scores)
            return own, self.places.take_beside(own, asked.nodes, wanted=others, scores_U=scores)

        if not allowed:
            with pytest.raises(ValueError, match=r"free|general nodes|not available"):
                start()
            return
        own, units = start()
        self.pools.begin(asked, units, own)
        got = units.tolist()
        assert got == sorted(set(got))
        assert len(got) == count
        assert set(got) <= mine | general  # nothing that another queue owns, or another job holds
        assert len(set(got) & mine) == own_count  # its own first
        if wanted is not None:
            assert got == sorted(wanted)
        self.jobs[number] = (queue, units, (count - own_count) * self.unit_nodes)

    def step(self, number: int, action: Any) -> None:
        what, which, some, queue, pools = action
        if what == "begin":
            self.begin(number, 1 + which % 6, queue)
        elif what == "wanted":
            self.begin(number, len(some), queue, some)
        elif what == "end" and self.jobs:
            self.end([*self.jobs][which % len(self.jobs)])
        elif what == "down":
            self.places.set_down(np.array(some))
            self.down |= set(some)
        elif what == "up":
            self.places.set_up(np.array(some))
            self.down -= set(some)
        elif what == "sleep" and not self.held() & set(some):
            self.places.sleep(np.array(some))
            self.asleep |= set(some)
        elif what == "wake":
            self.places.wake(np.array(some))
            self.asleep -= set(some)
        elif what == "turn":
            self.rules, self.due = pools, self.laid_out(pools)
            self.pools.turn_to(pools)
            for job_id, (_, units, _) in self.jobs.items():
                self.pools.note(job_id, units)
            self.hand_over()
        self.check()

    def end(self, number: int) -> None:
        _, units, _ = self.jobs.pop(number)
        self.places.release(units)
        self.pools.end(number, units)
        self.hand_over()


@settings(deadline=None, max_examples=250)
@given(some_pools, actions, st.sampled_from(["packed", "spread", "contiguous", "coolest"]), st.sampled_from([1, 1, 2]))
def test_the_books_of_the_pools_are_right_whatever_happens(
    pools: dict[str, Pool], happenings: list[Any], policy: str, unit_nodes: int
) -> None:
    model = Model(policy, unit_nodes, pools)
    model.pools.open()
    model.hand_over()
    model.check()
    for number, action in enumerate(happenings):
        model.step(number, action)
    twin = copy.deepcopy((model.places, model.pools))
    assert twin[1].places is twin[0]
    for number in [*model.jobs]:
        model.end(number)
        model.check()


@settings(deadline=None, max_examples=100)
@given(some_pools, st.lists(st.tuples(st.integers(1, 6), st.sampled_from(QUEUES)), max_size=8), st.randoms())
def test_jobs_that_are_there_when_the_rules_begin_are_left_in_peace(
    pools: dict[str, Pool], there: list[tuple[int, str]], random: Any
) -> None:
    model = Model("packed", 1, pools)
    for number, (count, queue) in enumerate(there):
        if count > UNITS - len(model.held()):
            continue
        asked = job(number, count, queue)
        mine = {unit for unit in range(UNITS) if queue in pools and model.due[unit] == queue} - model.held()
        own, _ = model.pools.choose(asked)
        units = model.places.take(count) if own is None else model.places.take_beside(own, count)
        model.pools.begin(asked, units, own)
        own_count = min(count, len(mine))
        assert len(set(units.tolist()) & mine) >= own_count  # it lies on what is its queue's, as far as that is free
        for unit in () if own is None else own.tolist():
            model.owner[unit] = queue
        model.jobs[number] = (queue, units, count - (0 if own is None else own.size))
    model.pools.open()
    model.hand_over()
    model.check()
    for number in random.sample([*model.jobs], len(model.jobs)):
        model.end(number)
        model.check()


def test_polaris_in_numbers() -> None:
    places = Places(machine(units=560), "packed")
    pools = NodePools(places, ["debug"], {"debug": Pool(8, 16)})
    pools.open()
    assert places.free_nodes == 552
    taken = []
    for number in range(13):
        asked = job(number, 2, "debug")
        if number == 12:
            with pytest.raises(ValueError, match="queue debug may take 0 more general nodes, and this takes 2 of them"):
                pools.choose(asked)
            break
        own, _ = pools.choose(asked)
        assert own is not None
        units = places.take_beside(own, 2)
        pools.begin(asked, units, own)
        taken.append(units.tolist())
    assert taken[:4] == [[552, 553], [554, 555], [556, 557], [558, 559]]
    assert [unit for units in taken[4:] for unit in units] == [*range(16)]  # then where the machine's policy says
    assert places.free_nodes == 552 - 16


def test_wanted_units_of_others_are_refused_by_name() -> None:
    places = Places(machine(), "packed")
    pools = NodePools(places, ["a", "b"], {"a": Pool(3, 1), "b": Pool(2, 1)})
    pools.open()
    with pytest.raises(ValueError, match=r"not available \(exclusive to a queue: 11\)"):
        places.take(2, wanted=np.array([3, 11]))
    own, others = pools.choose(job(0, 2, "a"), np.array([3, 11]))
    assert own is not None
    assert (own.tolist(), others.tolist() if others is not None else None) == ([11], [3])
    with pytest.raises(ValueError, match="queue a may take 1 more general nodes, and this takes 2 of them"):
        pools.choose(job(0, 2, "a"), np.array([3, 4]))
    with pytest.raises(ValueError, match="takes 2 different units, but 3 were wanted"):
        pools.choose(job(0, 2, "a"), np.array([11, 12, 13]))
    own, others = pools.choose(job(0, 2, "b"), np.array([10, 11]))  # 11 is a's
    assert own is not None
    with pytest.raises(ValueError, match=r"not available \(exclusive to a queue: 11\)"):
        places.take_beside(own, 2, wanted=others)
    with pytest.raises(ValueError, match="busy and cannot change hands"):
        places.set_aside(places.take(2))


# -- who is stopped -------------------------------------------------------------------------------

jobs_to_stop = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), max_size=7).map(
    lambda rows: [Stoppable(start, number, nodes) for number, (start, nodes) in enumerate(rows)]
)


@settings(deadline=None, max_examples=300)
@given(jobs_to_stop, st.integers(1, 20))
def test_what_is_stopped_is_enough_and_nothing_of_it_could_be_spared(jobs: list[Stoppable], missing: int) -> None:
    chosen = to_stop(jobs, missing)
    if chosen is None:
        assert sum(each.nodes for each in jobs) < missing
        return
    assert set(chosen) <= set(jobs)
    assert len(set(chosen)) == len(chosen)
    found = sum(each.nodes for each in chosen)
    assert found >= missing
    assert all(found - each.nodes < missing for each in chosen)
    # No older job is stopped where the younger ones have enough.
    oldest = min(each.start for each in chosen)
    assert sum(each.nodes for each in jobs if each.start > oldest) < missing
    # Where one job of the youngest has enough by itself, the smallest such job alone is stopped.
    youngest = max(each.start for each in jobs)
    alone = [each.nodes for each in jobs if each.start == youngest and each.nodes >= missing]
    if alone:
        assert [each.nodes for each in chosen] == [min(alone)]
    assert to_stop(jobs[::-1], missing) == chosen  # whatever the order in which they are named


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=7), st.integers(1, 20))
def test_among_jobs_of_one_age_as_few_as_possible_are_stopped(nodes: list[int], missing: int) -> None:
    jobs = [Stoppable(5, number, each) for number, each in enumerate(nodes)]
    chosen = to_stop(jobs, missing)
    enough = [count for count in range(1, 8) for some in combinations(nodes, count) if sum(some) >= missing]
    assert (0 if chosen is None else len(chosen)) == min(enough, default=0)


def test_the_oldest_is_spared_first() -> None:
    old, middle, young = Stoppable(1, 0, 10), Stoppable(2, 1, 3), Stoppable(3, 2, 2)
    assert to_stop([old, middle, young], 4) == [young, middle]
    assert to_stop([old, middle, young], 10) == [old]  # the others alone are not enough, and it is
    assert to_stop([old, middle, young], 11) == [young, old]
    assert to_stop([old, middle, young], 16) is None
    assert to_stop([], 1) is None
