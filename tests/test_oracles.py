"""Oracles know the truth: what they say of a job is what becomes of it if nothing disturbs it."""

import pytest

import hpcsim

PLUGIN = '''
from hpcsim.plugin import Options, Start, hookimpl

class Asks:
    """Starts jobs one by one at this speed, and tells what was foretold of each as the reason."""

    name = "asks"
    api = 1
    needs = {"energy-twin", "speed"}

    class Options(Options):
        speed: float = 1.0

    def __init__(self, options):
        self.speed = options.speed

    def schedule(self, view):
        if view.queue and not view.running:
            job = view.queue[0]
            seconds = view.twins.performance([job]).mean[0]
            joules = view.twins.energy([job], self.speed).mean[0]
            yield Start(job, f"{seconds} {joules}", speed=self.speed)

@hookimpl
def hpcsim_schedulers(register):
    register(Asks)
'''


@pytest.mark.parametrize("speed", [1.0, 0.7])
def test_what_is_foretold_comes_true(tmp_path, speed):
    (tmp_path / "asks.py").write_text(PLUGIN)
    run = hpcsim.simulate(
        "polaris",
        {
            "jobs": 60, "scheduler": {"name": "asks", "speed": speed}, "twins.performance": "runtime-oracle",
            "twins.energy": "energy-oracle", "physics.heat": False, "physics.failures": False,
            "physics.variation": False,
        },
        plugins=[tmp_path / "asks.py"],
    )  # fmt: skip
    assert run.manifest["oracles"] == ["energy", "performance"]
    assert run.manifest["twins"] == {"performance": "runtime-oracle", "energy": "energy-oracle"}
    for job in run.attempts.merge(run.jobs[["job_id", "runtime_s"]], on="job_id").itertuples():
        seconds, joules = map(float, job.why.split())
        ran = job.end_s - job.start_s
        assert seconds == ran if speed == 1 else seconds <= ran
        assert joules == pytest.approx(job.energy_j, rel=1 / ran)
