"""The pages of the documentation, and what stands in them to be tried: blocks of code, and commands."""

import re
import shlex
from pathlib import Path

from hpcsim.cli import COMMANDS, cli

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))

_BLOCK = r"^```{language}\n(.*?)^```$"
_TYPED = re.compile(
    r"^(?: {4}|)(?:\$ )?((?:HPCSIM_[A-Z_]+=\S+ )?(?:hpcsim|make|pip|pytest|python) [^|>\n]*)", re.MULTILINE
)
_QUOTED = re.compile(r"`((?:hpcsim|make|pip|pytest|python) [^`]+)`")


def text_of(page: str) -> str:
    """A page by its path from the root of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language, in the order of the page."""
    return re.findall(_BLOCK.format(language=language), text_of(page), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """What is typed into a shell, indented or in a block of ``sh``: each line without its comment."""
    text = re.sub(r" \\\n +", " ", text_of(page))  # a command may go on in the next line
    indented = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    lines = _TYPED.findall(indented) + [line for block in blocks(page, "sh") for line in _TYPED.findall(block)]
    return [re.split(r"  +#", line)[0].strip() for line in lines]


def quoted_commands(page: str) -> list[str]:
    """Commands within sentences, of which arguments may be missing, dots, or a capital for a number."""
    return [re.sub(r" [A-Z]\b", " 1", line.replace(" ...", "")) for line in _QUOTED.findall(text_of(page))]


def context_of(line: str):
    """The click context of a line that begins with ``hpcsim``; what is unknown is an error of usage."""
    words = shlex.split(line)[1:]
    command = words[0]
    assert command in COMMANDS, line
    found = cli.get_command(None, command)
    group = getattr(found, "commands", None)
    if group is not None and words[1:] and words[1] in group:
        found, words = group[words[1]], words[1:]
    return found.make_context(command, words[1:])  # ``hpcsim twins`` takes the name of a twin where a command may stand
