"""Places: nobody gets what another has, every policy does what it says, and torus blocks do not cross."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.machine.places import POLICIES, Places
from hpcsim.machine.spec import CoolingSpec, FailureSpec, MachineSpec, PowerSpec, ThermalSpec
from hpcsim.machine.torus import MIRA, TorusBlocks, block_of_name, block_table, boxes

MIRA_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96)
ON_NODES = [policy for policy in POLICIES if policy != "torus"]


def machine(
    units: int,
    units_per_rack: int,
    racks_per_group: int | None = None,
    unit_nodes: int = 1,
    torus: tuple[int, int, int, int] | None = None,
    block_units: tuple[int, ...] | None = None,
) -> MachineSpec:
    return MachineSpec(
        name="tiny",
        nodes=units * unit_nodes,
        unit_nodes=unit_nodes,
        racks=-(-units // units_per_rack),
        units_per_rack=units_per_rack,
        racks_per_group=racks_per_group,
        cores_per_node=1,
        gpus_per_node=0,
        memory_gib=1.0,
        power=PowerSpec(idle_w=1.0, cpu_dyn_w=1.0, gpu_dyn_w=0.0),
        thermal=ThermalSpec(supply_c=20.0, supply_season_k=0.0, supply_day_k=0.0, node_k_per_w=0.1, node_j_per_k=1.0),
        failures=FailureSpec(mean_gap_h=1.0, weibull_shape=1.0, repair_median_h=1.0, repair_sigma=1.0),
        cooling=CoolingSpec(kind="air"),
        torus=torus,
        block_units=block_units,
    )


def mira() -> MachineSpec:
    return machine(96, 2, None, 512, MIRA, MIRA_SIZES)


def units(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


@st.composite
def machines(draw: st.DrawFn, largest: int = 40) -> MachineSpec:
    return machine(
        draw(st.integers(1, largest)),
        draw(st.integers(1, 9)),
        draw(st.sampled_from([None, 1, 2, 3])),
        draw(st.sampled_from([1, 1, 8])),
    )


def with_open(spec: MachineSpec, policy: str, open_units: list[int]) -> Places:
    """Places where exactly these units are open."""
    places = Places(spec, policy)
    places.set_down(np.array([unit for unit in range(spec.units) if unit not in open_units], np.int64))
    return places


# -- whatever happens --------------------------------------------------------------------------


class Model:
    """What is true of a machine, kept as plain sets."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.all = set(range(places.spec.units))
        self.down: set[int] = set()
        self.asleep: set[int] = set()
        self.jobs: list[tuple[list[int], Any]] = []  # the units at the time, and the array that was handed out

    def busy(self) -> set[int]:
        return {unit for mine, _ in self.jobs for unit in mine}

    def open(self) -> set[int]:
        return self.all - self.busy() - self.down - self.asleep

    def check(self) -> None:
        places = self.places
        assert places.free_nodes == len(self.open()) * places.spec.unit_nodes
        assert places.down_units == len(self.down)
        assert set((places.holder_U < 0).nonzero()[0].tolist()) == self.all - self.busy()
        assert set((~places.up_U).nonzero()[0].tolist()) == self.down
        assert set(places.asleep_U.nonzero()[0].tolist()) == self.asleep
        assert set(places.open_U.nonzero()[0].tolist()) == self.open()
        assert sum(len(mine) for mine, _ in self.jobs) == len(self.busy())  # never two owners

    def take(self, nodes: int, **how: Any) -> bool:
        places = self.places
        fits = places.fits(nodes)
        if not fits:
            with pytest.raises(ValueError, match=r"nodes|block|different units|not available"):
                places.take(nodes, **how)
            return False
        open_before = self.open()
        got = places.take(nodes, **how)
        size = places.size(nodes)
        assert size is not None
        assert got.dtype == np.int64
        assert got.tolist() == sorted(set(got.tolist()))
        assert got.size == size // places.spec.unit_nodes
        assert set(got.tolist()) <= open_before
        self.jobs.append((got.tolist(), got))
        return True

    def release(self, at: int) -> None:
        mine, handed_out = self.jobs.pop(at % len(self.jobs))
        assert handed_out.tolist() == mine
        self.places.release(handed_out)

    def step(self, what: str, number: int, some: list[int]) -> None:
        chosen = sorted({unit % len(self.all) for unit in some})
        if what == "take":
            scores = np.array([(unit * number) % 7 for unit in range(len(self.all))], float)
            self.take(number, scores_U=scores)
        elif what == "wanted" and set(chosen) <= self.open() and self.places.blocks is None:
            assert self.take(len(chosen) * self.places.spec.unit_nodes, wanted=np.array(chosen[::-1]))
            assert self.jobs[-1][0] == chosen
        elif what == "release" and self.jobs:
            self.release(number)
        elif what == "down":
            self.places.set_down(np.array(chosen))
            self.down |= set(chosen)
        elif what == "up":
            self.places.set_up(np.array(chosen))
            self.down -= set(chosen)
        elif what == "sleep" and not self.busy() & set(chosen):
            self.places.sleep(np.array(chosen))
            self.asleep |= set(chosen)
        elif what == "wake":
            self.places.wake(np.array(chosen))
            self.asleep -= set(chosen)
        self.check()

    def end(self) -> None:
        everything = np.array(sorted(self.all))
        while self.jobs:
            self.release(0)
        self.places.set_up(everything)
        self.places.wake(everything)
        self.down, self.asleep = set(), set()
        self.check()


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "wanted", "release", "release", "down", "up", "sleep", "wake"]),
        st.integers(1, 60),
        st.lists(st.integers(0, 95), min_size=1, max_size=6),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(spec=machines(), policy=st.sampled_from(ON_NODES), happenings=steps)
