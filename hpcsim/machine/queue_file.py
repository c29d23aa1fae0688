"""A centre's queue rules as it published them: which queue takes which jobs, and how many of whom at a time.

Rules change, so they stand in dated periods, each of which says what changed since the one before. They are data:
``rules/<name>.yaml`` has those of the packaged machines with their sources, and anybody can write others.

A file has ``periods``, in the order of time, and perhaps ``earlier_as_of``, the day whose rules hold before the
first period. A period has ``from`` (a day, from 00:00 UTC), ``queues``, ``close`` (queues that are no more) and
``default`` (queues that are tried in turn for a job that names none of them). A queue has these keys; where a later
period names it again, the keys given there replace the earlier ones:

``nodes``, ``walltime_min``
    [least, most] of a job: nodes, and minutes of walltime asked for.
``steps``
    {nodes: minutes}: the longest walltime of jobs with so many nodes or more.
``allocation``
    a job gets at least so many nodes.
``routes``
    the queue only sends its jobs on, to the first of these that takes them.
``running``, ``queued``, ``total``
    at most so many started jobs, waiting jobs, or both: {user, project, jobs, nodes, user_node_hours}, each counted
    in this queue. ``user`` and ``project`` are jobs of one user or project, ``jobs`` all jobs, ``nodes`` the nodes of
    all jobs, ``user_node_hours`` what one user's jobs ask for.
``pool``
    {exclusive, shared}: nodes that only this queue may use, and how many of the others all its running jobs may use
    besides.
``priority``
    production (default), debug, backfill or fifo; see ``PRIORITIES``.
``preemptable``, ``may_preempt``
    whether its running jobs may be stopped for others; which queues' jobs may be stopped for its own. Not both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from functools import partial
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from hpcsim.errors import InputError
from hpcsim.machine.queue_rules import PRIORITIES, Limits, Period, Pool, Queue, counted
from hpcsim.machine.shape import did_you_mean, dotted, shown
from hpcsim.strict_yaml import Place, Steps, YamlText, parse_mapping, read_mapping


@dataclass(frozen=True, slots=True)
class QueueRules:
    """The queue rules of a centre through time. ``earlier`` is the number of the period that holds before the first.

    ``places`` is where each queue of each period stands in the file.
    """

    name: str
    periods: tuple[Period, ...]
    earlier: int = 0
    places: Mapping[tuple[int, str], Place] = field(default_factory=dict)

    def __deepcopy__(self, memo: object) -> QueueRules:
        return self  # nothing in it can change

    @staticmethod
    def names() -> list[str]:
        """The names of the packaged rules, in alphabetical order."""
        folder = files("hpcsim.machine") / "rules"
        return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))

    @classmethod
    def named(cls, name: str) -> QueueRules:
        """The packaged rules ``name``, such as "polaris"."""
        if name not in cls.names():
            raise InputError(f"there are no queue rules named {name!r}.{did_you_mean(name, cls.names())}")
        text = (files("hpcsim.machine") / "rules" / f"{name}.yaml").read_text(encoding="utf-8")
        return _Reader(parse_mapping(text, f"{name}.yaml")).rules(name)

    @classmethod
    def read(cls, path: str | Path) -> QueueRules:
        """The rules in a file; ``InputError`` with a line for each thing that is wrong: ``file:line:column: ...``."""
        path = Path(path)
        return _Reader(read_mapping(path)).rules(path.stem)

    def at(self, utc: int) -> Period:
        """The period that holds at the Unix time ``utc``."""
        number = bisect_right(self.periods, utc, key=attrgetter("start_utc")) - 1
        return self.periods[number if number >= 0 else self.earlier]

    def around(self, utc: int) -> tuple[int | None, int | None]:
        """Since when and until when (Unix times) the rules of the time ``utc`` hold; None for without end."""
        number = bisect_right(self.periods, utc, key=attrgetter("start_utc"))
        starts = [None, *(period.start_utc for period in self.periods), None]
        return starts[number], starts[number + 1]

    def check_against(self, nodes: int) -> None:
        """``InputError`` if a machine of ``nodes`` nodes could serve no job of some queue, in any period."""
        wrong: list[tuple[Place, str]] = []
        for number, period in enumerate(self.periods):
            owned = sum(pool.exclusive for pool in period.pools.values())
            for queue in period.queues.values():
                least = max(queue.nodes[0], queue.allocation)
                if least > period.open_nodes(queue, nodes):
                    why = f" and {owned} of them are exclusive to queues" if owned and least <= nodes else ""
                    place = self.places.get((number, queue.name), Place(self.name))
                    text = f"{queue.name}: no node can serve it: its jobs have {counted(least, 'node')} at least, "
                    wrong.append((place, f"{text}the machine has {nodes}{why}"))
        _raise(wrong)


def _raise(wrong: list[tuple[Place, str]]) -> None:
    """An error of one line for each complaint, in the order of the file; nothing if there is none."""
    if wrong:
        raise InputError("\n".join(dict.fromkeys(f"{place}: {text}" for place, text in sorted(wrong))))


# -- reading a file -----------------------------------------------------------------------------------

_RULE_KEYS = ["periods", "earlier_as_of"]
_PERIOD_KEYS = ["from", "default", "queues", "close"]
_LIMIT_KEYS = [each.name for each in fields(Limits)]
_LONGEST_MIN = 366 * 24 * 60  # a year of walltime is a slip
_MOST: Final = 10**9  # of whatever is counted
_WRONG: Final = object()  # stands for a value that could not be read


class _Reader:
    """Makes rules of a YAML text and remembers everything that is wrong with it."""

    def __init__(self, text: YamlText) -> None:
        self.text = text
        self.wrong: list[tuple[Place, str]] = []
        self.queue_keys: dict[str, Callable[[Steps, Any], Any]] = {
            "nodes": partial(self.pair, least=1, most=_MOST),
            "walltime_min": self.walltimes,
            "steps": self.steps,
            "allocation": partial(self.whole, least=1),
            "routes": self.names,
            "running": self.limits,
            "queued": self.limits,
            "total": self.limits,
            "pool": self.pool,
            "priority": self.priority,
            "preemptable": self.yes_or_no,
            "may_preempt": self.names,
        }

    def rules(self, name: str) -> QueueRules:
        data = self.text.data
        self.known_keys((), data, _RULE_KEYS)
        parts = data.get("periods")
        if not isinstance(parts, list) or not parts:
            self.complain(("periods",), f"should be a list of periods, each with its 'from' (got {shown(parts)})")
            parts = []
        periods: list[Period] = []
        places: dict[tuple[int, str], Place] = {}
        facts: dict[str, dict[str, Any]] = {}
        stated: dict[str, Steps] = {}  # where a queue was named last
        default: tuple[str, ...] = ()
        for number, part in enumerate(parts):
            path: Steps = ("periods", number)
            if not isinstance(part, dict):
                self.complain(path, f"should be a mapping of keys and values (got {shown(part)})")
                continue
            self.known_keys(path, part, _PERIOD_KEYS)
            start_utc = self.day((*path, "from"), part.get("from"))
            if periods and start_utc <= periods[-1].start_utc:
                self.complain((*path, "from"), "should be later than the period before")
            self.closed((*path, "close"), part.get("close", []), facts)
            self.restated((*path, "queues"), part.get("queues", {}), facts, stated)
            if "default" in part:
                read = self.names((*path, "default"), part["default"])
                default = () if read is _WRONG else read
            elif not number:
                self.complain((*path, "default"), "missing: the queues for jobs that name none of them, in turn")
            default = self.all_known((*path, "default"), default, facts)
            self.consistent(facts, stated)
            # What is left out here is wrong, and all of it has been said.
            whole = {each: keys for each, keys in facts.items() if _WRONG not in keys.values()}
            queues = {
                each: Queue(each, **keys) for each, keys in whole.items() if {"nodes", "walltime_s"} <= keys.keys()
            }
            places |= {(number, each): self.place(stated[each]) for each in facts}
            periods.append(Period(start_utc, queues, default))
        earlier = 0
        if "earlier_as_of" in data:
            as_of = self.day(("earlier_as_of",), data["earlier_as_of"])
            earlier = max(0, bisect_right(periods, as_of, key=attrgetter("start_utc")) - 1)
        _raise(self.wrong)
        return QueueRules(name, tuple(periods), earlier, places)

    def closed(self, path: Steps, names: Any, facts: dict[str, dict[str, Any]]) -> None:
        """Forget the queues that are no more."""
        read = self.names(path, names) if names != [] else ()
        if read is not _WRONG:
            for name in self.all_known(path, read, facts):
                facts.pop(name, None)

    def restated(self, path: Steps, data: Any, facts: dict[str, dict[str, Any]], stated: dict[str, Steps]) -> None:
        """Take over what a period says of its queues."""
        if not isinstance(data, dict):
            self.complain(path, f"should be a mapping of queues (got {shown(data)})")
            return
        for name, keys in data.items():
            here = (*path, name)
            if not isinstance(name, str) or not name.strip():
                self.complain(here, f"the name of a queue should be text (got {shown(name)})", of_key=True)
                continue
            if not isinstance(keys, dict):
                self.complain(here, f"should be a mapping of keys and values (got {shown(keys)})")
                keys = {"nodes": _WRONG, "walltime_min": _WRONG}
            else:
                self.known_keys(here, keys, list(self.queue_keys))
            known = {key: value for key, value in keys.items() if key in self.queue_keys}
            read = {
                key: value if value is _WRONG else self.queue_keys[key]((*here, key), value)
                for key, value in known.items()
            }
            if "walltime_min" in read:
                read["walltime_s"] = read.pop("walltime_min")
            facts[name] = facts.get(name, {}) | read
            stated[name] = here

    def consistent(self, facts: Mapping[str, dict[str, Any]], stated: Mapping[str, Steps]) -> None:
        """Complain of what the queues of a period say against each other or themselves."""
        for name, keys in facts.items():
            path = stated[name]
            if missing := [
                key for key, fact in (("nodes", "nodes"), ("walltime_min", "walltime_s")) if fact not in keys
            ]:
                self.complain(path, f"missing: {' and '.join(missing)}", of_key=True)
            # A key that could not be read is as if it were not there.
            known = {key: value for key, value in keys.items() if value is not _WRONG}
            self.all_known((*path, "routes"), known.get("routes", ()), facts)
            self.all_known((*path, "may_preempt"), known.get("may_preempt", ()), facts)
            for victim in known.get("may_preempt", ()):
                if victim in facts and not facts[victim].get("preemptable"):
                    self.complain((*path, "may_preempt"), f"the jobs of {victim} are not preemptable")
            if known.get("preemptable") and "may_preempt" in known:
                self.complain((*path, "may_preempt"), "jobs that may be stopped for others cannot stop any")
            if "routes" in known:
                self.routing(name, known, facts, path)
            fewest, most = known.get("nodes", (1, _MOST))
            shortest = known.get("walltime_s", (0, 0))[0]
            for from_nodes, longest in known.get("steps", ()):
                if longest < shortest:
                    text = f"{longest // 60} min is below the least walltime, {shortest // 60} min"
                    self.complain((*path, "steps", from_nodes), text)
            least = max(fewest, known.get("allocation", 1))
            if least > most:
                self.complain((*path, "allocation"), f"{least} nodes is more than a job may have, {most}")
            bounds = [
                ((*path, key, "nodes"), known[key].nodes) for key in ("running", "queued", "total") if key in known
            ]
            if "pool" in known:
                bounds.append(((*path, "pool"), sum(known["pool"])))
            for where, bound in bounds:
                if bound is not None and bound < least:
                    self.complain(where, f"{bound} nodes is too little for any job, they have {least} at least")

    def routing(self, name: str, known: Mapping[str, Any], facts: Mapping[str, Any], path: Steps) -> None:
        """Complain of a route that ends where it begins, and of rules for jobs that a route does not keep."""
        if extra := sorted(known.keys() - {"nodes", "walltime_s", "routes"}):
            self.complain(path, f"only routes jobs on: {', '.join(extra)} should be said of the queues behind it")
        ahead, seen = list(known["routes"]), set()
        while ahead:
            target = ahead.pop()
            if target == name:
                self.complain((*path, "routes"), "leads back to itself")
                return
            if target not in seen:
                seen.add(target)
                further = facts.get(target, {}).get("routes", ())
                ahead += () if further is _WRONG else further

    # -- values: each returns what it read, or complains and returns _WRONG

    def whole(self, path: Steps, value: Any, least: int = 0, most: int = _MOST) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.complain(path, f"should be a whole number from {least} to {most} (got {shown(value)})")
        return _WRONG

    def pair(self, path: Steps, value: Any, least: int, most: int) -> Any:
        if not isinstance(value, list) or len(value) != 2:
            self.complain(path, f"should be [least, most] (got {shown(value)})")
            return _WRONG
        both = tuple(self.whole((*path, at), each, least, most) for at, each in enumerate(value))
        if _WRONG in both:
            return _WRONG
        if both[0] > both[1]:
            self.complain(path, f"the least is above the most (got {shown(value)})")
            return _WRONG
        return both

    def walltimes(self, path: Steps, value: Any) -> Any:
        both = self.pair(path, value, 0, _LONGEST_MIN)
        return _WRONG if both is _WRONG else (60 * both[0], 60 * both[1])

    def steps(self, path: Steps, value: Any) -> Any:
        if not isinstance(value, dict) or not value:
            self.complain(path, f"should be a mapping of nodes to minutes (got {shown(value)})")
            return _WRONG
        read = [
            (self.whole((*path, nodes), nodes, 1), self.whole((*path, nodes), minutes, 1, _LONGEST_MIN))
            for nodes, minutes in value.items()
        ]
        if any(_WRONG in step for step in read):
            return _WRONG
        if sorted(read) != read:
            self.complain(path, "the numbers of nodes should ascend")
            return _WRONG
        return tuple((nodes, 60 * minutes) for nodes, minutes in read)

    def limits(self, path: Steps, value: Any) -> Any:
        return self.counts(path, value, _LIMIT_KEYS, Limits, least=1)

    def pool(self, path: Steps, value: Any) -> Any:
        read = self.counts(path, value, list(Pool._fields), dict, least=0)
        if read is _WRONG or len(read) < len(Pool._fields):
            if read is not _WRONG:
                self.complain(path, f"should say both, exclusive and shared (got {shown(value)})")
            return _WRONG
        return Pool(**read)

    def counts(self, path: Steps, value: Any, keys: list[str], kind: type, least: int) -> Any:
        if not isinstance(value, dict):
            self.complain(path, f"should be a mapping of {', '.join(keys)} (got {shown(value)})")
            return _WRONG
        self.known_keys(path, value, keys)
        read = {key: self.whole((*path, key), count, least) for key, count in value.items() if key in keys}
        return _WRONG if _WRONG in read.values() else kind(**read)

    def priority(self, path: Steps, value: Any) -> Any:
        if value in PRIORITIES:
            return value
        self.complain(path, f"no such class.{did_you_mean(value, PRIORITIES)} (got {shown(value)})")
        return _WRONG

    def yes_or_no(self, path: Steps, value: Any) -> Any:
        if isinstance(value, bool):
            return value
        self.complain(path, f"should be true or false (got {shown(value)})")
        return _WRONG

    def names(self, path: Steps, value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            return tuple(value)
        self.complain(path, f"should be a list of queues (got {shown(value)})")
        return _WRONG

    def day(self, path: Steps, value: Any) -> int:
        """The Unix time of 00:00 UTC of a day written YYYY-MM-DD; 0 after complaining."""
        try:
            if isinstance(value, str) and len(value) == len("YYYY-MM-DD"):
                day = date.fromisoformat(value)
                return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        except ValueError:
            pass
        self.complain(path, f"should be a day of the calendar, such as 2023-05-01 (got {shown(value)})")
        return 0

    # -- complaints

    def known_keys(self, path: Steps, data: Mapping[Any, Any], known: list[str]) -> None:
        for key in data:
            if key not in known:
                self.complain((*path, key), f"no such key.{did_you_mean(key, known)}", of_key=True)

    def all_known(self, path: Steps, names: Iterable[str], facts: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of ``names`` that are queues of this period, after complaining of the others."""
        for name in names:
            if name not in facts:
                self.complain(path, f"there is no queue {name!r} in this period.{did_you_mean(name, list(facts))}")
        return tuple(name for name in names if name in facts)

    def complain(self, path: Steps, text: str, *, of_key: bool = False) -> None:
        self.wrong.append((self.place(path, of_key=of_key), f"{dotted(path)}: {text}"))

    def place(self, path: Steps, *, of_key: bool = False) -> Place:
        """The place of what stands at ``path``, or of the nearest thing around it."""
        if of_key and path in self.text.key_places:
            return self.text.key_places[path]
        while path and path not in self.text.value_places:
            path = path[:-1]
        return self.text.value_places[path]
