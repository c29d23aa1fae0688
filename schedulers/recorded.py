"""The record itself as a scheduler: recorded."""

from __future__ import annotations

from collections.abc import Iterator

from hpcsim.plugin import Decision, Hold, Start, View


class Recorded:
    """Start every job when the trace says that it was started, so that a run can be laid beside what really happened.

    With ``physics.placement: recorded`` it starts where it was as well. A job whose nodes or place are not free in
    that second starts as soon as they are: records overlap by seconds now and then, and on a machine that fails,
    throttles or has slow nodes history takes another course. A job of which the trace says no start starts as soon as
    it fits. Those whose second came first go first.

    It knows what no scheduler can know (it needs clairvoyance), and is none to compare others with.
    """

    name = "recorded"
    api = 1
    needs = frozenset({"clairvoyance"})

    def schedule(self, view: View) -> Iterator[Decision]:
        now, room = view.now, view.room()
        due = []
        coming = None
        for job in view.queue:
            recorded = view.recorded_start(job)
            second = job.submit if recorded is None else recorded - view.launch_latency
            if second <= now:
                due.append((second, job.id, job))
            elif coming is None or second < coming:
                coming = second
        for second, _, job in sorted(due):
            if not view.recorded_place_is_taken(job, room) and room.take(job):
                yield Start(job, "as recorded" if second == now else f"its second was {second}")
        if coming is not None:
            yield Hold(coming, "for the next recorded start")
