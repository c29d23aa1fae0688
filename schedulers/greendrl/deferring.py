"""Which jobs may be put off, and until when: no trace says so, so it is drawn by the name of the job."""

from __future__ import annotations

from zlib import crc32

from hpcsim.plugin import Job


class Deferring:
    """Draws a ``share`` of all jobs as deferrable: they may start up to ``slack_s`` seconds after they were submitted.

    With ``kappa`` no job is put off by more than so many times its walltime. The draw hangs on ``seed`` and the name of
    the job alone, so the same jobs are deferrable under every scheduler, machine and load.
    """

    def __init__(self, share: float, slack_s: int, kappa: float | None, seed: int) -> None:
        self._share, self._slack_s, self._kappa, self._seed = share, slack_s, kappa, seed
        self._latest_s: dict[int, int] = {}

    def latest_s(self, job: Job) -> int:
        """The second in which ``job`` should start at the latest; that of its submission if it is not deferrable."""
        known = self._latest_s.get(job.id)
        if known is None:
            known = self._latest_s[job.id] = job.submit + self._drawn_s(job)
        return known

    def _drawn_s(self, job: Job) -> int:
        if not self._slack_s or crc32(f"{self._seed} {job.name}".encode()) >= self._share * 2**32:
            return 0
        return self._slack_s if self._kappa is None else int(min(self._slack_s, self._kappa * job.walltime))
