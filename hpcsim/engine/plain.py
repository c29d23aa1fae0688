"""Objects of a simulation as plain data, and back: what can be written to a file that nobody has to trust.

Data are what JSON knows; arrays are put into one column for each kind of number, and the data say which part of it they
are. Only objects of ``CLASSES`` come back as objects, and those of classes of a plug-in's own package, which is loaded
already; they do without any of their methods being called: nothing in a file can make a program run.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from hpcsim.engine.agenda import Agenda
from hpcsim.engine.attempts import Attempts
from hpcsim.engine.availability import Profile, Releases
from hpcsim.engine.by_queue import ProfileByQueue
from hpcsim.engine.centre import Centre
from hpcsim.engine.closed_loop import ClosedLoop
from hpcsim.engine.decided import Decided
from hpcsim.engine.dependencies import Dependencies
from hpcsim.engine.ledger import Ledger
from hpcsim.engine.plant import Plant
from hpcsim.engine.sharing import Sharing
from hpcsim.engine.site import Site
from hpcsim.engine.sleeping import Idle, Sleeping
from hpcsim.engine.twins import Ended, Prediction
from hpcsim.engine.view import Running
from hpcsim.engine.waiting import Waiting
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.course import Course
from hpcsim.machine.crossings import Crossings
from hpcsim.machine.execution import Execution
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import Candidate, Failed, FailureProcess, Repeat
from hpcsim.machine.heat import Heat
from hpcsim.machine.history import History
from hpcsim.machine.lanes import Entry, Lane, Tally
from hpcsim.machine.meter import Meter
from hpcsim.machine.places import Held, Places
from hpcsim.machine.pools import NodePools, Returns, Share
from hpcsim.machine.power_log import PowerLog
from hpcsim.machine.queue_rules import Pool, Queue
from hpcsim.machine.queues import Admission, Turn
from hpcsim.machine.readings import Readings
from hpcsim.machine.recorded import RecordedPlaces
from hpcsim.machine.series import StepSeries
from hpcsim.machine.service import Due, Interrupt, Outage, Service
from hpcsim.machine.shares import Part, SharedUnit, Shares
from hpcsim.machine.spec import MachineSpec
from hpcsim.machine.telemetry import Telemetry, Watch, WatchedHeat
from hpcsim.machine.temperatures import Temperatures
from hpcsim.machine.torus import TorusBlocks
from hpcsim.workload.job import Job, Workload

KEPT: Final[dict[type, frozenset[str]]] = {
    kind: frozenset(names.split())
    for kind, names in {
        Site: "_simulation telemetry requeues checkpointing _limit_s _longest_s _work_s _elapsed_s _outcome _wakes_on",
        Cluster: "spec _supply_c _unit_nodes _dynamic_w_J _gpu_w_J _beta_J _felt_J _class_U _limit_stretches _idle_w "
        "_gpu_idle_w _scored",
        Meter: "_state_w",
        Service: "_spec",
        Places: "spec policy _all_U _rack_units _group_racks _block_units _sizes",
        TorusBlocks: "table",
        Heat: "spec _racks _units r_U gpu_r_U _idle_w _idle_gpu_w sensed",
        Temperatures: "racks _mode_n",
        Course: "_every_s",
        ClosedLoop: "_thinking _next jobs",
        Telemetry: "_interval_s _cluster _behaviour take _units _room _batch _filled",
        Watch: "_cluster _resting_w _seen_s _seen",
        PowerLog: "n _most _joined _by_block",
        Crossings: "_n _idle_w thresholds_c _w_per_inlet_k",
        FailureProcess: "_spec _units _units_per_rack _block_sizes _block_cdf _proneness_U _errors_per_s_U "
        "_heat_per_first _heat_warned _weibull_scale_s _heat_gap_s",
        Facility: "spec carbon price solar _t0_utc",
        RecordedPlaces: "_table _block_J",
        Agenda: "_simulation env _next_pass",
        Centre: "_simulation queues stops special",
        Admission: "rules t0_utc nodes over_limit _answers period",
        Lane: "name held refused alone open_nodes",
        Tally: "",
        NodePools: "_unit_nodes _queues",
        Shares: "whole core_share_J gpu_share_J largest_J",
        SharedUnit: "",
        Sharing: "",
        Execution: "",
        Ledger: "",
        Sleeping: "",
        StepSeries: "",
        Idle: "",
        Plant: "",
        Dependencies: "",
        Releases: "",
        Profile: "",
        ProfileByQueue: "",
    }.items()
}
"""The classes whose objects have a state, and what of them never changes or follows from the rest."""

FOLLOWS: Final = frozenset(
    ["_most", "_joined", "_by_block", "_sizes", "telemetry", "sensed", "_seen_s", "_seen", "stops", "special", "held",
     "refused", "alone", "open_nodes", "period"]
)  # fmt: skip
"""What of these follows from the rest, and may differ in simulations that are made alike."""

_ROWS: Final = (Attempts, Decided, History)
_TUPLES: Final = (
    Running, Interrupt, Outage, Due, Candidate, Failed, Repeat, Held, Returns, Share, Pool, Turn, Part, Readings, Ended,
    Prediction,
)  # fmt: skip
CLASSES: Final[dict[str, type]] = {kind.__name__: kind for kind in (*KEPT, *_ROWS, *_TUPLES, Entry, Waiting)}
_SEQUENCES: Final[dict[str, Any]] = {kind.__name__: kind for kind in (list, tuple, deque, set, frozenset)}
_MAPPINGS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (dict, Counter)}
_OCTETS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (bytes, bytearray)}
_ARRAYS: Final = {"q": np.int64, "d": np.float64, "b": np.int8, "H": np.uint16}
_JOBS_MADE_AT_ONCE: Final = 4096


class Packer:
    """Makes plain data of objects. ``columns`` are the numbers of all arrays, by their kind.

    ``rules`` says of each queue of a period, by its id, the number of the period and its name. ``machine`` is what
    plug-ins are shown as such. ``foreign`` is the plug-in whose state is packed, if it is one: objects of its package
    are let in.
    """

    def __init__(self, rules: dict[int, list[Any]], machine: MachineSpec | None) -> None:
        self._rules = rules
        self._machine = machine
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # whose ids are in use
        self._parts: dict[str, list[Any]] = {}
        self._sizes: dict[str, int] = {}
        self._places: dict[int, dict[str, Any]] = {}
        self.foreign: object = None

    @property
    def columns(self) -> dict[str, Any]:
        return {kind: np.concatenate(parts) for kind, parts in self._parts.items()}

    def number(self, value: object) -> int:
        """The number by which an object is known that is there already."""
        self._alive.append(value)
        return self._numbers.setdefault(id(value), len(self._numbers))

    def pack(self, value: Any) -> Any:
        """Plain data of a value. TypeError for what is none of the known kinds."""
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is Job:
            return {"job": [value.id, value.queue, value.submit]}
        if kind is Queue:
            return {"rule": self._rules[id(value)]}
        if value is self._machine:
            return {"machine": None}
        if id(value) in self._numbers:
            return {"#": self._numbers[id(value)]}
        if kind in (list, tuple, deque, set, frozenset):
            return {kind.__name__: self._several(value)}
        if kind in (dict, Counter):
            return {kind.__name__: [[self.pack(key), self.pack(each)] for key, each in value.items()]}
        if kind in (bytes, bytearray):
            return {kind.__name__: self._column(np.frombuffer(value, np.uint8))}
        if kind is array:
            return {"array": self._column(np.frombuffer(value, _ARRAYS[value.typecode])), "code": value.typecode}
        if kind is np.ndarray and value.dtype.kind in "biuf":
            return {"ndarray": self._column(value)}
        if isinstance(value, np.number | np.bool_):
            return {"number": self._column(np.array([value]))}
        if isinstance(value, np.random.Generator):
            return {"rng": self.pack(value.bit_generator.state)}
        name = kind.__name__
        if kind in _TUPLES:
            return {"named": name, "values": [self.pack(each) for each in value]}
        if issubclass(kind, tuple) and self._is_own(kind):
            return {"named": [kind.__module__, kind.__qualname__], "values": [self.pack(each) for each in value]}
        if kind is Entry:
            return {"entry": [self.pack(value.job), self.pack(value.rules)]}
        number = self.number(value)
        if kind is Waiting:
            return {"object": name, "#": number, "jobs": self.pack(list(value.jobs))}
        if kind in _ROWS:
            return {"object": name, "#": number, "rows": self.pack(value.as_columns())}
        kept = KEPT.get(Heat if kind is WatchedHeat else kind)
        if kept is None:
            if self._is_own(kind):
                return self._own(value, number, is_made_anew=False)
            raise TypeError(f"a {kind.__module__}.{kind.__qualname__}")
        state = {name: self.pack(each) for name, each in attributes(value) if name not in kept}
        return {"object": "Heat" if kind is WatchedHeat else name, "#": number, "state": state}

    def pack_part(self, value: Any) -> Any:
        """Plain data of what a plug-in, or a part of it, keeps under a name, as does one that is made anew."""
        if self._is_own(type(value)) and not isinstance(value, tuple) and id(value) not in self._numbers:
            return self._own(value, self.number(value), is_made_anew=True)
        return self.pack(value)

    def _own(self, value: Any, number: int, *, is_made_anew: bool) -> Any:
        """An object of the plug-in's package; what never changes of one that will be there is left out."""
        kind = type(value)
        state = {name: each for name, each in attributes(value) if not is_constant(each)}
        if not is_made_anew and len(state) < sum(1 for _ in attributes(value)):
            raise TypeError(f"a {kind.__module__}.{kind.__qualname__}, with options or functions,")
        packed = {name: self.pack_part(each) for name, each in state.items()}
        return {"own": [kind.__module__, kind.__qualname__], "#": number, "state": packed}

    def _is_own(self, kind: type) -> bool:
        """Whether a class is of the package of the plug-in."""
        return self.foreign is not None and is_of_package(kind.__module__, self.foreign)

    def _several(self, values: Any) -> Any:
        """The items of a list; of many that are alike as columns."""
        if len(values) > 8 and type(values) is list:
            if all(type(each) is np.ndarray and each.dtype == np.int64 and each.ndim == 1 for each in values):
                sizes = np.array([each.size for each in values], np.int64)
                return {"ragged": self._column(np.concatenate(values)), "sizes": self._column(sizes)}
            if all(type(each) is str for each in values):
                codes = {text: code for code, text in enumerate(dict.fromkeys(values))}
                numbers = np.fromiter(map(codes.__getitem__, values), np.int64, len(values))
                return {"texts": list(codes), "codes": self._column(numbers)}
        return [self.pack(each) for each in values]

    def _column(self, values: Any) -> list[Any]:
        """Where an array lies: its kind, its first place in the column of that, and its shape."""
        kind, shape = values.dtype.str, list(values.shape)
        at = self._sizes.get(kind, 0)
        self._parts.setdefault(kind, []).append(np.ascontiguousarray(values).reshape(-1))
        self._sizes[kind] = at + values.size
        return [kind, at, shape]


