"""Folders in which something is written before it gets its name; who writes stands in theirs.

A program that is killed leaves its draft behind. The next one that writes there takes it away.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

_FOREIGN_S = 86_400  # without a change, until a draft of another machine counts as abandoned


def begin_draft(folder: Path, prefix: str = "") -> Path:
    """A new folder in ``folder``. Raises OSError where there can be none."""
    return Path(mkdtemp(prefix=f"{prefix}{socket.gethostname()}+{os.getpid()}+", dir=folder))


def sweep_drafts(folder: Path, prefix: str = "") -> None:
    """Remove the drafts of this prefix in ``folder`` whose programs are there no more."""
    with suppress(OSError):
        for draft in folder.iterdir():
            with suppress(OSError):
                if draft.name.startswith(prefix) and _is_abandoned(draft, draft.name.removeprefix(prefix)):
                    shutil.rmtree(draft, ignore_errors=True)


def _is_abandoned(draft: Path, who: str) -> bool:
    host, _, rest = who.partition("+")
    pid, _, random = rest.partition("+")
    if not (pid.isdigit() and random):
        return False  # none of ours
    if host != socket.gethostname():
        return time.time() - draft.stat().st_mtime > _FOREIGN_S
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
