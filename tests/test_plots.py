"""Figures show what the tables hold, and nothing on them is cut off or covered."""

import itertools
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.dates import num2date
from matplotlib.figure import Figure

import hpcsim
from hpcsim.cli import cli
from hpcsim.cli.plot import NAMES
from hpcsim.errors import InputError
from hpcsim.results.frames import Recording
from hpcsim.results.page.timelines import timelines
from hpcsim.results.plots import FORMATS, PLOTS, STANDARD, drawn_runs, gantt, inked, write_plots
from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.files import as_bytes
from hpcsim.results.plots.ink import fitted, width_in
from hpcsim.results.plots.node_lanes import node_lanes
from hpcsim.results.plots.sheet import Numbers
from hpcsim.results.tables import _spans
from hpcsim.results.units import spans_of
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.swf import write_swf

J_PER_KWH = 3.6e6


@pytest.fixture(scope="module")
def runs():
    """Finished runs by name, of each kind that there is."""
    settings = {
        "polaris": ("polaris", {"jobs": 900}),
        "fcfs": ("polaris", {"jobs": 900, "scheduler": "fcfs"}),
        "capped": ("polaris", {"jobs": 400, "physics": {"cap_kw": 800, "solar_kw": 300}}),
        "shared": ("polaris", {"jobs": 200, "physics": {"processors": "cores"}}),
        "mira": ("mira", {"jobs": 500}),
        "bare": ("polaris", {"jobs": 700, "physics": None}),
        "workflows": ("workflows", {}),
    }
    return {name: hpcsim.simulate(*given) for name, given in settings.items()}


def drawn(*runs):
    return drawn_runs([(f"runs/{number}", run) for number, run in enumerate(runs)])


def figure(name, *runs):
    with inked():
        return PLOTS[name].draw(drawn(*runs))


def figures(*runs):
    """All figures that can be drawn of these runs."""
    of = drawn(*runs)
    return [name for name, plot in PLOTS.items() if not any(plot.lacking(each) for each in of)]


def of_unit(axes, value):
    """``value`` of a panel in kW or kWh, by the unit in its label."""
    return value * {"G": 1e6, "M": 1e3, "k": 1.0, "W": 1e-3}[re.search(r"\[(.)", axes.get_ylabel())[1]]


def seconds(run, dates):
    return np.asarray(dates) * 86_400 - run.manifest["t0_utc"]


# -- what is drawn is what the tables hold --------------------------------------------------------------


@pytest.mark.parametrize("name", ["polaris", "capped", "mira", "workflows"])
def test_the_energy_curve_ends_at_the_energy_of_the_summary(runs, name):
    run = runs[name]
    above, middle, *_ = figure("energy", run).axes
    total, *grid = (of_unit(above, line.get_ydata()[-1]) for line in above.lines)
    assert total == pytest.approx(run.summary["energy_facility_kwh"])
    assert grid == ([pytest.approx(run.summary["grid_kwh"])] if name == "capped" else [])
    caps = [line.get_ydata() for line in middle.lines if line.get_linestyle() == "--"]
    assert [of_unit(middle, cap.max()) for cap in caps] == ([800.0] if name == "capped" else [])


def test_price_and_carbon_are_those_of_the_grid_weighted_by_time(runs):
    run = runs["polaris"]
    panels = {axes.get_ylabel().split("\n")[0]: axes for axes in figure("energy", run).axes}
    end = drawn(run)[0].end
    for label, column in (("price", "price_usd_per_kwh"), ("carbon", "carbon_g_per_kwh")):
        lasts = np.diff(run.grid["time_s"], append=end)
        mean = np.average(run.grid[column], weights=lasts)
        assert panels[label].lines[0].get_ydata().mean() == pytest.approx(mean)


@pytest.mark.parametrize("until", ["30h", 100_000, "2024-01-02 09:30"])
def test_the_energy_of_a_run_that_was_stopped_goes_to_where_it_was_stopped(until):
    run = hpcsim.simulate("polaris", {"jobs": 300, "until": until})
    assert set(run.jobs["state"]) & {"running", "waiting"}
    axes = figure("energy", run).axes[0]
    assert of_unit(axes, axes.lines[0].get_ydata()[-1]) == pytest.approx(run.summary["energy_facility_kwh"])
    assert timelines(run)["end_s"] == Recording(run).end_s == drawn(run)[0].end  # the page and the replay end there too


