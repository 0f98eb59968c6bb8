"""Names that nobody defined: ruff and mypy do not look for them here, because jaxtyping's
shapes are strings of such names."""

import builtins
import symtable
from pathlib import Path

import pytest

import se4lip

SOURCE = Path(se4lip.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
ALWAYS = {*dir(builtins), "__file__", "__path__"}


def undefined(source: str) -> set[str]:
    """Global names that a module's code reads and nothing in it binds."""
    module = symtable.symtable(source, "module", "exec")
    bound, read, tables = set(), set(), [module]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            binds = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
            if binds and (table is module or symbol.is_declared_global()):
                bound.add(symbol.get_name())
            if symbol.is_global() and symbol.is_referenced():
                read.add(symbol.get_name())
    return read - bound - ALWAYS


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_global_name_is_bound(module):
    assert not undefined(module.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def f():\n    return probe(1)\n", {"probe"}),
        ("class A:\n    x = missing\n", {"missing"}),
        ("import os\nclass A:\n    x = 1\n    y = x\n    def f(self):\n        return os\n", set()),
        ("def f():\n    global count\n    count = 1\ndef g():\n    return count\n", set()),
    ],
)
def test_a_missing_name_is_found_and_no_other(source, missing):
    assert undefined(source) == missing
