"""The documentation site: it is built without a warning, its references are in step, and its first page is true."""

import importlib.util
import re
import subprocess
import sys

import pytest
from pages import PAGES, ROOT, commands, text_of

from hpcsim.cli import main
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.models import Scenario

MADE = ROOT / "docs" / "scenario_reference.py"


def reference():
    spec = importlib.util.spec_from_file_location("scenario_reference", MADE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_scenarios_and_options_is_what_their_models_say():
    made = reference()
    for page, text in (("docs/scenario.md", made.scenario_page()), ("docs/options.md", made.options_page())):
        assert text_of(page) == text, f"{page} is out of date: python docs/scenario_reference.py"


def test_the_reference_has_every_key_with_a_type_and_a_description():
    rows = [line.split(" | ") for line in (text_of("docs/scenario.md") + text_of("docs/options.md")).splitlines()]
    rows = [[cell.strip("| ") for cell in row] for row in rows if len(row) == 4 and row[0].startswith("| `")]
    assert all(key and kind and default and told for key, told, kind, default in rows)
    keys = {row[0].strip("`") for row in rows}
    assert keys >= set(Scenario.model_fields)
    for kind in ("schedulers", "twins"):
        for name, offered in load_plugins().offers[kind].items():
            assert f"\n### `{name}`\n" in text_of("docs/options.md")
            assert keys >= set(offered.Options.model_fields if hasattr(offered, "Options") else ())
    units = {row[0].strip("`"): "".join(re.findall(r" \[(\S+)\]$", row[3])) for row in rows}
    assert {units[key] for key in ("pass_interval", "interval", "half_life", "decision_s")} == {"s"}
    assert [units[key] for key in ("cap_kw", "transfer_gb_s", "days", "load", "beta")] == ["kW", "GB/s", "d", "", ""]


def test_every_page_has_its_place_on_the_site():
    listed = re.findall(r"^.+ <([\w-]+)>$", text_of("docs/index.md"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {f"docs/{name}.md" for name in listed} == {*PAGES} - {"README.md", "docs/index.md"}


def test_the_site_is_built_without_a_warning_and_every_link_leads_somewhere(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install '.[docs]'")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    folders = ["-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "site"]
    ran = subprocess.run([*build, *folders], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "site").glob("*.html")}
    assert len(pages) > len(PAGES)
    broken = []
    for name, html in pages.items():
        for target in re.findall(r'(?:href|src)="([^"]+)"', html):
            path, _, anchor = target.partition("#")
            if re.match(r"\w+:", path) or (not path and not anchor):
                continue
            file = tmp_path / "site" / (path.partition("?")[0] or name)
            there = file.exists() and (not anchor or f'id="{anchor}"' in pages.get(file.name, ""))
            broken += [] if there else [(name, target)]
    assert broken == []
    assert 'id="hpcsim.plugin.View"' in pages["api.html"]
    for name, html in pages.items():
        assert not re.findall(r"<a [^>]*>(?:<[^>]*>)*[\w-]+\.md<", html), name
    assert ">What a run leaves behind</" in pages["first-run.html"]


def test_the_first_run_prints_what_its_page_shows(tmp_path, monkeypatch, capsys):
    page = text_of("docs/first-run.md")
    shown = re.search(r"^    polaris under easy: .*?^    runs/polaris-easy-1$", page, re.MULTILINE | re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    typed(["run", "polaris", "--no-plots"])  # make run has the file of the same name
    printed = capsys.readouterr().out
    assert [line.strip() for line in printed.splitlines()] == [line.strip() for line in shown.splitlines()]
    (explain,) = (line for line in commands("docs/first-run.md") if line.startswith("hpcsim explain"))
    typed(explain.split()[1:])
    assert "waited" in capsys.readouterr().out
    assert (ROOT / "hpcsim" / "scenarios" / "polaris.yaml").samefile(ROOT / "scenarios" / "polaris.yaml")


def typed(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
