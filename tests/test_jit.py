import pytest
from numba.core import caching

from se4lip import jit


def twice(x):
    return 2 * x


def test_a_kernel_is_cached_where_it_can_be_and_compiled_anew_where_it_cannot(monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        jit.njit(cache=True)(twice)
    kernel = jit.compiled(twice)
    assert kernel(21) == 42
    assert not kernel.stats.cache_path


def test_what_else_goes_wrong_in_compiling_is_told(monkeypatch):
    def broken(**options):
        raise RuntimeError("something else")

    monkeypatch.setattr(jit, "njit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        jit.compiled(twice)