@pytest.mark.parametrize("name", ["polaris", "capped", "workflows"])
def test_the_band_of_the_power_reaches_the_peak_of_the_summary(runs, name):
    axes = figure("power", runs[name]).axes[0]
    drawn_peak = max(
        *(line.get_ydata().max() for line in axes.lines if line.get_linestyle() == "-"),
        *(path.vertices[:, 1].max() for band in axes.collections for path in band.get_paths()),
    )
    assert of_unit(axes, drawn_peak) == pytest.approx(runs[name].summary["peak_power_kw"])


@pytest.mark.parametrize("name", ["polaris", "bare", "mira"])
def test_makespan_curves_end_at_what_was_completed_and_at_the_last_end(runs, name):
    run = runs[name]
    jobs_axes, hours_axes, rate_axes = figure("makespan", run).axes
    done = run.jobs[run.jobs["state"] == "completed"]
    completed, makespan = jobs_axes.lines[0], jobs_axes.lines[-1]
    assert completed.get_ydata()[[0, -1]].tolist() == [0, len(done)]
    assert hours_axes.lines[0].get_ydata()[-1] == pytest.approx((done["nodes"] * done["runtime_s"]).sum() / 3600)
    marked = seconds(run, makespan.get_xdata()[0])
    assert marked - run.jobs["submit_s"].min() == pytest.approx(run.summary["makespan_s"], abs=0.01)
    x, rate = seconds(run, rate_axes.lines[0].get_xdata()), rate_axes.lines[0].get_ydata()
    assert np.trapezoid(rate, x) / 3600 == pytest.approx(len(done))
    for date, so_far in list(zip(completed.get_xdata(), completed.get_ydata(), strict=True))[1:-1:37]:
        assert so_far == (done["end_s"] <= seconds(run, date) + 1e-3).sum()


@pytest.mark.parametrize("name", ["bare", "workflows"])
def test_the_mean_of_the_busy_nodes_is_the_utilisation_of_the_summary(runs, name):
    above, below = figure("utilisation", runs[name]).axes
    assert above.lines[0].get_ydata().mean() / 100 == pytest.approx(runs[name].summary["utilisation"])
    band = [path.vertices[:, 1].max() for shape in below.collections for path in shape.get_paths()]
    assert max([below.lines[0].get_ydata().max(), *band]) == runs[name].timeline["queue"].max()


def test_a_utilisation_of_another_time_than_the_one_drawn_is_said_to_be_so():
    run = hpcsim.simulate("polaris", {"days": 2, "physics": None, "window": {"start": 0, "end": "2d", "warm_up": "1d"}})
    said = [text.get_text() for text in figure("utilisation", run).texts]
    assert f"busy ({100 * run.summary['utilisation']:.1f} % in the measured time)" in said


def test_temperatures_are_those_of_the_table_beside_the_throttles_of_the_machine(runs):
    run = runs["polaris"]
    above, below = figure("temperature", run).axes
    *curves, node, gpu = above.lines
    for line, column in zip(curves, ("hottest_gpu_c", "hottest_c", "mean_c", "supply_c"), strict=True):
        assert line.get_ydata().tolist() == run.temperature[column].tolist()
        assert seconds(run, line.get_xdata()) == pytest.approx(run.temperature["time_s"], abs=0.01)
    thermal = hpcsim.machine.catalogue.load_machine("polaris").thermal
    assert (node.get_ydata()[0], gpu.get_ydata()[0]) == (thermal.cpu_throttle_c, thermal.gpu_throttle_c)
    assert below.lines[0].get_ydata().tolist() == run.temperature["throttled_nodes"].tolist()


@pytest.mark.parametrize("name", ["polaris", "mira", "workflows"])
@pytest.mark.parametrize(("at", "column"), [(0, "wait_s"), (1, "bounded_slowdown")])
def test_shares_of_jobs_that_waited_no_longer_are_those_of_the_table(runs, name, at, column):
    run = runs[name]
    shown = figure("waits", run)
    keys = [text.get_text() for text in shown.texts if " job" in text.get_text() and ": " in text.get_text()]
    jobs = run.jobs[run.jobs["measured"] & (run.jobs["state"] != "rejected")]
    counted = 0
    for key, line in zip(keys, shown.axes[at].lines, strict=True):
        numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", key)]
        mine = jobs[jobs["nodes"].between(numbers[0], numbers[-2])][column]
        assert len(mine) == numbers[-1]
        counted += len(mine)
        for x, share in zip(line.get_xdata(), line.get_ydata(), strict=True):
            assert share == pytest.approx(100 * (mine <= x).mean())
    assert counted == run.summary["jobs"]


