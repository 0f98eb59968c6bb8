"""The rooms of docs/architecture.md and the one direction in which they may import each other."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "se4lip"
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"


def law() -> dict[str, set[str]]:
    """The table "room | may import" of docs/architecture.md."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    table: dict[str, set[str]] = {}
    for left, right in rows:
        if not left.startswith("`"):
            continue
        allowed, above = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", right))), set(table)
        for room in re.findall(r"`(\w+)`", left):
            table[room] = above - allowed if right.startswith("everything above") else allowed
    return table


MAY_IMPORT = law()
ROOMS = set(MAY_IMPORT)
OPTIONAL = {
    *("mediapipe", "tensorboard", "matplotlib", "gsplat", "aiohttp", "onnx", "onnxruntime"),
    *("hama", "transformers", "tensorflow", "pocketsphinx"),
}
# What opens files, as it is written in a call. `.open`, `.read_bytes` and the like are methods of
# pathlib.Path; `open_dataset` and its kin are io's own and may be called from anywhere.
OPENERS = {"open", "fdopen", "memmap", "fromfile", "tofile", "urlopen"}
METHODS = {"open", "read_text", "read_bytes", "write_text", "write_bytes"}
DOTTED = {
    *("av.open", "io.open", "os.open", "np.load", "np.save", "np.savez", "numpy.load"),
    *("torch.load", "torch.save", "Image.open", "json.load", "json.dump", "pickle.load"),
    *("safetensors.safe_open", "safetensors.torch.load_file", "safetensors.torch.save_file"),
}


def room_of(path: Path) -> str:
    """A folder is its own room; so is a file of the top folder."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST, package: str) -> set[str]:
    """Dotted names of all modules a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def unlawful_imports(tree: ast.AST, room: str, package: str) -> set[str]:
    """What a file of ``room`` may not import. ``__init__`` is a table of names, ``__main__`` the
    command line."""
    ours = {name for name in imports(tree, package) if name.split(".")[0] == "se4lip"}
    allowed = {"__init__": set(), "__main__": {"cli"}}.get(room, MAY_IMPORT.get(room, set()))
    return {name for name in ours if [*name.split("."), "__init__"][1] not in allowed | {room}}


