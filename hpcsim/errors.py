"""The errors that hpcsim raises: one family, each message fit to be shown to the user as it is."""


class HpcsimError(Exception):
    """Root of the family. ``str(error)`` says when, who, where, what was found and what would be right."""


class InputError(HpcsimError):
    """A file, row, key or option given by the user is wrong; nothing was run and nothing written."""


def lacking(who: str, library: str, extra: str) -> InputError:
    """That ``who`` needs a library that is not installed, and which extra of hpcsim installs it."""
    how = f"pip install '.[{extra}]' in the folder of hpcsim's sources"
    return InputError(f"{who} needs {library}, which is not installed: {how} brings it")


class RunError(HpcsimError):
    """A simulation that had begun is void."""


class SchedulerError(RunError):
    """The scheduler raised, or left jobs waiting with nothing left to happen."""


class BadDecision(SchedulerError):
    """The scheduler decided something that the machine cannot carry out.

    ``yielded_at`` is the file and the line where it did, as far as that is known.
    """

    yielded_at: tuple[str, int] | None = None


class TwinError(RunError):
    """A twin raised, or gave an answer that is none."""


class InvariantBroken(RunError):
    """A check of ``--check`` found the engine's own books wrong."""
