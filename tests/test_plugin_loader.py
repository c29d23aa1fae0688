"""A plug-in that is right is found, one that is wrong is named, and none harms another."""

import hashlib
import sys
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path
from textwrap import dedent

import pytest

from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine, machine_names
from hpcsim.plugin import loader
from hpcsim.plugin.loader import Plugins, load_plugins

RIGHT = """
from hpcsim.plugin.hooks import hookimpl

class Shortest:
    name = "NAME"
    api = 1

    def schedule(self, view):
        return []

@hookimpl
def hpcsim_schedulers(register):
    register(Shortest)
"""

MACHINES = """
from pathlib import Path

from hpcsim.plugin.hooks import hookimpl

@hookimpl
def hpcsim_machines(register):
    register(Path(__file__).with_name("tiny.yaml"))
"""

CATALOGUE = Path(str(files("hpcsim.machine"))) / "catalog"


def tiny(folder: Path, name: str = "tiny") -> Path:
    """A machine's file in ``folder``: Cooley under another name."""
    file = folder / f"{name}.yaml"
    text = (CATALOGUE / "cooley.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("name: Cooley", "name: Tiny"), encoding="utf-8")
    return file


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(dedent(text), encoding="utf-8")
    return file


def origins(plugins: Plugins, kind: str = "schedulers") -> dict[str, str]:
    """Where everything of a kind comes from that is not hpcsim's own: origin by name."""
    mine = [plugin for plugin in plugins.found if plugin.distribution != "hpcsim"]
    return {name: plugin.origin for plugin in mine for name in plugin.offers.get(kind, ())}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes modules and pretends that the entry points of the group are these: text by module name."""

    def install(**texts: str) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        for module, text in texts.items():
            written(tmp_path, text, f"{module}.py")
        entries = [EntryPoint(module, module, "hpcsim") for module in reversed(texts)]
        monkeypatch.setattr(loader, "entry_points", lambda group: entries)

    yield install
    for name in [name for name in sys.modules if name.startswith("plugged_")]:
        del sys.modules[name]


def test_built_in_schedulers_are_found_by_their_entry_point() -> None:
    plugins = load_plugins(strict=True)
    assert plugins.errors == {}
    assert "easy" in plugins.schedulers
    assert all(plugin.origin.startswith("hpcsim ") for plugin in plugins.found)


def test_a_file_offers_its_scheduler(tmp_path: Path) -> None:
    file = written(tmp_path, RIGHT)
    plugins = load_plugins([file])
    assert plugins.schedulers["NAME"].__name__ == "Shortest"
    assert origins(plugins) == {"NAME": str(file)}


def test_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one = written(tmp_path, RIGHT.replace("NAME", "one"))
    two = written(tmp_path / "b", RIGHT.replace("NAME", "two"))
    found = load_plugins([one, two]).schedulers
    assert found["one"].__module__ != found["two"].__module__


def test_an_installed_plugin_that_is_no_python_is_told_with_the_line(installed) -> None:
    installed(plugged_s="x = 1\nx = = 2\n")
    assert load_plugins().errors == {"plugged_s": "SyntaxError: invalid syntax (plugged_s.py:2)"}


def test_a_broken_plugin_is_noted_and_the_rest_work(installed) -> None:
    installed(
        plugged_a="import a_module_that_is_not_there",
        plugged_b=RIGHT.replace("NAME", "good"),
        plugged_c="raise SystemExit('gone')",
        plugged_d=RIGHT.replace("def hpcsim_schedulers", "def hpcsim_shedulers"),
        plugged_e=RIGHT.replace("(register):", "(registrar):").replace("register(S", "registrar(S"),
    )
    plugins = load_plugins()
    assert set(plugins.schedulers) == {"good"}
    assert list(plugins.errors) == ["plugged_a", "plugged_c", "plugged_d", "plugged_e"]
    assert "ModuleNotFoundError" in plugins.errors["plugged_a"]
    assert "SystemExit: gone" in plugins.errors["plugged_c"]
    assert "hpcsim_shedulers" in plugins.errors["plugged_d"]
    assert "registrar" in plugins.errors["plugged_e"]
    assert not any("\n" in said for said in plugins.errors.values())


def test_a_plugin_that_breaks_half_way_leaves_nothing(installed, tmp_path: Path) -> None:
    installed(plugged_a=RIGHT + "    raise RuntimeError('half way')\n")
    plugins = load_plugins()
    assert plugins.schedulers == {}
    where = tmp_path / "plugged_a.py"
    assert plugins.errors == {"plugged_a": f"RuntimeError: half way ({where}:14)"}


def test_strict_loading_raises(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(plugged_a="1 / 0")
    with pytest.raises(InputError, match="plug-in plugged_a: ZeroDivisionError"):
        load_plugins(strict=True)
    monkeypatch.setenv("HPCSIM_STRICT_PLUGINS", "1")
    with pytest.raises(InputError, match="plug-in plugged_a: ZeroDivisionError"):
        load_plugins()


def test_two_plugins_cannot_share_a_name(installed, tmp_path: Path) -> None:
    installed(plugged_a=RIGHT, plugged_b=RIGHT)
    plugins = load_plugins()
    assert origins(plugins) == {"NAME": "plugged_a"}
    assert plugins.errors == {"plugged_b": "the scheduler 'NAME' is registered already, by plugged_a"}
    file = written(tmp_path, RIGHT)
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert str(caught.value) == f"{file}: the scheduler 'NAME' is registered already, by plugged_a"


def test_an_installed_plugin_cannot_take_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, RIGHT.replace("NAME", "easy"), "plugged_easy.py")
    (tmp_path / "aaa-1.2.dist-info").mkdir()
    written(tmp_path / "aaa-1.2.dist-info", "Metadata-Version: 2.1\nName: aaa\nVersion: 1.2\n", "METADATA")
    written(tmp_path / "aaa-1.2.dist-info", "[hpcsim]\nmine = plugged_easy\n", "entry_points.txt")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load_plugins()
    del sys.modules["plugged_easy"]
    easy = plugins.provider("schedulers", "easy").origin
    assert easy.endswith("(hpcsim.schedulers)")
    said = f"the scheduler 'easy' is registered already, by {easy}"
    assert plugins.errors == {"aaa 1.2 (plugged_easy)": said}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "NAME"', "nam = 1", "Shortest.name should be the scheduler's name as text, found None"),
        ("api = 1", "", "Shortest.api is None; this hpcsim speaks api = 1"),
        ("api = 1", "api = 2", "Shortest.api is 2"),
        ("api = 1", "api = True", "Shortest.api is True"),
        ("def schedule(", "def shedule(", "no method schedule"),
        ("api = 1", "api = 1; Options = dict", "Options should be a pydantic model"),
        ("register(Shortest)", "register(Shortest())", "takes a class"),
        ("register(Shortest)", "register(Shortest); register(Shortest)", "registered already, by itself"),
        ("register(Shortest)", "pass", "registers nothing"),
        ("@hookimpl\n", "", "hpcsim_schedulers has no @hookimpl"),
        ("@hookimpl\ndef hpcsim_schedulers(register):", "def offer(register):", "registers nothing"),
        (
            "def hpcsim_schedulers(",
            "def hpcsim_shedulers(",
            "no hook 'hpcsim_shedulers'. Did you mean 'hpcsim_schedulers'?",
        ),
        (
            "(register):",
            "(register, more):",
            "takes one argument, register; found hpcsim_schedulers(register, more)",
        ),
        (
            "api = 1",
            "api = 1; needs = {'sleeep'}",
            "needs 'sleeep', which is no capability. Did you mean 'sleep'?",
        ),
        ("api = 1", "api = 1; needs = 'sleep'", "Shortest: needs should be a set such as {\"sleep\"}, found 'sleep'"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in RIGHT
    file = written(tmp_path, RIGHT.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


def test_an_option_cannot_be_called_name(tmp_path: Path) -> None:
    options = "api = 1\n    class Options(__import__('pydantic').BaseModel):\n        name: str = ''\n"
    with pytest.raises(InputError, match="has a field 'name'"):
        load_plugins([written(tmp_path, RIGHT.replace("api = 1", options))])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\nx = = 2\n", 2, "SyntaxError"),
        ("x = 1\n\nimport a_module_that_is_not_there\n", 3, "ModuleNotFoundError"),
        ("def f():\n    raise SystemExit(3)\nf()\n", 2, "SystemExit"),
        (RIGHT + "    1 / 0\n", 14, "ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_imported_names_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = written(tmp_path, text)
    modules = set(sys.modules)
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert str(caught.value).startswith(f"{file}:{line}: {said}")
    assert "ZeroDivisionError" in said or set(sys.modules) == modules


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.py: there is no such file"):
        load_plugins([tmp_path / "none.py"])
    with pytest.raises(InputError, match="a directory"):
        load_plugins([tmp_path])


def test_a_file_offers_its_machine(tmp_path: Path) -> None:
    where = tiny(tmp_path)
    file = written(tmp_path, MACHINES)
    plugins = load_plugins([file])
    assert plugins.machines == {"tiny": where}
    assert origins(plugins, "machines") == {"tiny": str(file)}
    assert load_machine("tiny", plugins.machines).name == "Tiny"
    assert "tiny" in machine_names(plugins.machines)


def test_one_plugin_may_offer_both(tmp_path: Path) -> None:
    tiny(tmp_path)
    plugins = load_plugins([written(tmp_path, RIGHT + MACHINES)])
    assert "NAME" in plugins.schedulers
    assert list(plugins.machines) == ["tiny"]


def test_a_wrong_machine_takes_the_whole_plugin_with_it_and_no_other(installed, tmp_path: Path) -> None:
    wrong = tiny(tmp_path, "wrong")
    wrong.write_text(wrong.read_text(encoding="utf-8").replace("value: 190", "value: -190"), encoding="utf-8")
    tiny(tmp_path)
    installed(
        plugged_a=RIGHT + MACHINES + '    register(Path(__file__).with_name("wrong.yaml"))\n',
        plugged_b=MACHINES,
        plugged_c=MACHINES + "    raise RuntimeError('half way')\n",
    )
    plugins = load_plugins()
    assert plugins.schedulers == {}
    assert origins(plugins, "machines") == {"tiny": "plugged_b"}
    assert list(plugins.errors) == ["plugged_a", "plugged_c"]
    assert plugins.errors["plugged_a"].startswith(f"{wrong}:")
    assert "power.idle_w: should be above 0 (got -190.0)" in plugins.errors["plugged_a"]


def test_two_plugins_cannot_share_a_machine(installed, tmp_path: Path) -> None:
    tiny(tmp_path)
    installed(plugged_a=MACHINES, plugged_b=RIGHT + MACHINES)
    plugins = load_plugins()
    assert plugins.schedulers == {}
    assert origins(plugins, "machines") == {"tiny": "plugged_a"}
    assert plugins.errors == {"plugged_b": "the machine 'tiny' is registered already, by plugged_a"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"tiny.yaml")', '"polaris.yaml")', "the machine 'polaris' is registered already, by hpcsim"),
        ('"tiny.yaml")', '"none.yaml")', "none.yaml: there is no such file"),
        ('Path(__file__).with_name("tiny.yaml")', '"tiny.yaml"', "takes the whole path of a file, such as"),
        ('Path(__file__).with_name("tiny.yaml")', "dict", "takes the path of a YAML file, not <class 'dict'>"),
        ("    register(", "    register(Path(__file__).with_name('tiny.yaml')); register(", "already, by itself"),
        ("    register(", "    pass  # register(", "registers nothing; implement a hook"),
    ],
)
def test_a_machine_that_breaks_the_contract_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in MACHINES
    tiny(tmp_path)
    file = written(tmp_path, MACHINES.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


def test_only_the_plugins_of_the_environment_are_loaded(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(plugged_a=RIGHT.replace("NAME", "one"), plugged_b=RIGHT.replace("NAME", "two"), plugged_c="1 / 0")
    monkeypatch.setenv("HPCSIM_PLUGINS", "plugged_b")
    plugins = load_plugins(strict=True)
    assert origins(plugins) == {"two": "plugged_b"}
    monkeypatch.setenv("HPCSIM_PLUGINS", "plugged_a, plugged_x")
    with pytest.raises(InputError, match=r"HPCSIM_PLUGINS: no plug-in named 'plugged_x' is installed\. Did you mean"):
        load_plugins()


def test_what_comes_with_hpcsim_is_always_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCSIM_PLUGINS", "")
    assert "easy" in load_plugins().schedulers


def test_each_plugin_is_known_by_where_it_comes_from(installed, tmp_path: Path) -> None:
    installed(plugged_a="1 / 0")
    file = written(tmp_path, RIGHT)
    broken, mine = (plugin.as_data() for plugin in load_plugins([file]).found)
    where = tmp_path / "plugged_a.py"
    said = f"ZeroDivisionError: division by zero ({where}:1)"
    assert broken == {"name": "plugged_a", "value": "plugged_a", "offers": {}, "error": said}
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert mine == {"name": "mine", "file": str(file), "sha256": sha256, "offers": {"schedulers": ["NAME"]}}