def cycles(imported: dict[str, set[str]]) -> set[frozenset[str]]:
    """Modules that import each other, directly or around."""

    def reached(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            new = imported.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    reach = {module: reached(module) for module in imported}
    return {
        frozenset(other for other in reach[module] if module in reach.get(other, set()))
        for module in imported
        if module in reach[module]
    }


def imported_modules() -> dict[str, set[str]]:
    """Of every module its imports of our modules, at its top, inside functions or for types."""
    found = {}
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        names = imports(ast.parse(path.read_text()), ".".join(["se4lip", *parts[:-1]]))
        found[".".join(parts)] = {name.removeprefix("se4lip.") for name in names}
    known = set(found)
    return {
        module: {
            part for name in names for part in (name, name.rpartition(".")[0]) if part in known
        }
        for module, names in found.items()
    }


def eager_optional(tree: ast.Module) -> set[str]:
    """Optional packages imported when the module is, outside functions."""
    found = set()
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {n.split(".")[0] for n in imports(node, "se4lip")} & OPTIONAL
        waiting += ast.iter_child_nodes(node)
    return found


def opened_files(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        last = called.rsplit(".", 1)[-1]
        if (
            called in OPENERS | DOTTED
            or ("." in called and last in METHODS)
            or last in {"safe_open", "load_file", "save_file", "memmap", "fromfile", "tofile"}
        ):
            found.add(called)
    return found


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(), ids=named)
def test_imports_go_one_way(path):
    package = ".".join(["se4lip", *path.relative_to(ROOT).parts[:-1]])
    assert unlawful_imports(ast.parse(path.read_text()), room_of(path), package) == set()


@pytest.mark.parametrize("path", modules(), ids=named)
def test_optional_packages_are_imported_when_they_are_needed(path):
    assert eager_optional(ast.parse(path.read_text())) == set()


# Pairs that know each other for their types alone (TYPE_CHECKING): nothing runs in a circle.
FOR_TYPES = {
    frozenset({"head.nerf.drawing", "head.nerf.head"}),
    frozenset({"train.avatar", "train.avatar_hearing"}),
    frozenset({"web.server", "web.viewer"}),
}


def test_nothing_is_imported_in_a_circle():
    assert cycles(imported_modules()) <= FOR_TYPES


def test_circles_of_any_length_are_seen():
    line = {"a": {"b"}, "b": {"c"}, "c": set()}
    assert cycles(line) == set()
    assert cycles(line | {"c": {"a"}, "d": {"a"}}) == {frozenset("abc")}
    assert cycles(line | {"c": {"c"}}) == {frozenset("c")}


# The null device is no file: the tracker silences native libraries with it, the command line a
# reader that has gone.
SPARED = {"face/tracker.py": {"os.open"}, "cli.py": {"os.open"}}


@pytest.mark.parametrize("path", [p for p in modules() if room_of(p) != "io"], ids=named)
def test_only_io_opens_files(path):
    assert opened_files(ast.parse(path.read_text())) <= SPARED.get(named(path), set())


@pytest.mark.parametrize(
    ("room", "line", "lawful"),
    [
        ("audio", "from se4lip.types import Speech", True),
        ("audio", "from se4lip.audio import timebase", True),
        ("audio", "from se4lip.io.audio import read_speech", False),
        ("audio", "import se4lip.io.audio", False),
        ("audio", "from se4lip import io", False),
        ("audio", "import se4lip", False),
        ("head", "from se4lip.encoder.speech import SpeechEncoder", False),
        ("head", "from ..encoder import speech", False),
        ("head", "from . import camera", True),
        ("io", "def late():\n    from se4lip.face import lips", False),
        ("train", "from se4lip.cli import main", False),
        ("prepare", "from se4lip.io import video", True),
        ("prepare", "from se4lip.train import loop", False),
        ("synthesis", "from se4lip.features import base", True),
        ("synthesis", "from se4lip.evaluation.sync_video import sync", False),
        ("evaluation", "from se4lip.train import split", True),
        ("evaluation", "from se4lip.commands.sync import sync", False),
        ("train", "from se4lip.evaluation.watch import watch", False),
        ("metrics", "from se4lip.mesh import LIPS", True),
        ("mesh", "from se4lip.types import Camera", False),
        ("bench", "from se4lip.evaluation.avatar import render_take", True),
        ("bench", "from se4lip.web import server", False),
        ("web", "from se4lip.bench import record", False),
        ("commands", "from se4lip.bench import record", True),
        ("cli", "from se4lip.commands import sync", False),
    ],
)
def test_the_law_of_imports_can_be_broken(room, line, lawful):
    assert (unlawful_imports(ast.parse(line), room, f"se4lip.{room}") == set()) is lawful


def test_the_law_of_optional_packages_can_be_broken():
    assert eager_optional(ast.parse("try:\n    import gsplat.cuda\nexcept ImportError: pass"))
    assert eager_optional(ast.parse("class A:\n    from mediapipe import tasks"))
    assert not eager_optional(ast.parse("def f():\n    import mediapipe"))


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "Path('x').read_bytes()",
        "path.open('rb')",
        "np.load(file)",
        "with av.open(path) as container: pass",
        "torch.save(x, path)",
        "safetensors.torch.save_file(x, path)",
    ],
)
def test_the_law_of_files_can_be_broken(line):
    assert opened_files(ast.parse(line))
    assert not opened_files(ast.parse("open_dataset(path); reopen(); x.opened()"))


def test_every_room_is_named_in_the_document():
    assert {room_of(path) for path in modules()} == ROOMS | {"__init__", "__main__"}


def test_the_document_is_read_as_it_is_meant():
    leaves = {"types", "mesh", "jit", "wording"}
    assert all(MAY_IMPORT[leaf] == set() for leaf in leaves)
    assert MAY_IMPORT["audio"] == MAY_IMPORT["head"] == {"types", "jit"}
    assert MAY_IMPORT["io"] == {"types"}
    below = leaves | {"audio", "dropin", "face", "metrics", "encoder", "head"}
    below |= {"io", "artifacts", "features"}
    assert MAY_IMPORT["synthesis"] == MAY_IMPORT["train"] == below
    assert MAY_IMPORT["evaluation"] == below | {"prepare", "train"}
    assert MAY_IMPORT["web"] == below | {"synthesis"}
    assert MAY_IMPORT["commands"] == ROOMS - {"commands", "cli"}
    assert MAY_IMPORT["cli"] == {"types"}


@pytest.mark.parametrize("module", ["se4lip", "se4lip.cli", "se4lip.prepare.dataset"])
def test_importing_pulls_in_no_optional_package(module):
    code = f"import sys, {module}; print(' '.join(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & OPTIONAL == set()


def test_the_command_line_starts_without_heavy_libraries():
    code = "import sys, se4lip.cli; print('torch' in sys.modules, 'av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
