"""docs/tutorial.md, followed literally: in an empty folder, in a new virtual environment, from the first line on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from pages import blocks, text_of

PROJECT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(?:`(?P<file>\w+\.py)`[^`]*)?```(?P<kind>python|sh)\n(?P<text>.*?)```", re.S)


def test_every_snippet_works_in_the_order_of_the_page(tmp_path: Path) -> None:
    environment, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    # hpcsim and what it needs are seen from there as if they were installed: nothing is fetched from anywhere.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    seen = environment / "lib" / version / "site-packages" / "seen.pth"
    seen.write_text(f"{PROJECT}\n{sysconfig.get_paths()['purelib']}\n")
    python = environment / "bin" / "python"
    offline = "--no-index --no-deps --no-build-isolation"
    commands = {
        "hpcsim": f'"{python}" -m hpcsim "$@"',
        "pytest": f'"{python}" -m pytest "$@"',
        "pip": f'"{sys.executable}" -m pip --python "{python}" -q "$1" {offline} "${{@:2}}"',
    }
    script = "set -eu\n" + "".join(f"{name}() {{ {body}; }}\n" for name, body in commands.items())
    ran = 0
    assert len(blocks("docs/tutorial.md", "python")) == 2
    for block in _BLOCK.finditer(text_of("docs/tutorial.md")):
        if block["kind"] == "python":
            assert block["file"], f"no file is named for:\n{block['text']}"
            (folder / block["file"]).write_text(block["text"])
            continue
        done = subprocess.run(
            ["bash", "-c", script + block["text"]],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block['text']}\n{done.stdout}\n{done.stderr}"
        if "hpcsim check mine" in block["text"]:  # the page says that exactly this is missing
            failed = [line.split()[0] for line in done.stdout.splitlines() if re.match(r"\w+ +fails ", line)]
            assert failed == ["no_job_starves"], done.stdout
        ran += 1
    assert ran == len(blocks("docs/tutorial.md", "sh")) == 6
    assert {path.name for path in (folder / "runs").iterdir()} == {"mine", "easy", "patient", "predicted"}