class Unpacker:
    """Makes objects of plain data, or fills those that are there already. ValueError, KeyError... for what is wrong."""

    def __init__(
        self, columns: dict[str, Any], workload: Workload, rule: Callable[[int, str], Queue],
        machine: MachineSpec | None,
    ) -> None:  # fmt: skip
        self._columns = columns
        self._workload = workload
        self._rule = rule
        self._machine = machine
        self._objects: dict[int, Any] = {}
        self._jobs: dict[int, list[Job]] = {}
        self.foreign: object = None

    def know(self, number: int, value: object) -> None:
        """The object of a number is there."""
        self._objects[number] = value

    def unpack(self, data: Any, there: Any = None) -> Any:
        """The value of plain data; ``there`` stands in its place: an object to be filled, if it is of its class."""
        if not isinstance(data, dict):
            return data
        if "object" in data:
            return self._object(data, there)
        if "own" in data:
            return self._own(data, there)
        if "#" in data:
            return self._objects[data["#"]]
        if "job" in data:
            return self._job(*data["job"])
        if "rule" in data:
            return self._rule(*data["rule"])
        if "machine" in data:
            return self._machine
        if "entry" in data:
            job, rules = data["entry"]
            return Entry(self.unpack(job), self.unpack(rules))
        if "named" in data:
            values = [self.unpack(each) for each in data["values"]]
            return self._tuple_class(data["named"])(*values)
        for name, make in _SEQUENCES.items():
            if name in data:
                return make(self._several(data[name]))
        for name, make in _MAPPINGS.items():
            if name in data:
                keys = [self.unpack(key) for key, _ in data[name]]
                old = there if isinstance(there, dict) else {}
                pairs = zip(keys, data[name], strict=True)
                return make({key: self.unpack(each, old.get(key)) for key, (_, each) in pairs})
        if "array" in data:
            return array(data["code"], self._column(data["array"]).tobytes())
        if "rng" in data:
            return self._generator(self.unpack(data["rng"]))
        if "number" in data:
            return self._column(data["number"])[0]
        for name, make in _OCTETS.items():
            if name in data:
                return make(self._column(data[name]).tobytes())
        return self._column(data["ndarray"])

    def _object(self, data: dict[str, Any], there: Any) -> Any:
        kind: Any = CLASSES[data["object"]]
        is_there = isinstance(there, kind) and (bool(KEPT.get(kind)) or kind in _ROWS)
        value = there if is_there else kind.__new__(kind)
        self._objects[data["#"]] = value
        if kind is Waiting:
            value.__init__()
            for job in self.unpack(data["jobs"]):
                value.add(job)
        elif kind in _ROWS:
            value.fill(self.unpack(data["rows"]))
        else:
            known = dict(attributes(value))
            for name, each in data["state"].items():
                setattr(value, name, self.unpack(each, known.get(name)))
            if kind is PowerLog:
                value.forget_answers()
        return value

    def _own(self, data: dict[str, Any], there: Any) -> Any:
        kind = self._own_class(data["own"])
        value = there if type(there) is kind else kind.__new__(kind)
        self._objects[data["#"]] = value
        known = dict(attributes(value))
        for name, each in data["state"].items():
            setattr(value, name, self.unpack(each, known.get(name)))
        return value

    def _own_class(self, name: list[str]) -> Any:
        """A class of the plug-in's package, by its module, which is loaded, and its name."""
        module, qualname = name
        if not is_of_package(module, self.foreign):
            raise ValueError(f"{module} is not of the package of {type(self.foreign).__module__}")
        kind: Any = sys.modules[module]
        for part in qualname.split("."):
            kind = vars(kind)[part]
        if not (isinstance(kind, type) and kind.__module__ == module):
            raise ValueError(f"{qualname} is no class of {module}")
        return kind

    def _tuple_class(self, name: Any) -> Any:
        kind = CLASSES.get(name) if isinstance(name, str) else self._own_class(name)
        if kind not in _TUPLES and not (kind and issubclass(kind, tuple) and hasattr(kind, "_fields")):
            raise ValueError(f"{name} is no named tuple")
        return kind

    def _several(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.unpack(each) for each in data]
        if "texts" in data:
            return [data["texts"][code] for code in self._column(data["codes"]).tolist()]
        return np.split(self._column(data["ragged"]), np.cumsum(self._column(data["sizes"]))[:-1])

    def _column(self, place: list[Any]) -> Any:
        kind, at, shape = place
        return self._columns[kind][at : at + int(np.prod(shape))].reshape(shape).copy()

    def _job(self, job_id: int, queue: str, submit: int) -> Job:
        first = job_id - job_id % _JOBS_MADE_AT_ONCE
        jobs = self._jobs.get(first)
        if jobs is None:
            stop = min(first + _JOBS_MADE_AT_ONCE, len(self._workload))
            jobs = self._jobs[first] = list(self._workload.jobs(first, stop))
        job = jobs[job_id - first]
        same = job.queue == queue and job.submit == submit
        return job if same else job._replace(queue=queue, submit=submit)

    @staticmethod
    def _generator(state: dict[str, Any]) -> np.random.Generator:
        kind = {"PCG64": np.random.PCG64, "PCG64DXSM": np.random.PCG64DXSM, "Philox": np.random.Philox,
                "MT19937": np.random.MT19937, "SFC64": np.random.SFC64}[state["bit_generator"]]  # fmt: skip
        bits = kind(0)
        bits.state = state
        return np.random.Generator(bits)


def is_constant(value: object) -> bool:
    """Whether a plug-in that is made anew has the same: its options, functions and classes, and tuples of these."""
    if isinstance(value, tuple) and value:
        return all(map(is_constant, value))
    return callable(value) or hasattr(type(value), "model_fields")


def is_of_package(module: str, plugin: object) -> bool:
    """Whether a module is that of the plug-in, or of the package in which that lies."""
    own = type(plugin).__module__
    package = own.rpartition(".")[0] or own
    return module == package or module.startswith(f"{package}.")


def attributes(value: object) -> Iterator[tuple[str, Any]]:
    """The attributes of an object, those in slots too."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield name, getattr(value, name)
