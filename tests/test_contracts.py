"""Every built-in scheduler and twin keeps the contract that third parties inherit."""

import inspect

import pytest

from hpcsim.plugin.loader import load_plugins
from hpcsim.schedulers.aims import Aims
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.schedulers.centres_cobalt import Cobalt
from hpcsim.schedulers.centres_pbs import PBS
from hpcsim.schedulers.centres_slurm import Slurm
from hpcsim.schedulers.flux import Flux
from hpcsim.schedulers.greendrl import GreenDRL
from hpcsim.schedulers.heft import CPOP, HEFT
from hpcsim.schedulers.nsga2 import NSGA2
from hpcsim.schedulers.recorded import Recorded
from hpcsim.schedulers.rlschert import RLSchert
from hpcsim.schedulers.tetris import Tetris
from hpcsim.testing import SchedulerContract, TwinContract
from hpcsim.testing.stand_ins import Energy, Fault, Thermal
from hpcsim.twins.base_rates import EnergyYesterday, FaultBaseRate
from hpcsim.twins.energy import EnergyLastTwo
from hpcsim.twins.energy_cnn_lstm import EnergyCNNLSTM
from hpcsim.twins.fault_lstm import FaultLSTM
from hpcsim.twins.oracles import EnergyOracle, FaultOracle, RuntimeOracle, ThermalOracle
from hpcsim.twins.performance import LastTwo, Walltime
from hpcsim.twins.performance_ensemble import RuntimeEnsemble
from hpcsim.twins.thermal import TemperatureNow, ThermalRC


class TestFCFS(SchedulerContract):
    scheduler = FCFS


class TestEASY(SchedulerContract):
    scheduler = EASY


class TestEASYByWFP3(SchedulerContract):
    scheduler = EASY
    options = {"order": "wfp3", "backfill_order": "sjf", "extra_nodes": False}
    expected_failures = {"no_job_starves": "wfp3 divides the wait by the walltime: under overload long jobs come last"}


class TestShortestFirst(SchedulerContract):
    scheduler = EASY
    options = {"order": "sjf"}
    expected_failures = {"no_job_starves": "the order is by length alone, as it is asked for"}


class TestConservative(SchedulerContract):
    scheduler = Conservative


class TestHybrid(SchedulerContract):
    scheduler = Hybrid


class TestHEFT(SchedulerContract):
    scheduler = HEFT


class TestCPOP(SchedulerContract):
    scheduler = CPOP


class TestCobalt(SchedulerContract):
    scheduler = Cobalt
    expected_failures = {"no_job_starves": "wfp divides the wait by the walltime: under overload long jobs come last"}


class TestPBS(SchedulerContract):
    scheduler = PBS


class TestSlurm(SchedulerContract):
    scheduler = Slurm


class TestFlux(SchedulerContract):
    scheduler = Flux


class TestNSGA2(SchedulerContract):
    scheduler = NSGA2


class TestGreenDRL(SchedulerContract):
    scheduler = GreenDRL
    options = {"slack": 1800}  # by default jobs may wait for longer than those of the checks come


class TestGreenDRLWithoutSlack(SchedulerContract):
    scheduler = GreenDRL
    options = {"slack": 0}


class TestTetris(SchedulerContract):
    scheduler = Tetris
    expected_failures = {"no_job_starves": "as published it reserves nothing: what fits goes first"}


class TestTetrisThatReserves(SchedulerContract):
    scheduler = Tetris
    options = {"reservation": "easy"}


class TestAims(SchedulerContract):
    scheduler = Aims
    options = {"patience": 3600}  # as the checks last three hours


class TestRLSchert(SchedulerContract):
    scheduler = RLSchert
    expected_failures = {"no_job_starves": "as published it reserves nothing; here it does for who has waited a day"}


class TestRecorded(SchedulerContract):
    scheduler = Recorded


class TestWalltime(TwinContract):
    twin = Walltime


class TestLastTwo(TwinContract):
    twin = LastTwo


class TestRuntimeEnsemble(TwinContract):
    twin = RuntimeEnsemble


class TestFaultLSTM(TwinContract):
    twin = FaultLSTM


class TestEnergyLastTwo(TwinContract):
    twin = EnergyLastTwo


class TestFaultBaseRate(TwinContract):
    twin = FaultBaseRate


class TestEnergyYesterday(TwinContract):
    twin = EnergyYesterday


class TestThermalOracle(TwinContract):
    twin = ThermalOracle


class TestEnergyCNNLSTM(TwinContract):
    twin = EnergyCNNLSTM


class TestTemperatureNow(TwinContract):
    twin = TemperatureNow


class TestThermalRC(TwinContract):
    twin = ThermalRC


class TestRuntimeOracle(TwinContract):
    twin = RuntimeOracle


class TestEnergyOracle(TwinContract):
    twin = EnergyOracle


class TestFaultOracle(TwinContract):
    twin = FaultOracle


class TestEnergyStandIn(TwinContract):
    twin = Energy


class TestFaultStandIn(TwinContract):
    twin = Fault


class TestThermalStandIn(TwinContract):
    twin = Thermal


@pytest.mark.parametrize("kind", ["scheduler", "twin"])
def test_every_built_in_one_stands_here(kind):
    found = load_plugins().offers[f"{kind}s"].values()
    built_in = {each for each in found if each.__module__.startswith("hpcsim.")}
    contracts = [each for name, each in globals().items() if name.startswith("Test") and inspect.isclass(each)]
    assert built_in
    assert built_in <= {getattr(contract, kind, None) for contract in contracts}
