import ast
import importlib
import importlib.util
import inspect
import linecache
import os
from pathlib import Path
from types import ModuleType

import pytest
from numba.core import caching

from se4lip import jit
from se4lip.head import lanes


def twice(x):
    return 2 * x


def test_a_kernel_is_cached_where_it_can_be_and_compiled_anew_where_it_cannot(monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        jit.njit(cache=True)(twice)
    kernel = jit.compiled(twice)
    assert kernel(21) == 42
    assert not kernel.stats.cache_path


def test_what_is_cached_is_known_by_what_is_written_and_not_by_when(tmp_path, monkeypatch):
    """Of modules that are named by those that are named, too."""
    package = tmp_path / "se4lip_like"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("first", "second"):
        (package / f"{name}.py").write_text("WIDTH = 16\n")

    def stamp():
        importlib.invalidate_caches()
        linecache.checkcache()
        found = []
        for name in ("second", "first"):
            spec = importlib.util.spec_from_file_location(f"se4lip.{name}", package / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.named = found[0] if found else None
            found.append(module)
        return lanes.stamp_of(found[1:])

    before = stamp()
    os.utime(package / "second.py", (1, 1))
    assert stamp() == before
    (package / "second.py").write_text("WIDTH = 8\n")
    os.utime(package / "second.py", (1, 1))
    assert stamp() != before


def taken_from(module: ModuleType) -> dict[str, str]:
    """Names that a module imports from others of ours, and from which."""
    tree = ast.parse(inspect.getsource(module))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {
        name.asname or name.name: node.module
        for node in imports
        if (node.module or "").startswith("se4lip.")
        for name in node.names
    }


def compiled_in(module: ModuleType) -> set[str]:
    """All modules of ours whose constants and functions its decorated functions use, and so on."""
    tree, found = ast.parse(inspect.getsource(module)), set()
    kernels = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.decorator_list]
    used = {n.id for kernel in kernels for n in ast.walk(kernel) if isinstance(n, ast.Name)}
    for name, source in taken_from(module).items():
        if name in used and not isinstance(getattr(module, name), ModuleType):
            found |= {source} | compiled_in(importlib.import_module(source))
    return found


KERNELS = """
splat.raster_kernels splat.raster_projection splat.raster_binning splat.frame_numba
nerf.plane_kernels nerf.draw_kernels
"""


@pytest.mark.parametrize("name", KERNELS.split())
def test_kernels_are_stamped_with_all_that_is_compiled_into_them(name, monkeypatch):
    module, stamped = importlib.import_module(f"se4lip.head.{name}"), []
    assert "= compiler(" in inspect.getsource(module)
    monkeypatch.setattr(lanes.inspect, "getsource", lambda one: stamped.append(one.__name__) or "")
    call = next(
        node
        for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "compiler"
    )
    lanes.stamp_of([getattr(module, argument.id) for argument in call.args])
    monkeypatch.undo()
    assert compiled_in(module) - {module.__name__} <= {*stamped}


def test_what_else_goes_wrong_in_compiling_is_told(monkeypatch):
    def broken(**options):
        raise RuntimeError("something else")

    monkeypatch.setattr(jit, "njit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        jit.compiled(twice)
