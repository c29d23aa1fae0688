"""The built-in digital twins, written exactly as a third party would write theirs."""

from hpcsim.plugin import Register, Twin, hookimpl

from .base_rates import EnergyYesterday, FaultBaseRate
from .energy import EnergyLastTwo
from .energy_cnn_lstm import EnergyCNNLSTM
from .fault_lstm import FaultLSTM
from .oracles import EnergyOracle, FaultOracle, RuntimeOracle, ThermalOracle
from .performance import LastTwo, Walltime
from .performance_ensemble import RuntimeEnsemble
from .thermal import TemperatureNow, ThermalRC


@hookimpl
def hpcsim_twins(register: Register[Twin]) -> None:
    """Register every built-in twin."""
    for twin in (
        Walltime,
        LastTwo,
        RuntimeEnsemble,
        FaultLSTM,
        FaultBaseRate,
        RuntimeOracle,
        EnergyLastTwo,
        EnergyYesterday,
        EnergyCNNLSTM,
        EnergyOracle,
        FaultOracle,
        TemperatureNow,
        ThermalRC,
        ThermalOracle,
    ):
        register(twin)
