"""How fast another simulator replays the same trace: AccaSim 1.1.3, beside hpcsim, in whole processes.

    HPCSIM_DATA=DIR python -m benchmarks.peers [--folder build/peers] [--runs 3]

AccaSim (Galleguillos, Kiziltan, Netti and Soto 2020, AccaSim: a customizable workload management simulator for job
dispatching research in HPC systems) is installed into an environment of its own on the first call. It was written for
Python before 3.10, so the name that it imports from ``collections`` is put back there, and nothing else is changed.
The machine is one of 100 processors, in AccaSim one node with as many cores, which it does fastest. First come first
served is the same algorithm in both, so the mean wait has to be the same too; what AccaSim calls EASY keeps no nodes
for the first job (its list of reservations is always empty), so its waits differ.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.speed import whole_process

PEER = "accasim==1.1.3"
PROCESSORS = 100  # of KTH-SP2
SYSTEM = {"groups": {"all": {"core": PROCESSORS}}, "resources": {"all": 1}}
RULES = {"fcfs": "FirstInFirstOut", "easy": "EASYBackfilling"}  # as hpcsim calls them, and as AccaSim does

DRIVER = """
import collections, collections.abc, sys
collections.Mapping = collections.abc.Mapping
from accasim.base import scheduler_class
from accasim.base.allocator_class import FirstFit
from accasim.base.simulator_class import Simulator
trace, system, rule, out = sys.argv[1:]
dispatcher = getattr(scheduler_class, rule)(FirstFit())
Simulator(trace, system, dispatcher, RESULTS_FOLDER_PATH=out, show_statistics=False).start_simulation()
"""


def installed(folder: Path) -> Path:
    """The interpreter of an environment in which AccaSim is installed."""
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-input", PEER], check=True)
        (folder / "installed").touch()
    return python


def of_accasim(python: Path, trace: Path, rule: str, out: Path) -> tuple[float, float, float]:
    """CPU seconds, peak MiB and the mean wait of a run of AccaSim."""
    system = out / "system.json"
    system.write_text(json.dumps(SYSTEM), encoding="utf-8")
    cpu_s, mib = whole_process([str(python), "-c", DRIVER, str(trace), str(system), RULES[rule], str(out)])
    told = (out / f"stats-{trace.name}").read_text(encoding="utf-8")
    found = re.search(r"waiting times: ([\d.]+)", told)
    if found is None:
        raise SystemExit(f"AccaSim tells no mean wait:\n{told}")
    return cpu_s, mib, float(found[1])


def of_hpcsim(trace: Path, rule: str, out: Path) -> tuple[float, float, float]:
    """The same of a run of hpcsim."""
    command = ["run", "bare", "--trace", str(trace), "--scheduler", rule, "--no-plots", "--out", str(out / "run")]
    cpu_s, mib = whole_process([sys.executable, "-m", "hpcsim", *command])
    return cpu_s, mib, float(json.loads((out / "run" / "summary.json").read_text(encoding="utf-8"))["mean_wait_s"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="where AccaSim is installed")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the medians are shown (default 3)")
    asked = parser.parse_args()
    data = os.environ.get("HPCSIM_DATA")
    if data is None:
        parser.error("HPCSIM_DATA should name the folder of real traces")
    python = installed(asked.folder.resolve())
    print(f"{'':8} {'simulator':10} {'CPU s':>7} {'times hpcsim':>13} {'MiB':>5} {'mean wait s':>12}")
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / "kth.swf"
        trace.write_bytes(gzip.decompress((Path(data) / "oracles" / "kth.swf.gz").read_bytes()))
        for rule in RULES:
            of_all: dict[str, list[tuple[float, float, float]]] = {"hpcsim": [], "AccaSim": []}
            for _ in range(asked.runs):
                for name, found in of_all.items():
                    out = Path(tempfile.mkdtemp(dir=scratch))
                    run = of_hpcsim(trace, rule, out) if name == "hpcsim" else of_accasim(python, trace, rule, out)
                    found.append(run)
            ratio = statistics.median(b[0] / a[0] for a, b in zip(*of_all.values(), strict=True))
            for name, found in of_all.items():
                cpu_s, mib, wait_s = (statistics.median(column) for column in zip(*found, strict=True))
                shown = f"{ratio:13.1f}" if name == "AccaSim" else f"{'':13}"
                print(f"{rule:8} {name:10} {cpu_s:7.2f} {shown} {mib:5.0f} {wait_s:12,.1f}")


if __name__ == "__main__":
    main()