def test_books_are_right_whatever_happens(spec: MachineSpec, policy: str, happenings: list[Any]) -> None:
    model = Model(Places(spec, policy))
    for what, number, some in happenings:
        model.step(what, number, some)
    model.end()
    assert model.places.take(spec.nodes, scores_U=np.zeros(spec.units)).tolist() == list(range(spec.units))


@settings(deadline=None, max_examples=40)
@given(happenings=steps)
def test_books_of_a_torus_are_right_and_no_two_running_blocks_conflict(happenings: list[Any]) -> None:
    model = Model(Places(mira(), "torus"))
    blocks = model.places.blocks
    assert blocks is not None
    for what, number, some in happenings:
        model.step(what, number * 256 if what == "take" else number, some)
        running = np.array(blocks.running, np.int64)
        assert np.count_nonzero(blocks.table.conflict_BB[running[:, None], running]) == running.size
        assert sorted(map(tuple, (mine for mine, _ in model.jobs))) == sorted(
            tuple(blocks.table.units[block].tolist()) for block in blocks.running
        )
    model.end()
    assert model.places.take(49_152).size == 96


@pytest.mark.parametrize("policy", ON_NODES)
def test_a_copy_lives_on_its_own_and_chooses_the_same(policy: str) -> None:
    places = Places(machine(40, 7, 2), policy)
    scores = np.arange(40) % 5 * 1.0
    first = places.take(9, scores_U=scores)
    twin, its_first = copy.deepcopy((places, first))
    assert places.take(12, scores_U=scores).tolist() == twin.take(12, scores_U=scores).tolist()
    places.release(first)
    assert places.free_nodes == twin.free_nodes + 9
    twin.release(its_first)
    assert twin.open_U.tolist() == places.open_U.tolist()


# -- the policies against all possible choices ---------------------------------------------------


