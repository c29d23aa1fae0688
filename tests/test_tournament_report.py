"""What is written of a tournament: the leaderboard on a terminal, tables, figures and the page."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_tournaments import FIELD, write_cells
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hpcsim.cli import _exit_code, cli
from hpcsim.results.citations import references
from hpcsim.results.plots.ink import inked
from hpcsim.tournament.blocks import complete_blocks
from hpcsim.tournament.cells import read_cells
from hpcsim.tournament.figures.canvas import styles
from hpcsim.tournament.figures.differences import differences
from hpcsim.tournament.figures.front import front_figure
from hpcsim.tournament.figures.loads import loads
from hpcsim.tournament.figures.profiles import profiles
from hpcsim.tournament.figures.rank_diagram import rank_diagram
from hpcsim.tournament.fronts import fronts, not_dominated
from hpcsim.tournament.latex import escaped
from hpcsim.tournament.leaderboard import boards
from hpcsim.tournament.page import CITES
from hpcsim.tournament.report import write_report
from hpcsim.tournament.statistics import judge
from hpcsim.tournament.words import said_once

HOSTILE = "<script>alert(1)</script> & 50 % of $x_1$ \\ {~^#} \"q\" 'r' \x07"
LONG = {
    "easy": 1.0, "easy + sleep_idle": 1.01, HOSTILE: 1.02, "conservative(depth=10; order=smallest-area-first)": 1.03,
    **{f"scheduler {number} with the levers sleep_idle and power_cap": 1.04 + number / 100 for number in range(16)},
}  # fmt: skip
SMALL = {"easy": 1.0, "fcfs": 1.6, "sjf": 0.7}
VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> Path:
    """A report of three schedulers at two loads, one cell of which failed."""
    directory = tmp_path_factory.mktemp("tournament")
    write_cells(directory, field=SMALL, loads=("0.7", "saturation"), failed=lambda *key: key[1:4] == (2, "sjf", 1))
    write_report(directory)
    return directory


# -- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 160])
def test_the_leaderboard_fits_the_terminal_and_names_no_winner_that_is_none(tmp_path, columns, monkeypatch):
    write_cells(tmp_path)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = CliRunner().invoke(cli, ["leaderboard", str(tmp_path), "--metric", "mean_wait_s"]).output
    assert max(map(len, shown.splitlines())) <= columns
    assert "mean_wait_s [s], lower is better: all scenarios" in shown
    assert "mean_wait_s [s], lower is better: mira" in shown
    flat = " ".join(shown.split())
    assert "8 schedulers in 20 windows of 2 scenarios (polaris, mira), 2 seeds each; against easy." in flat
    assert "Nobody is first: sjf has the lowest mean rank, but is not separable from" in flat
    assert "is first:" not in flat.replace("Nobody is first:", "")
    assert re.search(r"sjf +1\.00 +a +−30\.3 \[−32\.7, −27\.7\]", shown)
    assert ("better in, %" in shown) == (columns == 160)


def test_a_small_table_of_ranks_comes_first_and_each_warning_once(tmp_path, monkeypatch):
    write_cells(tmp_path, field=SMALL, windows=4, seeds=1)
    monkeypatch.setenv("COLUMNS", "120")
    lines = CliRunner().invoke(cli, ["leaderboard", str(tmp_path)]).output.splitlines()
    assert lines[0] == "Mean rank over windows, 1 is the best; + better and − worse than the control."
    assert lines[1].split()[0] == "sjf"
    assert "easy (control)" in lines[1]
    (waits,) = [line for line in lines[:12] if line.startswith("mean_wait_s")]
    assert waits.split()[1:] == ["1.00", "+", "2.00", "3.00", "−"]
    flat = " ".join(" ".join(lines).split())
    assert flat.count("are rough") == 1
    assert flat.index("are rough") < flat.index("Two tests, two answers") < flat.index("lower is better:")
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("are rough") == 1
    assert page.index("easy (control)") < page.index("Two tests, two answers") < page.index("<h3>")
    assert page.count("Nobody is first") <= page.count("<h3>") + page.count("<details>") + 1


def test_a_warning_of_some_boards_says_of_which(tmp_path):
    write_cells(tmp_path, field=SMALL, windows=12, seeds=1, failed=lambda *key: key[0] == "mira" and key[1] > 6)
    found = write_report(tmp_path)
    (rough,) = (said for said in said_once(found) if "are rough" in said)
    assert rough.startswith("all scenarios, mira: Intervals of 7 windows of a scenario are rough")


def test_csv_and_latex_go_to_a_file_as_they_are(reported):
    told = CliRunner().invoke(cli, ["leaderboard", str(reported), "--format", "csv"]).output
    assert told == (reported / "leaderboard.csv").read_text()
    told = (
        CliRunner().invoke(cli, ["leaderboard", str(reported), "--format", "latex", "--metric", "utilisation"]).output
    )
    assert told == (reported / "tables" / "leaderboard-utilisation.tex").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--control", "esay"], "no scheduler 'esay' to compare with. Did you mean 'easy'?"),
        (["--metric", "mean_wait"], "no metric 'mean_wait'"),
    ],
)
def test_what_does_not_exist_is_refused(tmp_path, words, says, capsys):
    write_cells(tmp_path, field=SMALL, windows=2)
    assert _exit_code(["leaderboard", str(tmp_path), *words]) == 2
    assert says in capsys.readouterr().err
    assert _exit_code(["leaderboard", str(tmp_path / "nowhere")]) == 2
    assert "not the directory of a tournament: it has no cells.csv" in capsys.readouterr().err


def test_control_and_title_are_those_of_the_tournaments_file(tmp_path):
    write_cells(tmp_path, field=SMALL, windows=3, seeds=1)
    write_report(tmp_path)
    assert {row["control"] for row in rows(tmp_path / "leaderboard.csv")} == {"easy"}  # the first
    (tmp_path / "tournament.yaml").write_text("name: mine\ndescription: a <b>test\ncontrol: fcfs\n")
    write_report(tmp_path)
    assert {row["control"] for row in rows(tmp_path / "leaderboard.csv")} == {"fcfs"}
    page = (tmp_path / "report.html").read_text()
    assert "<h1>mine</h1>" in page
    assert "a &lt;b&gt;test" in page


# -- tables -------------------------------------------------------------------------------------


def test_the_leaderboard_can_be_computed_again_from_the_paired_table(reported):
    paired = rows(reported / "tables" / "paired.csv")
    board = [row for row in rows(reported / "leaderboard.csv") if row["metric"] == "mean_wait_s"]
    assert {row["windows"] for row in board if row["scenario"] == "all"} == {"20"}
    for row in board:
        if row["scenario"] == "polaris" and row["load"] == "saturation":
            mine = [p for p in paired if (p["metric"], p["scenario"], p["load"], p["scheduler"])
                    == ("mean_wait_s", "polaris", "saturation", row["scheduler"])]  # fmt: skip
            assert len(mine) == 10
            assert np.mean([float(p["value"]) for p in mine]) == pytest.approx(float(row["mean"]))
            assert np.mean([float(p["difference"]) for p in mine]) == pytest.approx(float(row["difference"]))
            assert float(row["difference_low"]) <= float(row["difference"]) <= float(row["difference_high"])


def test_seeds_are_averaged_and_a_failed_one_is_left_out_for_all(reported):
    cells = rows(reported / "cells.csv")
    for row in rows(reported / "tables" / "paired.csv"):
        if row["metric"] == "mean_wait_s":
            own = [float(c["mean_wait_s"]) for c in cells if c["scheduler"] == row["scheduler"] and c["mean_wait_s"]
                   and all(c[k] == row[k] for k in ("scenario", "window", "load"))
                   and not (row["window"] == "w03" and c["seed"] == "1")]  # fmt: skip
            assert float(row["value"]) == pytest.approx(np.mean(own))
            assert int(row["seeds"]) == len(own) == (1 if row["window"] == "w03" else 2)


def test_latex_tables_are_whole_whatever_the_names_are(tmp_path):
    write_cells(tmp_path, field={"easy": 1.0, HOSTILE: 1.2, "fcfs": 1.6}, windows=3, seeds=1)
    write_report(tmp_path)
    for path in (tmp_path / "tables").glob("*.tex"):
        text = path.read_text()
        plain = re.sub(r"\\textbackslash\{\}|\\[&%$#_{}]", "", text)
        assert plain.count("{") == plain.count("}")
        assert "\x07" not in text
        assert plain.count("$") % 2 == 0
        for table in re.findall(r"\\begin\{tabular\}\{(l*[lr]*)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
            columns = len(table[0])
            lines = [line for line in table[1].splitlines() if line.endswith(r"\\")]
            assert len(lines) > 1
            assert {re.sub(r"\\&", "", line).count("&") for line in lines} == {columns - 1}
            assert {r"\toprule", r"\midrule", r"\bottomrule"} <= {*table[1].splitlines()}


def test_every_sign_that_latex_reads_is_escaped():
    assert escaped("50 % of a_b & #1 {x} ~^$\\") == (
        r"50 \% of a\_b \& \#1 \{x\} \textasciitilde{}\textasciicircum{}\$\textbackslash{}"
    )


def test_the_front_is_what_no_other_is_as_good_as():
    values = {"a": (1.0, 5.0, 1.0), "b": (2.0, 4.0, 1.0), "c": (2.0, 5.0, 1.0), "d": (1.0, 5.0, 1.0)}
    assert not_dominated(values) == {"a", "b", "d"}  # c is no better than b anywhere; a and d are alike


# -- the page -----------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Sees to it that every tag is closed, and remembers ids, links and texts."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.texts = [], [], [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_and_needs_no_network_and_no_script(reported):
    tags = Tags()
    text = (reported / "report.html").read_text()
    tags.feed(text)
    assert tags.open == []
    assert len({*tags.ids}) == len(tags.ids)
    assert all(link.startswith("#") for link in tags.links)
    assert {link[1:] for link in tags.links} <= {*tags.ids}
    assert not tags.tags & {"script", "img", "link", "iframe", "object", "embed", "form"}
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#|\"#|'#)", text)


def test_a_report_has_the_same_bytes_again_and_elsewhere(tmp_path, reported):
    write_cells(tmp_path, field=SMALL, loads=("0.7", "saturation"), failed=lambda *key: key[1:4] == (2, "sjf", 1))
    write_report(tmp_path)
    assert files(tmp_path) == files(reported)


def test_only_what_clocks_measured_hangs_on_clocks(tmp_path):
    write_cells(tmp_path, field=SMALL, windows=3, seeds=1)
    write_report(tmp_path)
    before = files(tmp_path)
    timing = (tmp_path / "timing.csv").read_text()
    (tmp_path / "timing.csv").write_text(timing.replace("2e-05", "7e-05").replace("1.5", "9.5"))
    write_report(tmp_path)
    after = files(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        "timing.csv", "report.html", "tables/cost.csv", "tables/cost.tex"
    }  # fmt: skip
    cut = re.compile(rb'<section id="cost">.*?</section>', re.DOTALL)
    assert cut.sub(b"", before["report.html"]) == cut.sub(b"", after["report.html"])


def test_names_of_others_stay_text_on_the_page(tmp_path):
    write_cells(tmp_path, field={"easy": 1.0, HOSTILE: 1.2, "fcfs": 1.6}, machines={"<b>m</b> & co": 900.0}, windows=3)
    write_report(tmp_path)
    tags = Tags()
    tags.feed((tmp_path / "report.html").read_text())
    assert tags.open == []
    assert not tags.tags & {"script", "i"}
    assert any(text == HOSTILE.replace("\x07", " ") or text == HOSTILE for text in tags.texts)
    assert "<b>m</b> & co" in "".join(tags.texts)


def test_where_nothing_separates_no_winner_is_named(tmp_path):
    write_cells(tmp_path, field=dict.fromkeys(FIELD, 1.0), windows=5, seeds=1)
    write_report(tmp_path)
    texts = Tags()
    texts.feed((tmp_path / "report.html").read_text())
    said = [text for text in texts.texts if "is first" in text]
    waits = [text for text in said if "Nobody is first" in text]
    others = [text for text in said if "Nobody is first" not in text and "is called first" not in text]
    assert waits
    assert all(text.startswith("easy + sleep_idle is first") for text in others)  # in energy, where it is
    assert all(row["first"] in ("", "easy + sleep_idle") for row in rows(tmp_path / "tables" / "tests.csv"))


def test_failed_cells_are_counted_and_said(tmp_path):
    write_cells(tmp_path, field=SMALL, windows=3, failed=lambda *key: key[1:4] == (1, "sjf", 0))
    (tmp_path / "failures.csv").write_text(
        "scenario,window,scheduler,seed,load,origin,message\npolaris,w02,sjf,0,,scheduler,t=5: sjf raised <KeyError>\n"
    )
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "t=5: sjf raised &lt;KeyError&gt;" in text
    assert rows(tmp_path / "tables" / "cells.csv")[2] == {"scheduler": "sjf", "done": "10", "failed": "2"}
    assert "2 of 12 blocks" in text


def test_training_stands_beside_those_that_were_trained(tmp_path):
    write_cells(tmp_path, field=SMALL, windows=2, seeds=1)
    lines = (tmp_path / "timing.csv").read_text().splitlines()
    trained = [f"{line},{'12.5' if ',sjf,' in line else ''}" for line in lines[1:]]
    (tmp_path / "timing.csv").write_text("\n".join([lines[0] + ",training_cpu_h", *trained]) + "\n")
    write_report(tmp_path)
    cost = {row["scheduler"]: row for row in rows(tmp_path / "tables" / "cost.csv")}
    assert {name: row["training cpu_h"] for name, row in cost.items()} == {"easy": "", "fcfs": "", "sjf": "12.50"}
    assert cost["fcfs"]["decision p99 [ms]"] == "0.320"
    assert cost["fcfs"]["cells"] == "4"


def test_a_metric_that_judges_nobody_is_named_and_not_ranked(tmp_path):
    path = write_cells(tmp_path, field=SMALL, windows=2, seeds=1)
    path.write_text(path.read_text().replace("variability", "jobs", 1).replace("throughput_jobs_per_h", "my_metric", 1))
    found = {board.metric: board for board in write_report(tmp_path)}
    assert "judges no scheduler" in found["jobs"].refused
    assert "nothing says whether lower or higher is better" in found["my_metric"].refused
    assert "my_metric" in (tmp_path / "report.html").read_text()


def test_a_tournament_of_one_scheduler_says_that_there_is_nothing_to_compare(tmp_path):
    write_cells(tmp_path, field={"easy": 1.0}, windows=2, seeds=1)
    assert all("at least two schedulers are needed" in board.refused for board in write_report(tmp_path))
    assert "at least two schedulers are needed" in (tmp_path / "report.html").read_text()


def test_every_key_that_the_page_cites_has_its_entry(reported):
    assert {*CITES} <= references().keys()
    text = (reported / "report.html").read_text()
    assert all(f"{{{key}," in text for key in CITES)


# -- figures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[FIELD, LONG], ids=["8 schedulers", "20 long names"])
def crowded(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("crowded")
    machines = {"polaris": 4e3, "mira": 1.4e4, "theta with a name that nobody would give it but somebody did": 9e2}
    cells = read_cells(
        write_cells(directory, field=request.param, machines=machines, windows=4, loads=("0.7", "0.9", "saturation"))
    )
    return cells, [*boards(cells, ["mean_wait_s"], "easy", by_load=False)]


def drawn_figures(cells, found):
    named = styles(cells.schedulers)
    wide = found[0].judgement
    yield "ranks", rank_diagram(wide, f"Mean ranks by mean_wait_s: {found[0].scope}")
    yield "differences", differences(found, list(found[0].letters), "mean_wait_s, lower is better")
    yield "profiles", profiles(wide, named, "Profiles of mean_wait_s: all scenarios")
    by_scenario = {board.scenario: board.judgement for board in found if board.scenario}
    yield "loads", loads(by_scenario, named, "mean_wait_s by load", "mean_wait_s [s]")
    yield "front", front_figure(next(iter(fronts(cells, "easy"))), named)


def test_no_text_of_a_figure_is_cut_off_or_lies_on_another(crowded):
    with inked():
        for name, figure in drawn_figures(*crowded):
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            texts = [*figure.texts]
            for axes in figure.axes:
                texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
                texts += [label for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()
                          if label.get_visible() and _within(axes, axis, label)]  # fmt: skip
            boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts if t.get_text().strip()]
            if name == "ranks":
                assert all(axes.axison is False for axes in figure.axes)
                boxes = [each for each in boxes if each[1].width]
            width, height = figure.canvas.get_width_height()
            for text, box in boxes:
                assert box.x0 >= -1, (name, text)
                assert box.x1 <= width + 1, (name, text)
                assert box.y0 >= -1, (name, text)
                assert box.y1 <= height + 1, (name, text)
            for (one, a), (other, b) in combinations(boxes, 2):
                wide = min(a.x1, b.x1) - max(a.x0, b.x0)
                tall = min(a.y1, b.y1) - max(a.y0, b.y0)
                assert min(wide, tall) < 1.5, (name, one, other)


def _within(axes, axis, label):
    at = label.get_position()[0 if axis is axes.xaxis else 1]
    low, high = sorted(axis.get_view_interval())
    return axes.axison and low <= at <= high


def test_bars_of_the_rank_diagram_join_just_what_is_not_separable(tmp_path):
    judged = judge(complete_blocks(read_cells(write_cells(tmp_path)), "mean_wait_s"), "easy", resamples=50)
    with inked():
        figure = rank_diagram(judged, "ranks")
    axes = figure.axes[0]
    ticks = {text.get_text(): text.get_position()[0] for text in axes.texts if text.get_text().isdigit()}
    inches = (ticks["8"] - ticks["1"]) / 7
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() > 3]
    rank = {each.scheduler: each.mean_rank for each in judged.standings}
    joined = []
    for left, right in bars:
        low, high = ((x - ticks["1"]) / inches + 1 for x in (left, right))
        joined.append(tuple(name for name in rank if low <= rank[name] <= high))
    assert joined == [*judged.groups]
    (ruler,) = [line.get_xdata() for line in axes.lines if list(line.get_ydata()) == [0.3, 0.3]]
    assert (ruler[1] - ruler[0]) / inches == pytest.approx(judged.distance)
