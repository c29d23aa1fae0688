"""Which small changes a module is tried with: those of cosmic-ray that change what is done, and three more.

A *place* is a piece of the source that can be changed in one or more ways. No place lies in a type annotation, in a
text, in a message of an error, or in what is only read by a type checker.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from parso.python.tree import Operator as Sign

# Arithmetic becomes other arithmetic; ``is`` only its contrary; what nearly any test would see is left out.
_LEFT_OUT = re.compile(
    r"Binary.*_(Pow|RShift|LShift|BitXor|Mod)$|Binary.*_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_Bit|_(Invert|UAdd)"
    r"|Comparison.*_(Eq|NotEq|Lt|LtE|Gt|GtE)_Is|Comparison.*_(Is|IsNot)_(Eq|NotEq|Lt|LtE|Gt|GtE)"
    r"|RemoveDecorator|Variable"
)
_Spot = tuple[int, int]  # line and column


class DropStatement:
    """Leaves out a statement: a call, a ``del``, or what an attribute or an item becomes after ``__init__``."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[_Spot, _Spot]]:
        if node.type != "simple_stmt":
            return
        does = node.children[0]
        target, begins = does, False
        if does.type == "expr_stmt":
            function = does.search_ancestor("funcdef")
            begins = function is not None and function.name.value == "__init__"
            target = does.children[0]
        if does.type == "del_stmt" or (target.type in ("atom_expr", "power") and not begins):
            yield does.start_pos, does.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        left_out = get_ast("pass").children[0]
        left_out.prefix = node.children[0].get_first_leaf().prefix
        node.children[0] = left_out
        return node


class SwapAugmented:
    """Turns ``+=`` into ``-=`` and back."""

    contrary: ClassVar = {"+=": "-=", "-=": "+="}

    def mutation_positions(self, node: Any) -> Iterator[tuple[_Spot, _Spot]]:
        if isinstance(node, Sign) and node.value in self.contrary:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Sign, index: int) -> Sign:
        node.value = self.contrary[node.value]
        return node


class MinIsMax:
    """Takes the largest where the smallest is meant, and the other way round."""

    contrary: ClassVar = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}

    def mutation_positions(self, node: Any) -> Iterator[tuple[_Spot, _Spot]]:
        if node.type == "name" and node.value in self.contrary:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = self.contrary[node.value]
        return node


def _operators() -> dict[str, Any]:
    found: dict[str, Any] = {each.__name__: each() for each in (DropStatement, SwapAugmented, MinIsMax)}
    for name in cosmic_ray.plugins.operator_names():
        kind = cosmic_ray.plugins.get_operator(name)
        if not kind.arguments() and not _LEFT_OUT.search(name):
            found[name.partition("/")[2]] = kind()
    return found


OPERATORS = _operators()


@dataclass(frozen=True, order=True)
class Place:
    """A place in a module, and the changes that can be made there: the operator and its how-manieth of the module."""

    module: str
    begin: _Spot
    end: _Spot
    changes: tuple[tuple[str, int], ...]

    def mutated(self, source: str, change: tuple[str, int]) -> str | None:
        """The module's source with one of the changes; None if it is then no program, or the same one."""
        operator, occurrence = change
        made: str | None = mutate_code(source, OPERATORS[operator], occurrence)
        if made is None:
            return None
        try:
            same = ast.dump(ast.parse(made)) == ast.dump(ast.parse(source))
        except SyntaxError:
            return None
        return None if same else made


def places(module: str, source: str) -> list[Place]:
    """All places of a module, in the order of its source."""
    found: dict[tuple[_Spot, _Spot], list[tuple[str, int]]] = {}
    dumb = list(_without_effect(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in OPERATORS.items():
        spots = (spot for node in nodes for spot in operator.mutation_positions(node))
        for occurrence, (begin, end) in enumerate(spots):
            if not any(first <= begin and end <= last for first, last in dumb):
                found.setdefault((begin, end), []).append((name, occurrence))
    return [Place(module, *spot, tuple(changes)) for spot, changes in sorted(found.items())]


def _without_effect(tree: ast.Module) -> Iterator[tuple[_Spot, _Spot]]:
    """Where annotations, texts, messages, and what is for type checkers alone begin and end."""
    for node in ast.walk(tree):
        pieces: list[Any] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            pieces = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            pieces = [node.returns]
        elif isinstance(node, ast.Raise):
            pieces = [node.exc]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "TypeVar"):
            pieces = [node.args[0], *node.keywords]
        elif _is_dumb(node):
            pieces = [node]
        for piece in pieces:
            if piece is not None:
                yield (piece.lineno, piece.col_offset), (piece.end_lineno, piece.end_col_offset)


def _is_dumb(node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id="__slots__" | "Column" | "_Asked")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return isinstance(node, ast.JoinedStr)