def test_boxes_of_several_runs_are_the_quantiles_of_their_jobs(runs):
    pair = (runs["polaris"], runs["fcfs"])
    above, below = figure("waits", *pair).axes
    names = [label.get_text().split("\n")[0] for label in below.get_xticklabels()]
    for axes, column in ((above, "wait_s"), (below, "bounded_slowdown")):
        boxes = iter(axes.patches)
        for run in pair:
            for name in names:
                ends = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", name)]
                values = run.jobs[run.jobs["nodes"].between(ends[0], ends[-1]) & (run.jobs["state"] != "rejected")]
                p25, p75 = np.maximum(np.quantile(np.maximum(values[column], 1), [0.25, 0.75]), 1)
                box = next(boxes)
                assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((p25, p75))


@pytest.mark.parametrize("name", ["polaris", "mira", "shared"])
def test_a_pixel_of_the_gantt_is_the_job_that_had_the_node_in_that_second(runs, name, monkeypatch):
    monkeypatch.setattr(gantt, "_BARS", 0)
    run = runs[name]
    (axes,) = figure("gantt", run).axes
    (image,) = axes.get_images()
    left, right, _, top = image.get_extent()
    pixels = image.get_array()
    palette = (gantt._palette() * 255).round()
    number = {job: row for row, job in enumerate(run.jobs["job_id"])}
    attempts = run.attempts.assign(units=[numbers_of(text) for text in run.attempts["units"]])
    gone = run.interrupts.assign(units=[numbers_of(text) for text in run.interrupts["units"]])
    unit_nodes = 512 if name == "mira" else 1
    rows = np.random.default_rng(3).integers(0, pixels.shape[0], 150)
    seen = set()
    for row, column in zip(rows, np.random.default_rng(4).integers(0, pixels.shape[1], 150), strict=True):
        unit = int((row + 0.5) / pixels.shape[0] * top / unit_nodes)
        second = seconds(run, left + (column + 0.5) / pixels.shape[1] * (right - left))
        away = gone[(gone["time_s"] <= second) & (second < gone["until_s"])]
        there = attempts[(attempts["start_s"] <= second) & ~(attempts["end_s"] <= second)]
        mine = [job for job, units in zip(there["job_id"], there["units"], strict=True) if unit in units]
        expected = (255, 255, 255)
        if any(unit in units for units in away["units"]):
            continue  # striped: grey and dark grey
        if len(mine) == 1:
            expected = palette[number[mine[0]] % len(palette)]
        elif mine:
            expected = np.round(np.array(gantt._SHARED) * 255)
        assert pixels[row, column].tolist() == list(expected)
        seen.add(len(mine))
    assert 0 in seen
    assert (max(seen) > 1) == (name == "shared")
    assert len(seen) > 1


def numbers_of(text):
    ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return {unit for part in ends for unit in range(part[0], part[-1] + 1)}


def test_only_where_pixels_are_drawn_it_is_said_that_rows_are_left_out(runs, monkeypatch):
    for bars, left_out in ((0, True), (1_000_000, False)):
        monkeypatch.setattr(gantt, "_BARS", bars)
        said = [text.get_text() for text in figure("gantt", runs["polaris"]).texts]
        assert any("550 of 560 rows of nodes are drawn" in each for each in said) == left_out


def test_bars_of_the_gantt_are_the_attempts(runs):
    run = runs["workflows"]
    (axes,) = figure("gantt", run).axes
    boxes = [path.vertices for path in axes.collections[0].get_paths()]
    assert len(boxes) == len(run.attempts)
    for box, attempt in zip(boxes, run.attempts.itertuples(), strict=True):
        assert seconds(run, box[:2, 0]) == pytest.approx([attempt.start_s, attempt.end_s], abs=0.01)
        assert box[[0, 2], 1].tolist() == [int(attempt.units), int(attempt.units) + 1]


