"""The built-in digital twins, written exactly as a third party would write theirs."""

from hpcsim.plugin import Register, Twin, hookimpl

from .energy import EnergyLastTwo
from .energy_cnn_lstm import EnergyCNNLSTM
from .oracles import EnergyOracle, RuntimeOracle
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
        RuntimeOracle,
        EnergyLastTwo,
        EnergyCNNLSTM,
        EnergyOracle,
        TemperatureNow,
        ThermalRC,
    ):
        register(twin)
