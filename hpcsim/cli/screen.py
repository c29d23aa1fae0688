"""A frame of a run on the terminal: what is busy and waiting, watts and degrees over time, and what happened last.

It fits into 80 x 24 and has taller curves and longer lists where there is room. Every line is composed here to the
width that there is, so that nothing is folded or cut but texts of users and plug-ins, which end in "…".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final, NamedTuple

from rich.console import Group
from rich.text import Text

from hpcsim.results.frames import Event, Frame

_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
_LABEL: Final = 9  # columns of the names of curves
_VALUE: Final = 31  # of the figures beside them
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_SIDE_BY_SIDE: Final = 120  # columns, from which on the two lists lie beside each other
_MOST_FRAMES: Final = 2_000


class Pace(NamedTuple):
    """How fast it goes, in words, and the seconds on the wall that are left, if that is known."""

    rate: str
    left_s: float | None


class Past:
    """What was seen on earlier frames, for the curves; of many every second one is forgotten."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def add(self, frame: Frame) -> None:
        """Remember a frame."""
        if len(self.frames) == _MOST_FRAMES:
            del self.frames[::2]
        self.frames.append(frame)

    def curve(self, value: Callable[[Frame], float | None], columns: int) -> list[float | None]:
        """The last value in each of so many columns of the time of the run; what was not seen stays as it was."""
        last = self.frames[-1]
        span_s = max(1, last.end_s - last.start_s)
        found: list[float | None] = [None] * columns
        for frame in self.frames:
            found[min(columns - 1, columns * max(0, frame.now_s - last.start_s) // span_s)] = value(frame)
        now = min(columns - 1, columns * max(0, last.now_s - last.start_s) // span_s)
        for column in range(1, now + 1):
            if found[column] is None:
                found[column] = found[column - 1]
        return found


class _Curve(NamedTuple):
    """A row of the picture: its name, its colour, its figure in words, and the scale (None: what was seen)."""

    name: str
    colour: str
    value: Callable[[Frame], float | None]
    said: str
    low: float | None
    high: float | None


def picture(frame: Frame, pace: Pace, past: Past, width: int, height: int) -> Group:
    """All lines of a frame, at most ``height`` of at most ``width`` columns; ``past`` has the frame already."""
    curves = _curves(frame)
    side_by_side = width >= _SIDE_BY_SIDE
    lines = [_title(frame, width), _progress(frame, pace, width), _nodes(frame, width)]
    fixed = len(lines) + 1 + 2  # with the time axis, and an empty line above and below
    least = 6 if side_by_side else 10  # of the lists with their titles
    tall = max(1, min(8, (height - fixed - least) // len(curves)))
    lines.append(Text())
    for curve in curves:
        lines += _drawn(curve, past, width, tall)
    lines += [_axis(frame, width), Text()]
    lines += _lists(frame, width, height - len(lines), side_by_side=side_by_side)
    for line in lines:  # a terminal that is too small shows the beginning of each
        line.no_wrap, line.overflow = True, "crop"
    return Group(*lines[:height])


def plain(frame: Frame, pace: Pace) -> str:
    """A frame as a line of text, for output that is no terminal."""
    said = [
        f"{_date(frame, frame.now_s)}: {frame.ended:,} of {frame.jobs:,} jobs ended",
        f"{frame.running:,} running",
        f"{frame.waiting:,} waiting",
        f"{frame.busy_nodes:,} of {frame.nodes:,} nodes busy",
    ]
    if frame.facility_w is not None:
        said.append(_power(frame))
    if pace.rate:
        said.append(pace.rate)
    return ", ".join(said)


# -- lines --------------------------------------------------------------------------------------


def _title(frame: Frame, width: int) -> Text:
    date = _date(frame, frame.now_s)
    return Text.assemble((_cut(frame.title, max(1, width - len(date) - 2), pad=True), "bold"), "  ", date)


def _progress(frame: Frame, pace: Pace, width: int) -> Text:
    left = "" if pace.left_s is None else f", {clock(pace.left_s)} left"
    said = f"{frame.ended:,} of {frame.jobs:,} jobs ended"
    rate = f"{pace.rate}{left}"
    columns = max(4, width - len(said) - len(rate) - 4)
    bar = _bar([(frame.ended, _GREEN)], frame.jobs, columns)
    return Text.assemble(*bar, "  ", said, "  ", rate)


def _nodes(frame: Frame, width: int) -> Text:
    """A bar of all nodes: busy, out of service, asleep."""
    parts = [(frame.busy_nodes, _BLUE, "busy")]
    if frame.down_nodes is not None and frame.asleep_nodes is not None:
        parts += [(frame.down_nodes, _RED, "down"), (frame.asleep_nodes, _PURPLE, "asleep")]
    idle = max(0, frame.nodes - sum(count for count, _, _ in parts))
    said: list[tuple[str, str] | str] = [f"of {frame.nodes:,} nodes"]
    for count, colour, name in (*parts, (idle, "", "idle")):
        said += [", " if len(said) > 1 else ": ", (f"{name} {count:,}", colour)]
    text = Text.assemble(*said)
    bar = _bar([(count, colour) for count, colour, _ in parts], frame.nodes, max(4, width - text.cell_len - 2))
    return Text.assemble(*bar, "  ", text)


def _bar(parts: Sequence[tuple[int, str]], total: int, columns: int) -> list[tuple[str, str]]:
    """Parts of a whole, one after the other, as a bar; what is more than nothing is seen."""
    drawn: list[tuple[str, str]] = []
    free = columns
    for count, colour in parts:
        share = min(free, max(count > 0, round(columns * count / total))) if total else 0
        drawn.append(("█" * share, colour))
        free -= share
    return [*drawn, ("░" * free, "dim")]


def _curves(frame: Frame) -> list[_Curve]:
    share = 100 * frame.busy_nodes / frame.nodes if frame.nodes else 0.0
    curves = [
        _Curve("busy", _BLUE, lambda f: f.busy_nodes, f"{share:.1f} % of the nodes", 0, frame.nodes),
        _Curve("waiting", _ORANGE, lambda f: f.waiting, f"{frame.waiting:,} jobs", 0, None),
        _Curve("running", _GREEN, lambda f: f.running, f"{frame.running:,} jobs", 0, None),
    ]
    if frame.facility_w is not None:
        cap_w = None if frame.cap_w == inf else frame.cap_w
        curves.append(_Curve("power", _PURPLE, lambda f: f.facility_w, _power(frame), 0, cap_w))
    if frame.hottest_c is not None and frame.mean_c is not None:
        said = f"{frame.hottest_c:.1f} °C, mean {frame.mean_c:.1f} °C"
        curves.append(_Curve("hottest", _RED, lambda f: f.hottest_c, said, None, None))
    return curves


def _power(frame: Frame) -> str:
    watts = frame.facility_w or 0.0
    unit, scale = ("MW", 1e-6) if watts >= 1e7 else ("kW", 1e-3)
    form = ",.2f" if unit == "MW" else ",.0f"
    said = f"{watts * scale:{form}} {unit}"
    if frame.cap_w is None:
        return said
    return f"{said}, no cap" if frame.cap_w == inf else f"{said}, cap {frame.cap_w * scale:{form}}"


def _drawn(curve: _Curve, past: Past, width: int, tall: int) -> Iterator[Text]:
    columns = max(1, width - _LABEL - _VALUE - 2)
    values = past.curve(curve.value, columns)
    seen = [value for value in values if value is not None]
    low = min(seen) if curve.low is None else curve.low
    high = max([*seen, curve.high or low])
    more = _beside(curve, past.frames[-1], high)
    levels = [None if v is None else (v - low) / (high - low) if high > low else float(v > 0) for v in values]
    for row in range(tall):
        floor = tall - 1 - row
        cells = "".join(" " if level is None else _block(level * tall - floor, floor) for level in levels)
        label = curve.name if row == 0 else ""
        said = curve.said if row == 0 else more[row - 1] if row <= len(more) else ""
        yield Text.assemble((f"{label:<{_LABEL}}", "bold"), (cells, curve.colour), "  ", f"{said:<{_VALUE}}")


def _block(filled: float, floor: int) -> str:
    """A cell that is filled so far from below; at the bottom what is there is always seen."""
    eighths = max(0, min(8, round(8 * filled)))
    return _BLOCKS[max(1, eighths) if floor == 0 else eighths]


def _beside(curve: _Curve, frame: Frame, high: float) -> list[str]:
    """More lines beside a curve that has several: the top of its scale, and what belongs to it."""
    if curve.name == "power":
        return [f"IT {(frame.it_w or 0.0) / 1000:,.0f} kW", f"curve up to {high / 1000:,.0f} kW"]
    if curve.name == "hottest":
        hot = [] if frame.throttled_nodes is None else [f"{frame.throttled_nodes:,} nodes throttled"]
        return [*hot, f"curve up to {high:.1f} °C"]
    return [f"curve up to {high:,.0f} {'nodes' if curve.name == 'busy' else 'jobs'}"]


def _axis(frame: Frame, width: int) -> Text:
    """From when to when the curves are."""
    columns = max(1, width - _LABEL - _VALUE - 2)
    first, last = (_date(frame, second)[4:20] for second in (frame.start_s, frame.end_s))
    gap = columns - len(first) - len(last)
    return Text(f"{'':<{_LABEL}}{first}{' ' * gap + last if gap > 1 else ''}", style="dim")


def _lists(frame: Frame, width: int, height: int, *, side_by_side: bool) -> list[Text]:
    """What happened last to the machine and to jobs, the latest first."""
    events = list(reversed(frame.machine_events)), list(reversed(frame.job_events))
    if side_by_side:
        half = (width - 3) // 2
        left = _listed("machine", frame, events[0], half, height)
        right = _listed("jobs", frame, events[1], width - 3 - half, height)
        rows = max(len(left), len(right))
        blank = Text(" " * half)
        left += [blank] * (rows - len(left))
        right += [Text()] * (rows - len(right))
        return [Text.assemble(a, "   ", b) for a, b in zip(left, right, strict=True)]
    few = max(2, min(len(events[0]) + 1, height // 2 - 1))
    above = _listed("machine", frame, events[0], width, few)
    return above + _listed("jobs", frame, events[1], width, height - len(above))


def _listed(title: str, frame: Frame, events: Sequence[Event], width: int, height: int) -> list[Text]:
    lines = [Text(f"{title:<{width}}", style="bold")]
    for event in events[: max(0, height - 1)]:
        date = _date(frame, event.time_s)[4:20]
        lines.append(
            Text.assemble("  ", (date, "dim"), "  ", _cut(event.text, max(1, width - len(date) - 4), pad=True))
        )
    if not events and height > 1:
        lines.append(Text(f"{'  nothing yet':<{width}}", style="dim"))
    return lines


# -- words --------------------------------------------------------------------------------------


def _date(frame: Frame, second: int) -> str:
    """``Mon 2024-01-01 06:00:00 UTC``."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(frame.t0_utc + second))


def clock(seconds: float) -> str:
    """A span on the wall: ``4 s``, ``1:05``, ``2:00:00``."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cut(text: str, columns: int, *, pad: bool = False) -> str:
    """A text of somebody else's on one line, without control characters, with an end in "…" if it is too long."""
    line = Text("".join(each if each.isprintable() else "?" for each in text))
    line.truncate(columns, overflow="ellipsis", pad=pad)
    return line.plain