@given(st.lists(st.sets(st.integers(0, 30), min_size=1), max_size=8))
def test_units_are_read_as_they_are_written(sets):
    spans = spans_of(pa.array([_spans(np.array(sorted(units))) for units in sets], pa.string()))
    found = [set() for _ in sets]
    for row, unit in zip(*(column.tolist() for column in spans.each()), strict=True):
        found[row].add(unit)
    assert found == sets


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(1, 6)), max_size=15))
def test_each_attempt_has_lanes_of_its_own_and_no_more_are_used_than_nodes_were(attempts):
    start, runtime, nodes = np.array(attempts, np.int64).reshape(-1, 3).T
    lanes = node_lanes(start, start + runtime, nodes)
    held = {}
    counts = np.zeros(len(attempts), int)
    for row, lane in zip(*(column.tolist() for column in lanes.each()), strict=True):
        counts[row] += 1
        for second in range(start[row], start[row] + runtime[row]):
            assert held.setdefault((second, lane), row) == row
    assert (counts == np.where(runtime > 0, nodes, 0)).all()
    busy = [nodes[(start <= second) & (second < start + runtime)].sum() for second in range(30)]
    assert max((lane for _, lane in held), default=-1) + 1 <= max(busy, default=0)


def test_failures_are_counted_and_last_as_the_interrupts_do(runs):
    run = runs["mira"]
    _, _, below = figure("failures", run).axes
    end = drawn(run)[0].end
    out, back = below.lines
    assert out.get_ydata()[-1] == len(run.interrupts) == run.summary["interrupts"]
    assert back.get_ydata()[-1] == (run.interrupts["until_s"] <= end).sum()
    from hpcsim.results.plots.outages import away

    curve = away(drawn(run)[0])
    node_s = (run.interrupts["nodes"] * (run.interrupts["until_s"].clip(upper=end) - run.interrupts["time_s"])).sum()
    assert np.dot(curve.mean, np.diff(curve.edges)) == pytest.approx(node_s)


@pytest.mark.parametrize("name", ["polaris", "shared"])
def test_bars_of_the_ledger_add_up_to_the_facilitys_energy(runs, name):
    (axes,) = figure("ledger", runs[name]).axes
    label = axes.get_xlabel()
    widths = [bar.get_width() * {"M": 1e3, "k": 1.0}[re.search(r"\[(.)", label)[1]] for bar in axes.patches]
    split = runs[name].summary["energy_split_kwh"]
    assert sum(widths[:-1]) == pytest.approx(runs[name].summary["energy_facility_kwh"])
    assert widths[-1] == pytest.approx(split["of_which_conversion"])
    assert sorted(widths[:-1], reverse=True) == widths[:-1]


def test_runs_overlaid_keep_their_own_curves_and_are_named_by_what_differs(runs):
    easy, fcfs = runs["polaris"], runs["fcfs"]
    shown = figure("energy", easy, fcfs)
    axes = shown.axes[0]
    for line, run in zip(axes.lines, (easy, fcfs), strict=True):
        assert of_unit(axes, line.get_ydata()[-1]) == pytest.approx(run.summary["energy_facility_kwh"])
    assert len({(line.get_color(), line._dash_pattern[1] and tuple(line._dash_pattern[1])) for line in axes.lines}) == 2
    assert [text.get_text().split(":")[0] for text in shown.texts[2:]] == ["easy", "fcfs"]
    assert [each.label for each in drawn(easy, runs["mira"])] == ["polaris", "mira"]
    assert [each.label for each in drawn(easy, fcfs, runs["mira"])] == [
        "polaris under easy", "polaris under fcfs", "mira under easy",
    ]  # fmt: skip
    assert [each.label for each in drawn_runs([("a/x", easy), ("b/y", easy)])] == ["x", "y"]
    assert [each.label for each in drawn_runs([("a/x", easy), ("b/x", easy)])] == ["a/x", "b/x"]