def touched(numbers: tuple[int, ...] | list[int], width: int) -> int:
    return len({unit // width for unit in numbers})


@st.composite
def situations(draw: st.DrawFn) -> tuple[MachineSpec, list[int], int]:
    """A small machine, its open units, and how many a job takes."""
    spec = machine(
        draw(st.integers(1, 11)), draw(st.integers(1, 4)), draw(st.sampled_from([None, 1, 2, 2, 3])), unit_nodes=1
    )
    open_units = sorted(draw(st.sets(st.integers(0, spec.units - 1), min_size=1)))
    return spec, open_units, draw(st.integers(1, len(open_units)))


@settings(deadline=None, max_examples=300)
@given(situations())
def test_packed_takes_one_rack_else_one_group_else_the_fewest(situation: tuple[MachineSpec, list[int], int]) -> None:
    spec, open_units, count = situation
    got = with_open(spec, "packed", open_units).take(count).tolist()
    width = spec.units_per_rack
    group = width * (spec.racks_per_group or 1)
    racks = Counter(unit // width for unit in open_units)
    groups = Counter(unit // group for unit in open_units)
    choices = list(combinations(open_units, count))
    if max(racks.values()) >= count:
        assert touched(got, width) == 1
        least = min(open_here for open_here in racks.values() if open_here >= count)
        assert got[0] // width == min(rack for rack in racks if racks[rack] == least)
    elif max(groups.values()) >= count:
        assert touched(got, group) == 1
        least = min(open_here for open_here in groups.values() if open_here >= count)
        assert got[0] // group == min(number for number in groups if groups[number] == least)
        within = [choice for choice in choices if {unit // group for unit in choice} == {got[0] // group}]
        assert touched(got, width) == min(touched(choice, width) for choice in within)
    else:
        assert touched(got, group) == min(touched(choice, group) for choice in choices)
    for rack in {unit // width for unit in got}:  # the lowest numbers of each rack
        mine = [unit for unit in got if unit // width == rack]
        assert mine == [unit for unit in open_units if unit // width == rack][: len(mine)]


@settings(deadline=None, max_examples=200)
@given(situations())
def test_spread_is_as_even_as_can_be(situation: tuple[MachineSpec, list[int], int]) -> None:
    spec, open_units, count = situation
    got = with_open(spec, "spread", open_units).take(count)

    def unevenness(choice: Any) -> int:
        return sum(share**2 for share in Counter(int(unit) // spec.units_per_rack for unit in choice).values())

    assert unevenness(got) == min(map(unevenness, combinations(open_units, count)))


@settings(deadline=None, max_examples=200)
@given(situations())
def test_contiguous_takes_the_run_that_fits_best(situation: tuple[MachineSpec, list[int], int]) -> None:
    spec, open_units, count = situation
    got = with_open(spec, "contiguous", open_units).take(count).tolist()
    runs = [[unit for _, unit in run] for _, run in groupby(enumerate(open_units), lambda pair: pair[1] - pair[0])]
    fitting = [run for run in runs if len(run) >= count]
    if fitting:
        assert got == min(fitting, key=len)[:count]  # min: the first of the shortest
    else:
        assert got == with_open(spec, "packed", open_units).take(count).tolist()


@settings(deadline=None, max_examples=200)
@given(situations(), st.sampled_from(["coolest", "most-reliable"]), st.data())
def test_lowest_scores_are_taken(situation: tuple[MachineSpec, list[int], int], policy: str, data: Any) -> None:
    spec, open_units, count = situation
    scores = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.5]), min_size=spec.units, max_size=spec.units))
    got = with_open(spec, policy, open_units).take(count, scores_U=np.array(scores))
    assert got.tolist() == sorted(sorted(open_units, key=lambda unit: (scores[unit], unit))[:count])


@settings(deadline=None, max_examples=150)
@given(situations(), st.data())
def test_spread_of_runs_from_the_most_compact_to_the_widest(
    situation: tuple[MachineSpec, list[int], int], data: Any
) -> None:
    spec, _, count = situation
    everywhere = list(range(spec.units))
    some = sorted(data.draw(st.permutations(everywhere))[:count])
    choices = list(combinations(everywhere, count))
    shares = []
    for width in {spec.units_per_rack, spec.units_per_rack * (spec.racks_per_group or 1)}:
        reach = [touched(choice, width) for choice in choices]
        least, most = min(reach), max(reach)
        shares.append((touched(some, width) - least) / (most - least) if most > least else 0.0)
    places = Places(spec, "packed")
    expected = pytest.approx(sum(shares) / len(shares))
    assert places.spread_of(np.array(some)) == expected
    assert places.spread_of(places.take(count, wanted=np.array(some))) == expected  # from what is kept about it


def test_a_whole_machine_of_polaris_is_packed_as_said() -> None:
    places = Places(machine(560, 14, 4), "packed")
    assert places.take(14).tolist() == list(range(14))
    assert places.take(10).tolist() == list(range(14, 24))
    assert places.take(3).tolist() == [24, 25, 26]  # four are left there: the tightest rack
    over_two_racks = places.take(28)
    assert over_two_racks.tolist() == list(range(28, 56))  # group 0 has 29 open units, all others 56
    assert places.spread_of(over_two_racks) == 0.0
    assert touched(places.take(57).tolist(), 56) == 2
    assert places.spread_of(units(0, 14)) == 0.5  # two racks instead of one, but one group
    assert places.spread_of(units(0, 56)) == 1.0


# -- what is refused -----------------------------------------------------------------------------


def test_a_wanted_place_that_is_not_to_be_had_is_refused_by_name() -> None:
    places = Places(machine(20, 5), "packed")
    mine = places.take(4, wanted=units(7, 5, 9, 6))
    assert mine.tolist() == [5, 6, 7, 9]
    places.set_down(units(1, 2))
    places.sleep(units(3))
    for wanted, nodes, said in [
        (units(2, 4, 5, 9), 4, r"busy: 5, 9, down: 2"),
        (units(3, 4), 2, r"asleep: 3"),
        (units(3, 4), 3, r"takes 3 different units, but these were wanted: 3, 4"),
        (units(4, 4), 2, r"takes 2 different units"),
        (units(4, 20), 2, r"numbered 0 to 19"),
        (units(-1, 4), 2, r"numbered 0 to 19"),
    ]:
        before = places.open_U
        with pytest.raises(ValueError, match=said):
            places.take(nodes, wanted=wanted)
        assert places.open_U.tolist() == before.tolist()
    with pytest.raises(ValueError, match="takes 14, but only 13 are free"):
        places.take(14)
    with pytest.raises(ValueError, match="no place on tiny even when it is empty"):
        places.take(21)
    with pytest.raises(ValueError, match="5, 6 are busy"):
        places.sleep(units(4, 5, 6))
    for not_a_job in (units(5, 6), units(4), units()):
        with pytest.raises(ValueError, match="not what one job holds"):
            places.release(not_a_job)
    places.release(mine.copy())
    with pytest.raises(ValueError, match="not what one job holds"):
        places.release(mine)


def test_scores_must_be_there_and_be_numbers() -> None:
    places = Places(machine(4, 2), "coolest")
    with pytest.raises(ValueError, match="a score for each of the 4 units"):
        places.take(1)
    with pytest.raises(ValueError, match="NaN"):
        places.take(3, scores_U=np.array([1.0, np.nan, np.nan, 0.0]))
    assert places.take(2, scores_U=np.array([1.0, np.nan, np.nan, 0.0])).tolist() == [0, 3]


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="found 'best'; it is one of packed, spread"):
        Places(machine(4, 2), "best")
    with pytest.raises(InputError, match="tiny has no torus"):
        Places(machine(4, 2), "torus")
    with pytest.raises(InputError, match=r"found 5, but no box of a torus \(1, 1, 2, 4\)"):
        Places(machine(8, 2, None, 512, (1, 1, 2, 4), (1, 5)), "torus")


def test_sizes_are_whole_units_and_existing_blocks() -> None:
    shared = Places(machine(6, 2, unit_nodes=8), "packed")
    assert [shared.size(nodes) for nodes in (1, 8, 9, 48, 49)] == [8, 8, 16, 48, None]
    for policy in ("torus", "packed"):
        places = Places(mira(), policy)
        asked = (1, 512, 513, 2_560, 6_000, 7_680, 12_289, 49_152, 49_153)
        assert [places.size(nodes) for nodes in asked] == [
            512, 512, 1_024, 4_096, 8_192, 8_192, 16_384, 49_152, None,
        ]  # fmt: skip


# -- torus blocks --------------------------------------------------------------------------------


def test_blocks_of_mira_are_those_that_exist() -> None:
    table = block_table(MIRA, MIRA_SIZES)
    assert {size: end - first for size, (first, end) in table.span.items()} == {
        1: 96, 2: 96, 4: 24, 8: 36, 16: 6, 24: 12, 32: 9, 48: 2, 64: 3, 96: 1,
    }  # fmt: skip
    for size, (first, end) in table.span.items():
        for block in range(first, end):
            assert table.units[block].size == size == table.box_B4[block].prod()
        assert set(np.concatenate(table.units[first:end]).tolist()) == set(range(96))
    assert len(table.number) == len(table.units)


@pytest.mark.parametrize(
    ("torus", "sizes"),
    [(MIRA, MIRA_SIZES), ((1, 1, 2, 4), (1, 2, 3, 4, 8)), ((2, 3, 1, 3), (1, 2, 6, 9, 18)), ((4, 4, 2, 2), (2, 4, 24))],
)
def test_blocks_conflict_where_they_share_midplanes_or_a_ring(torus: Any, sizes: tuple[int, ...]) -> None:
    """The same rule said ring by ring: two blocks longer than 1 on one ring exclude each other, but for two meshes."""
    table = block_table(torus, sizes)
    inside = [{np.unravel_index(unit, torus) for unit in block} for block in table.units]

    def rings(block: int) -> set[tuple[Any, ...]]:
        """The rings on which it is longer than one midplane."""
        long = [dimension for dimension in range(4) if table.box_B4[block][dimension] > 1]
        return {
            (dimension, *(int(at[other]) for other in range(4) if other != dimension))
            for dimension in long
            for at in inside[block]
        }

    def is_mesh(block: int, dimension: int) -> bool:
        partly = 1 < table.box_B4[block][dimension] < torus[dimension]
        return bool(torus == MIRA and len(inside[block]) in (2, 64) and partly)

    all_rings = [rings(block) for block in range(len(inside))]
    for one, other in combinations(range(len(inside)), 2):
        conflict = bool(inside[one] & inside[other]) or any(
            not (is_mesh(one, ring[0]) and is_mesh(other, ring[0])) for ring in all_rings[one] & all_rings[other]
        )
        assert table.conflict_BB[one, other] == table.conflict_BB[other, one] == conflict
    assert table.conflict_BB.diagonal().all()


def test_boxes_elsewhere_use_the_fewest_rings_partly() -> None:
    assert set(boxes((4, 4, 4, 3), 3)) == {(1, 1, 1, 3)}
    assert set(boxes((4, 4, 4, 3), 4)) == {(1, 1, 4, 1), (1, 4, 1, 1), (4, 1, 1, 1)}
    assert set(boxes((1, 1, 2, 4), 6)) == {(1, 1, 2, 3)}


@settings(deadline=None, max_examples=60)
@given(
    happenings=st.lists(
        st.tuples(st.sampled_from(["start", "start", "end", "close", "reopen"]), st.integers(0, 10**6)), max_size=25
    ),
    size=st.sampled_from(MIRA_SIZES),
)
def test_least_blocking_against_brute_force(happenings: list[tuple[str, int]], size: int) -> None:
    blocks = TorusBlocks(MIRA, MIRA_SIZES)
    table = blocks.table
    closed: set[int] = set()
    for what, number in happenings:
        if what == "start":
            startable = blocks.free_blocks(MIRA_SIZES[number % 6]).tolist()
            if startable:
                blocks.start(startable[number // 6 % len(startable)])
        elif what == "end" and blocks.running:
            blocks.end(blocks.running[number % len(blocks.running)])
        elif what == "close":
            blocks.close(number % 96)
            closed.add(number % 96)
        elif what == "reopen":
            blocks.close(number % 96, False)
            closed.discard(number % 96)

    def is_free(block: int) -> bool:
        return not closed & set(table.units[block].tolist()) and not any(
            table.conflict_BB[block, other] for other in blocks.running
        )

    free = [block for block in range(len(table.units)) if is_free(block)]
    mine = [block for block in free if table.units[block].size == size]
    assert blocks.free_blocks(size).tolist() == mine
    if not mine:
        with pytest.raises(ValueError, match=f"no block of {size} midplanes is free"):
            blocks.least_blocking(size)
        return
    best = blocks.least_blocking(size)
    larger = [block for block in free if table.units[block].size > size]
    assert best == min(mine, key=lambda block: (sum(table.conflict_BB[block, other] for other in larger), block))

    while blocks.running:
        blocks.end(blocks.running[0])
    for unit in closed:
        blocks.close(unit, False)
    assert sum(blocks.free_blocks(every).size for every in MIRA_SIZES) == len(table.units)


def test_a_block_starts_and_ends_once() -> None:
    blocks = TorusBlocks(MIRA, MIRA_SIZES)
    blocks.start(0)
    with pytest.raises(ValueError, match="block 0 is not free"):
        blocks.start(0)
    blocks.end(0)
    with pytest.raises(ValueError, match="not in list"):
        blocks.end(0)


def test_a_wanted_block_must_exist_and_have_its_cables() -> None:
    places = Places(mira(), "torus")
    places.take(4_096, wanted=block_of_name("MIR-00000-337F1-4096"))  # C 0-1 of A 0, B 0
    beside = block_of_name("MIR-00800-33FF1-4096")  # C 2-3 there: no midplane in common, but the rings of C
    with pytest.raises(ValueError, match="a cable that their block uses, is taken"):
        places.take(4_096, wanted=beside)
    with pytest.raises(ValueError, match="no block of the torus"):
        places.take(1_024, wanted=units(40, 50))
    assert places.take(2_048, wanted=block_of_name("MIR-00800-33BF1-2048")).tolist() == [8, 9, 10, 11]
    assert places.spread_of(places.take(1_024, wanted=units(13, 14))) == 0.0


# -- recorded names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MIR-00000-33331-512", [0]),
        ("MIR-00C80-33FF1-1-1024", [14, 15]),
        ("MIR-000C0-33371-1024", None),
        ("MIR-000C0-33331-1-1024", [0, 3]),  # across the end of the ring
        ("MIR-44480-777B1-512", [70]),  # rack R1D, its upper midplane, by the log of services
        ("MIR-04800-77BF1-4096", [24, 25, 26, 27, 72, 73, 74, 75]),
        ("MIR-04000-7BFF1-4-32768", [*range(16, 48), *range(64, 96)]),
        ("MIR-00000-7BFF1-0100-32768", [*range(16), *range(32, 64), *range(80, 96)]),
        ("MIR-00000-7BFF1-49152", list(range(96))),
        ("MIR-R1D-R1D-1024", [70, 71]),
        ("MIR-R10-R13-4096", [16, 17, 18, 19, 28, 29, 30, 31]),
        ("MIR-R10-R13-2048", None),
        ("MIR-R13-R10-4096", None),
        ("UNKNOWN", None),
        ("", None),
        ("MIR-00000-33331-1024", None),
        ("MIR-00000-33330-512", None),
        ("MIR-10000-33331-512", None),
        ("MIR-00000-33231-512", None),
        ("MIR-80000-B3331-512", None),
        ("MIR-00000-33331-512-extra", None),
        ("ANL-R00-M0-512", None),
    ],
)
def test_names_of_blocks(name: str, expected: list[int] | None) -> None:
    found = block_of_name(name)
    assert (found if found is None else found.tolist()) == expected


def test_every_recorded_place_of_mira_is_a_block_and_no_two_jobs_exclude_each_other(data: Path) -> None:
    jobs = pd.read_csv(
        data / "traces/alcf/ANL-ALCF-DJC-MIRA_20200101_20201231.csv.gz",
        usecols=["LOCATION", "NODES_USED", "START_TIMESTAMP", "END_TIMESTAMP"],
        parse_dates=["START_TIMESTAMP", "END_TIMESTAMP"],
    )
    table = block_table(MIRA, MIRA_SIZES)
    blocks = []
    for name, nodes in zip(jobs["LOCATION"], jobs["NODES_USED"], strict=True):
        midplanes = block_of_name(name)
        assert midplanes is not None, name
        assert midplanes.size * 512 == nodes, name
        blocks.append(table.number[midplanes.tobytes()])
    assert len(blocks) == 6833

    start = jobs["START_TIMESTAMP"].to_numpy("datetime64[s]").astype(np.int64)
    end = jobs["END_TIMESTAMP"].to_numpy("datetime64[s]").astype(np.int64)
    overlaps: list[int] = []  # seconds, of pairs that share a midplane or a cable
    together = two_halves_of_a_ring = 0
    running: list[int] = []
    for job in np.argsort(start, kind="stable").tolist():
        running = [other for other in running if end[other] > start[job]]
        together += len(running)
        if table.units[blocks[job]].size == 2:
            ring = table.units[blocks[job]][0] // 4
            neighbours = [table.units[blocks[other]] for other in running]
            two_halves_of_a_ring += sum(other.size == 2 and other[0] // 4 == ring for other in neighbours)
        overlaps += [
            int(min(end[other], end[job]) - start[job])
            for other in running
            if table.conflict_BB[blocks[job], blocks[other]]
        ]
        running.append(job)
    assert together > 50_000  # pairs that ran at the same time, and only these two were in each other's way:
    assert sorted(overlaps) == [1, 4]
    assert two_halves_of_a_ring > 500  # which tori of 1,024 nodes could not have been


def test_every_rack_is_two_consecutive_units() -> None:
    racks = [block_of_name(f"MIR-R{row}{column:X}-R{row}{column:X}-1024") for row in range(3) for column in range(16)]
    firsts = [int(rack[0]) for rack in racks if rack is not None and rack[1] == rack[0] + 1]
    assert sorted(firsts) == list(range(0, 96, 2))
