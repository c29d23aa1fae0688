"""The project's papers: licence, citation, changelog and the daily commands say what is so."""

import re
import shlex
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import supported
from packaging.requirements import Requirement

import hpcsim
from hpcsim.cli import COMMANDS, cli
from hpcsim.results.citations import own
from hpcsim.results.page.document import page
from hpcsim.strict_yaml import parse_mapping

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PROJECT = tomllib.loads(PYPROJECT)["project"]
CITATION = parse_mapping((ROOT / "CITATION.cff").read_text(), "CITATION.cff").data
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

CFF_KEYS = {  # of the schema of version 1.2.0
    "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords",
    "license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact",
    "repository-code", "title", "type", "url", "version",
}  # fmt: skip
CFF_ENTITY = {
    "address", "alias", "city", "country", "date-end", "date-start", "email", "fax", "location", "name", "orcid",
    "post-code", "region", "tel", "website",
}  # fmt: skip


def test_the_version_is_the_same_everywhere():
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {hpcsim.__version__, CITATION["version"], newest[1]} == {PROJECT["version"]}
    if newest[2] != "Unreleased":
        assert date.fromisoformat(newest[2]) == date.fromisoformat(str(CITATION["date-released"]))
    else:
        assert "date-released" not in CITATION


def test_the_citation_file_keeps_its_schema():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys() <= CFF_KEYS
    assert CITATION["type"] in ("software", "dataset")
    texts = ("message", "title", "version", "abstract", "license")
    assert all(isinstance(CITATION[key], str) and CITATION[key].strip() for key in texts)
    for unique in ("authors", "keywords"):
        assert len({str(each) for each in CITATION[unique]}) == len(CITATION[unique]) > 0
    for author in CITATION["authors"]:
        assert {"name"} <= author.keys() <= CFF_ENTITY
        assert isinstance(author["name"], str)


def test_citation_file_and_cite_command_and_package_name_the_same_work():
    entry = own(PROJECT["version"])
    assert f"title = {{{CITATION['title']}}}" in entry
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert f"author = {{{{{PROJECT['authors'][0]['name']}}}}}" in entry
    assert set(CITATION["keywords"]) == set(PROJECT["keywords"])


def test_the_licence_is_one_and_covers_what_others_wrote():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("BSD 3-Clause License\n")
    assert PROJECT["authors"][0]["name"] in text
    assert "3. Neither the name of the copyright holder" in text
    assert PROJECT["license"] == CITATION["license"] == "BSD-3-Clause"
    vendored = ROOT / "hpcsim" / "results" / "page" / "vendor"
    theirs = {file.name.split(".")[0] for file in vendored.glob("*.min.*")}
    licences = {file.name.removeprefix("LICENSE-"): file for file in vendored.glob("LICENSE-*")}
    assert theirs == licences.keys()
    assert {ROOT / name for name in PROJECT["license-files"]} == {ROOT / "LICENSE", *licences.values()}


def test_a_report_page_carries_the_licence_of_what_it_holds():
    html = page([hpcsim.simulate("polaris", {"jobs": 20, "physics": None})])
    licence = (ROOT / "hpcsim" / "results" / "page" / "vendor" / "LICENSE-uPlot").read_text()
    assert html.index(licence) < html.index("var uPlot=")


def test_every_make_target_that_is_named_is_one():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [ROOT / name for name in tracked if name.endswith((".md", ".py", ".yaml")) or name == ".ci/run"]
    named = {
        (file.name, target)
        for file in files
        if file.is_file()
        for target in re.findall(r"(?:^ {4}|`|\bexec )make ([a-z]+)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert {pair for pair in named if pair[1] not in TARGETS} == set()
    contributing = {target for file, target in named if file == "CONTRIBUTING.md"}
    assert contributing == TARGETS


def test_every_file_that_contributing_names_is_there():
    named = re.findall(r"`([\w./-]+(?:\.(?:md|py|bib|toml)|/))`", CONTRIBUTING) + re.findall(
        r"tests/\w+\.py", CONTRIBUTING
    )
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("line", re.findall(r"^    hpcsim (.+)$", CONTRIBUTING, re.MULTILINE))
def test_every_command_of_hpcsim_in_contributing_is_understood(line):
    command, *words = shlex.split(line)
    assert command in COMMANDS
    found = cli.get_command(None, command)
    if words[0] in getattr(found, "commands", {}):
        found, words = found.commands[words[0]], words[1:]
    found.make_context(command, words)


def test_the_pytest_commands_in_contributing_find_tests():
    lines = re.findall(r"^    \.venv/bin/pytest (.+)$", CONTRIBUTING, re.MULTILINE)
    assert len(lines) > 3
    pytest_of = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider"]
    for words in {tuple(shlex.split(line)) for line in lines if " -k " in line}:
        said = subprocess.run([*pytest_of, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout


def test_every_dependency_has_a_lowest_version_and_make_lowest_asks_for_it():
    lowest = supported.lowest_versions(PYPROJECT)
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *(each for name in extras if name != "dev" for each in extras[name])]
    for requirement in map(Requirement, asked):
        if requirement.name != PROJECT["name"]:
            assert str(requirement.specifier) == f">={lowest[requirement.name]}"
    pinned = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    for requirement in map(Requirement, [*asked, *extras["dev"]]):
        if requirement.name != PROJECT["name"]:
            assert pinned[re.sub(r"[-_.]+", "-", requirement.name).lower()] in requirement.specifier


def test_the_pythons_that_are_tried_are_those_that_the_package_names():
    named = re.findall(r"Programming Language :: Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    assert [int(minor) for minor in named] == list(supported.MINORS)
    assert PROJECT["requires-python"] == f">=3.{supported.OLDEST}"
    assert [name for name in supported.BASE + supported.OF_EXTRAS if not (ROOT / name.split("::")[0]).is_file()] == []


def test_a_python_that_is_not_there_is_said_not_to_be(capsys):
    assert supported.python_of(1) is None
    assert supported.report(1, "", "", [])
    assert capsys.readouterr().out == "Python 3.1: not on this machine\n"
    assert supported.python_of(sys.version_info.minor) is not None or sys.version_info.minor not in supported.MINORS