def test_runs_of_other_times_are_laid_over_one_another_from_their_beginnings(runs):
    later = replace(runs["fcfs"], manifest={**runs["fcfs"].manifest, "t0_utc": 1_900_000_000})
    axes = figure("utilisation", runs["polaris"], later).axes[-1]
    assert "since the beginning of each run" in axes.get_xlabel()
    assert [line.get_xdata()[0] for line in axes.lines] == [0, 0]
    assert figure("utilisation", runs["polaris"], runs["fcfs"]).axes[-1].get_xlabel() == "date (UTC)"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 5e6, 1e7], ["0", "5 M", "10 M"]),
        ([-2.5e6, 0, 5e6], ["−2,500,000", "0", "5,000,000"]),
        ([0, 0.25, 0.5], ["0", "0.25", "0.5"]),
        ([0, 1, 10, 1e7], ["0", "1", "10", "10,000,000"]),
    ],
)
def test_all_numbers_of_an_axis_are_in_one_unit(values, shown):
    assert Numbers().format_ticks(values) == shown


@pytest.mark.parametrize(
    ("begins", "days", "first", "year"),
    [
        ("2024-01-03", 30, "05 Jan", "2024"),
        ("2022-12-18", 25, "21 Dec", "2022\u20132023"),
        ("2022-12-30", 400, "2023", ""),
    ],
)
def test_days_name_their_month_and_their_years(begins, days, first, year):
    t0_utc = int(datetime.fromisoformat(f"{begins}T00:00+00:00").timestamp())
    axes = Figure(figsize=(10, 2)).add_axes((0.05, 0.5, 0.9, 0.4))
    Clock([SimpleNamespace(t0_utc=t0_utc, begin=0, end=days * 86_400)]).dress(axes)
    FigureCanvasAgg(axes.figure).draw()
    assert axes.get_xticklabels()[0].get_text() == first
    assert axes.xaxis.get_offset_text().get_text() == year


def test_dates_are_in_utc(runs):
    run = runs["polaris"]
    axes = figure("utilisation", run).axes[0]
    first = num2date(axes.lines[0].get_xdata()[0])
    assert first.timestamp() == pytest.approx(run.manifest["t0_utc"] + run.jobs["submit_s"].min())


# -- what people see ------------------------------------------------------------------------------------

ODD = "$_x$ & <b>æøå 北京 \n" + "a-very-long-name-of-a-scenario-" * 5


def named(run, scenario, scheduler):
    return replace(run, manifest={**run.manifest, "scenario": scenario, "scheduler": scheduler})


