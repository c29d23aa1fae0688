"""Citations: every key leads to an entry, and every run says what it rests on."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from textwrap import dedent

import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import _exit_code, cli
from hpcsim.errors import InputError
from hpcsim.levers.levered import LEVERS
from hpcsim.plugin.loader import load_plugins
from hpcsim.results import citations
from hpcsim.schedulers.orders import CITES, KEYS

TEXT = (files("hpcsim.results") / "references.bib").read_text("utf-8")
FIELDS = {
    "article": {"author", "title", "journal", "year"},
    "book": {"author", "title", "publisher", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "techreport": {"author", "title", "institution", "year"},
    "phdthesis": {"author", "title", "school", "year"},
    "manual": {"author", "title", "year"},
    "misc": {"author", "title", "howpublished"},
}


def test_references_are_one_entry_a_paragraph_sorted_and_whole():
    assert TEXT.isascii()  # BibTeX sorts and shortens names by bytes
    keys = []
    for paragraph in TEXT.strip().split("\n\n"):
        first, *fields, last = paragraph.splitlines()
        kind, key = re.fullmatch(r"@(\w+)\{(\w+),", first).groups()
        keys.append(key)
        assert last == "}"
        named = [re.fullmatch(r"  (\w+)\s*= \{.+\},", field)[1] for field in fields]
        assert len(set(named)) == len(named)
        assert FIELDS[kind] <= set(named), key
        assert paragraph.count("{") == paragraph.count("}")
    assert keys == sorted(keys, key=str.lower)
    assert len(set(keys)) == len(keys)
    assert [*citations.references()] == keys


def test_every_key_that_a_plug_in_a_lever_or_the_physics_cites_has_its_entry():
    plugins = load_plugins()
    offered = [*plugins.schedulers.values(), *plugins.twins.values(), *LEVERS.values()]
    cited = {key for each in offered for key in citations.cites_of(each) if not key.startswith("@")}
    cited |= {key for keys in CITES.values() for key in keys}
    cited |= {
        key
        for name, keys in vars(citations).items()
        if re.fullmatch("_[A-Z]+", name) and isinstance(keys, tuple)
        for key in keys
    }
    assert cited <= citations.references().keys()
    assert set(CITES) <= set(KEYS)


def named_in(docstring):
    """The first author and the year of each work under ``References``, as (surname, year)."""
    listed = docstring.partition("References\n")[2].replace("et al.", "et al").replace("-----", "")
    return re.findall(r"(?:^|\. )([A-Z]\w+)[^.()]* \((\d{4})\)", " ".join(listed.split()))


def test_every_built_in_scheduler_and_twin_cites_the_works_that_its_docstring_names():
    plugins = load_plugins()
    conditional = {"easy": "Zhang2020"}  # cited by an option, as test_a_run_prints_all_that_it_used has it
    seen = 0
    for name, kind in {**plugins.schedulers, **plugins.twins}.items():
        cited = [*citations.cites_of(kind), conditional.get(name, "")]
        for surname, year in named_in(kind.__doc__):
            surname = {"Argonne": "ALCF", "Altair": "PBS"}.get(surname, surname)
            assert any(key.startswith(surname) and key.endswith(year) for key in cited), (name, surname, year)
            seen += 1
    assert seen > 30


def keys_in(output):
    return re.findall(r"^@\w+\{(\w+),", output, re.MULTILINE)


def test_a_run_prints_all_that_it_used_once_with_what_for(tmp_path):
    levers = {"sleep_idle": "auto", "speed": 0.9}
    scheduler = {"name": "easy", "order": "wfp3", "extra_nodes": False}
    for number, more in enumerate(
        ({"levers": levers, "physics.solar_kw": 50.0}, {"physics": None, "scheduler": "fcfs"})
    ):
        run = hpcsim.simulate("polaris", {"jobs": 30, "scheduler": scheduler} | more)
        run.write(tmp_path / str(number), plots=False)
    result = CliRunner().invoke(cli, ["cite", str(tmp_path / "0")], catch_exceptions=False)
    keys = keys_in(result.output)
    assert len(set(keys)) == len(keys)
    assert keys[0] == "hpcsim"
    assert result.output.startswith("% hpcsim\n@misc{hpcsim,\n")
    assert f"howpublished = {{Computer program, version {hpcsim.__version__}}}" in result.output
    used = {
        "Lifka1995", "MualemFeitelson2001", "Tang2009", "Zhang2020", "Karlin1988", "HsuFeng2005", "ALCFData",
        "Daly2006", "Tang2008", "SchroederGibson2010", "Haurwitz1945", "Brewer2024", "Moore2005", "ALCFGuides",
        "Patki2023",
    }  # fmt: skip
    assert used <= set(keys)
    assert "% lever speed, power\n@article{Etinski2012," in result.output
    bare = CliRunner().invoke(cli, ["cite", str(tmp_path / "1")], catch_exceptions=False)
    assert keys_in(bare.output) == ["hpcsim", "ALCFData", "LublinFeitelson2003", "ZakayFeitelson2013"]
    both = CliRunner().invoke(cli, ["cite", str(tmp_path / "0"), str(tmp_path / "1")], catch_exceptions=False)
    assert keys_in(both.output) == keys


def test_a_trace_in_swf_is_cited_as_such(tmp_path):
    rows = [f"{i} {10 * i} 0 30 1 -1 -1 1 60 -1 1 1 1 -1 1 -1 -1 -1" for i in range(1, 4)]
    (tmp_path / "jobs.swf").write_text("; MaxNodes: 4\n" + "\n".join(rows) + "\n")
    run = hpcsim.simulate("bare", {"trace": str(tmp_path / "jobs.swf"), "scheduler": "fcfs"})
    assert run.manifest["cites"] == {"workload": ["Chapin1999", "Feitelson2014"]}


def test_a_workload_is_cited_by_what_it_is_of():
    assert hpcsim.simulate("workflows").manifest["cites"]["workload"] == ["Coleman2022"]
    assert hpcsim.simulate("toy").manifest["cites"]["workload"] == ["Wang2021", "Mao2016"]
    changed = {"physics": None, "jobs": 50, "load": 0.7, "shake": {"submit": "10m"}, "closed_loop": {}}
    cites = hpcsim.simulate("polaris", changed).manifest["cites"]
    assert cites["load"] == ["Feitelson2015"]
    assert cites["shaken jobs"] == ["TsafrirOuaknine2007"]
    assert cites["closed loop"] == ["ShmueliFeitelson2009", "ZakayFeitelson2014"]


READS = '''
    from hpcsim.plugin import JobRecord, hookimpl


    class Mine:
        """A format of three words a line."""

        name = "mine"
        api = 1
        cites = ("Young1974",)

        def matches(self, path, head):
            return path.suffix == ".mine"

        def read(self, path):
            return [JobRecord(str(n), 10 * n, 1, 30, 60) for n in range(3)]


    class Jobs:
        """How many jobs there were."""

        name = "how-many"
        api = 1
        unit = ""
        cites = ("Daly2006",)

        def compute(self, run):
            return run.jobs.num_rows


    @hookimpl
    def hpcsim_workloads(register):
        register(Mine)


    @hookimpl
    def hpcsim_metrics(register):
        register(Jobs)
'''


def test_what_readers_and_metrics_of_plug_ins_rest_on_is_cited(tmp_path):
    (tmp_path / "reads.py").write_text(dedent(READS))
    (tmp_path / "jobs.mine").write_text("nothing\n")
    scenario = {"trace": str(tmp_path / "jobs.mine"), "machine.nodes": 4, "scheduler": "fcfs"}
    run = hpcsim.simulate("bare", scenario, plugins=tmp_path / "reads.py")
    assert run.manifest["cites"] == {"workload": ["Young1974"], "metric how-many": ["Daly2006"]}


FILE = '''
    from hpcsim.plugin import Start, hookimpl

    class Mine:
        """Start all."""

        name = "mine"
        api = 1
        cites = {CITES}

        def schedule(self, view):
            room = view.room()
            return [Start(job) for job in view.queue if room.take(job)]

    @hookimpl
    def hpcsim_schedulers(register):
        register(Mine)
'''
ENTRY = "@misc{Me2030,\\n  author = {Me},\\n  title = {Mine},\\n}"


def test_a_third_party_gives_whole_entries_beside_keys(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(dedent(FILE).replace("{CITES}", f'("Lifka1995", "{ENTRY}")'))
    words = ["cite", "--scheduler", "mine", f"--plugin={file}"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert keys_in(result.output) == ["hpcsim", "Lifka1995", "Me2030"]
    run = hpcsim.simulate(
        "bare", {"profile": "cooley", "jobs": 9, "machine.nodes": 126, "scheduler": "mine"}, plugins=file
    )
    assert json.loads(json.dumps(run.manifest["cites"]))["scheduler mine"] == ["Lifka1995", ENTRY.replace("\\n", "\n")]


@pytest.mark.parametrize(
    ("cites", "said"),
    [
        ('("Nobody1900",)', "scheduler mine: cites: no entry of references.bib has the key 'Nobody1900'"),
        ('("@misc{Open,",)', "scheduler mine: cites: found '@misc{Open,', expected a BibTeX entry, @kind{key, "),
    ],
)
def test_what_leads_nowhere_is_told(tmp_path, capsys, cites, said):
    file = tmp_path / "mine.py"
    file.write_text(dedent(FILE).replace("{CITES}", cites))
    assert _exit_code(["cite", "--scheduler", "mine", f"--plugin={file}"]) == 2
    assert said in capsys.readouterr().err


def test_cites_that_are_no_tuple_are_refused_when_they_are_registered(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(dedent(FILE).replace("{CITES}", '"Lifka1995"'))
    with pytest.raises(InputError, match=r"Mine\.cites should be a tuple of keys or BibTeX entries, found 'Lifka1995'"):
        load_plugins([file])


def test_what_is_no_run_is_told(tmp_path, capsys):
    assert _exit_code(["cite", str(tmp_path)]) == 2
    assert "not a complete run directory" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text('{"hpcsim": "0.0.9"}')
    assert _exit_code(["cite", str(tmp_path)]) == 2
    assert "its manifest has no cites: it was made by hpcsim 0.0.9; run it again" in capsys.readouterr().err
    assert _exit_code(["cite"]) == 2
    assert "expected a run directory, or --scheduler NAME" in capsys.readouterr().err
