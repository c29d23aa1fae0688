"""What is installed is what is in the tree."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_exactly_the_tree(tmp_path):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    source = tmp_path / "source"
    for name in tracked:  # a copy, because building leaves files beside the sources
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        tmp_path,
        source,
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    moved = ("schedulers/", "twins/", "scenarios/")
    expected = {f"hpcsim/{name}" for name in tracked if name.startswith(moved)}
    expected |= {name for name in tracked if name.startswith("hpcsim/") and not (ROOT / name).is_symlink()}
    assert packed == expected
    assert {"hpcsim/schedulers/backfilling.py", "hpcsim/scenarios/polaris.yaml", "hpcsim/py.typed"} <= packed