def boxes_of_texts(shown):
    """The text of a figure with the boxes that it covers on the canvas."""
    canvas = FigureCanvasAgg(shown)
    shown.set_dpi(110)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = list(shown.texts)
    for axes in shown.axes:
        texts += [*axes.texts, axes.title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            room = 1e-9 * max(abs(low), abs(high))
            ticks = [tick for tick in axis.get_major_ticks() if low - room <= tick.get_loc() <= high + room]
            texts += [tick.label1 for tick in ticks] + [axis.label, axis.offsetText]
    texts = [text for text in texts if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


SETS = {
    "polaris": ["polaris"], "mira": ["mira"], "bare": ["bare"], "workflows": ["workflows"], "capped": ["capped"],
    "shared": ["shared"], "two": ["polaris", "fcfs"], "four": ["polaris", "fcfs", "mira", "capped"],
    "odd": ["odd"], "odd two": ["odd", "fcfs"],
}  # fmt: skip


@pytest.mark.parametrize("chosen", list(SETS))
def test_no_text_is_cut_off_and_no_two_overlap(runs, chosen):
    of = {**runs, "odd": named(runs["polaris"], ODD, ODD[::-1])}
    chosen = [of[name] for name in SETS[chosen]]
    for name in figures(*chosen):
        with inked():
            shown = PLOTS[name].draw(drawn(*chosen))
            found = boxes_of_texts(shown)
        canvas = shown.bbox
        for text, box in found:
            assert min(box.x0, box.y0, canvas.x1 - box.x1, canvas.y1 - box.y1) >= 0, (name, text)
        for (one, box), (other, beside) in itertools.combinations(found, 2):
            assert not (
                box.x0 < beside.x1 - 0.5 and beside.x0 < box.x1 - 0.5
                and box.y0 < beside.y1 - 0.5 and beside.y0 < box.y1 - 0.5
            ), (name, one, other)  # fmt: skip


def test_every_figure_says_what_it_asks_of_which_run_and_in_which_units(runs):
    for name in PLOTS:
        shown = figure(name, runs["polaris"])
        texts = [text.get_text() for text in shown.texts]
        assert texts[0] == PLOTS[name].question
        assert texts[0].endswith("?")
        assert texts[1] == "polaris under easy · 900 jobs on 560 nodes · seed 1"
        assert all(axes.get_ylabel() or axes.get_yticklabels() for axes in shown.axes)


def test_names_are_shown_as_they_are_written(runs):
    with inked():
        svg = as_bytes(PLOTS["waits"].draw(drawn(named(runs["bare"], "$_x$ <b> 北", "sch\ned"))), "svg").decode()
        assert "<!-- $_x$ &lt;b&gt; � under sch ed" in svg or "<!-- $_x$ <b> � under sch ed" in svg


@given(st.text(max_size=60), st.floats(0.1, 3))
def test_a_text_is_made_to_fit_its_room(text, room_in):
    short = fitted(text, room_in)
    assert width_in(short) <= max(room_in, width_in("…"))
    assert "\n" not in short


def test_colours_of_figures_differ_also_as_grey_and_their_lines_anyway():
    from hpcsim.results.plots.ink import line_of

    pairs = [line_of(number) for number in range(28)]
    assert len(set(pairs)) == 28
    for one, other in itertools.pairwise(pairs):  # runs beside one another have another line too
        assert one[1] != other[1]
        assert to_rgb(one[0]) != to_rgb(other[0])


# -- runs that lack something ---------------------------------------------------------------------------


def test_an_older_run_says_what_it_lacks(runs):
    tables = {name: table for name, table in runs["polaris"].tables.items() if name not in ("grid", "temperature")}
    old = replace(runs["polaris"], tables=tables)
    texts = " ".join(text.get_text() for text in figure("energy", old).texts)
    assert "Cap, price and carbon are not drawn: the run is of an older version" in texts
    with pytest.raises(InputError, match=r"runs/0: .*'temperature'.* it has no temperature.parquet \(runs with heat"):
        figure("temperature", old)


def tiny(tmp_path, jobs, **settings):
    """A run of (submit, runtime, nodes) on 4 nodes."""
    submit, runtime, nodes = np.array(jobs, np.int64).reshape(-1, 3).T
    workload = workload_from_columns(
        t0_utc=1_700_000_000, source="tiny", name=[str(row) for row in range(len(jobs))], submit_s=submit,
        nodes=nodes, walltime_s=runtime + 10, runtime_s=runtime, user=["u"] * len(jobs), machine_nodes=4,
    )  # fmt: skip
    write_swf(workload, tmp_path / "tiny.swf")
    return hpcsim.simulate("bare", {"trace": str(tmp_path / "tiny.swf"), **settings})


@pytest.mark.parametrize(
    ("jobs", "settings"),
    [
        ([(0, 1, 1)], {}),  # one job, one second
        ([(0, 500, 4), (1, 500, 4)], {"until": 100}),  # none has ended
        ([(0, 5, 4), (1, 5, 4), (2, 5, 4)], {"until": 7}),
        ([(0, 9, 1)], {"window": {"start": 0, "end": 100, "warm_up": 50}}),  # none is measured
        ([(0, 9, 4), (3_000_000, 9, 4)], {}),
    ],
)  # fmt: skip
def test_tiny_runs_are_drawn_in_every_format(tmp_path, jobs, settings):
    run = tiny(tmp_path, jobs, **settings)
    for form in FORMATS:
        of = drawn(run)
        names = figures(run)
        assert names == ["makespan", "utilisation", "waits", "gantt"]
        assert len(write_plots(of, names, tmp_path / form, form)) == 4
    write_plots(drawn(run, named(run, "other", "x")), names, tmp_path / "two")


def test_tiny_runs_with_physics_are_drawn(tmp_path):
    for number, settings in enumerate(({"jobs": 1}, {"jobs": 3, "until": "20m"})):
        run = hpcsim.simulate("polaris", settings)
        assert figures(run) == list(PLOTS)
        write_plots(drawn(run), PLOTS, tmp_path / str(number))


# -- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_a_figure_has_the_same_bytes_again_whatever_the_users_own_settings(runs, tmp_path, form):
    names = list(PLOTS)
    write_plots(drawn(runs["polaris"]), names, tmp_path / "one", form)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        write_plots(drawn(runs["polaris"]), names, tmp_path / "two", form)
        assert matplotlib.rcParams["font.size"] == 30
    for name in names:
        assert (tmp_path / "one" / f"{name}.{form}").read_bytes() == (tmp_path / "two" / f"{name}.{form}").read_bytes()


@pytest.fixture(scope="module")
def directories(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("polaris", "fcfs", "bare"):
        runs[name].write(folder / name, plots=name == "polaris")
    return folder


def plot(*words):
    return CliRunner().invoke(cli, ["plot", *map(str, words)])


def test_a_run_leaves_the_standard_figures(directories):
    assert {path.name for path in (directories / "polaris" / "plots").iterdir()} == {f"{name}.png" for name in STANDARD}


def test_plot_draws_what_the_run_has_tables_for_and_says_what_not(directories, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = plot(directories / "bare")
    assert done.exit_code == 0
    assert {path.name for path in (directories / "bare" / "plots").iterdir()} == {
        "makespan.png", "utilisation.png", "waits.png", "gantt.png",
    }  # fmt: skip
    assert "no power: " in done.stderr
    done = plot(directories / "polaris", directories / "fcfs", "--format", "svg", "--only", "energy", "--only", "waits")
    assert done.stdout.split() == ["plots/energy.svg", "plots/waits.svg"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["energy.svg", "waits.svg"]


@pytest.mark.parametrize("form", FORMATS)
def test_plot_writes_over_its_own_figures_and_over_no_other_file(directories, tmp_path, form):
    words = (directories / "bare", "--only", "waits", "-o", tmp_path, "--format", form)
    for _ in range(2):
        assert plot(*words).exit_code == 0
    (tmp_path / f"waits.{form}").write_bytes(b"mine")
    done = plot(*words)
    assert isinstance(done.exception, InputError)
    assert f"waits.{form}: is no figure of hpcsim and is kept as it is" in str(done.exception)
    assert (tmp_path / f"waits.{form}").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: there is no such directory; expected a run directory"),
        (["RUN/plots"], "plots: not a complete run directory"),
        (["RUN", "--only", "enrgy"], "no figure named 'enrgy'. Did you mean 'energy'?"),
        (["RUN", "RUN"], "is named twice"),
        (["BARE", "--only", "energy"], "bare: there is no figure 'energy' of this run: it has no power.parquet"),
        (["RUN", "BARE", "--only", "ledger"], "bare: there is no figure 'ledger' of this run"),
        (["RUN", "-o", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_named(directories, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    given = [
        word.replace("RUN", str(directories / "polaris")).replace("BARE", str(directories / "bare")) for word in words
    ]
    done = plot(*given)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("jobs.parquet", None, "it has no jobs.parquet"),
        ("jobs.parquet", pa.table({"job_id": ["1"]}), "its jobs.parquet has no column submit_s"),
        ("power.parquet", pa.table({"time_s": ["noon"]}), "its power.parquet has a column time_s of string"),
        ("timing.json", None, "it has no timing.json"),
        ("summary.json", "[1]", "its summary.json is no object"),
        ("manifest.json", "{}", "its manifest.json has no hpcsim, scenario, "),
    ],
)
def test_a_run_directory_that_is_not_whole_is_refused_in_a_sentence(directories, tmp_path, file, content, said):
    copy = shutil.copytree(directories / "polaris", tmp_path / "run")
    (copy / "SHA256SUMS").unlink()  # as of an older run, or of one that was changed on purpose
    (copy / file).unlink()
    if isinstance(content, str):
        (copy / file).write_text(content)
    elif content is not None:
        pq.write_table(content, copy / file)
    for command in ("plot", "report", "perfetto", "top"):
        failed = CliRunner().invoke(cli, [command, str(copy)]).exception
        assert isinstance(failed, InputError)
        assert str(failed).startswith(f"{copy}: not a complete run directory: {said}")


def test_the_command_knows_all_figures_without_loading_them():
    assert tuple(PLOTS) == NAMES
    code = "import hpcsim.cli.plot, sys; assert 'matplotlib' not in sys.modules and 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_figure_needs_pyplot(directories, tmp_path):
    code = (
        "import sys; from hpcsim.cli import cli; "
        f"cli.main(['plot', {str(directories / 'polaris')!r}, '-o', {str(tmp_path)!r}], standalone_mode=False); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
