"""The house rules: which room imports which, what loads early, and what is packaged."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Each room with the rooms it may import.
ROOMS = {
    "data": {"data"},
    "chatbot": {"data", "chatbot"},
    "training": {"data", "chatbot", "training"},
    "web": {"data", "chatbot", "web"},
}
# What would make `chatbot --help` wait.
HEAVY = {"torch", "numpy", "gensim", "matplotlib", "flask", "socketio", "sqlalchemy", "pydantic"}


def imported_packages(source: str) -> set[str]:
    """The top-level packages that a file imports anywhere, inside functions too; a relative import has none."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.partition(".")[0])
    return packages


def files_of(room: str) -> list[Path]:
    return [path for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.mark.parametrize("source", ["import web.app", "from web import app", "def f():\n    from web.app import g"])
def test_an_import_is_seen_wherever_it_stands(source):
    assert imported_packages(source) == {"web"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_before_it(room):
    wrong = {
        f"{path.relative_to(ROOT)} imports {package}"
        for path in files_of(room)
        if path.suffix == ".py"
        for package in imported_packages(path.read_text()) & ROOMS.keys() - ROOMS[room]
    }
    assert not wrong


def test_listing_the_commands_loads_nothing_heavy():
    listing = "import sys, click, chatbot.cli as cli; cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "\n  serve " in printed.stdout
    assert not HEAVY & set(printed.stdout.split())


def test_the_packages_listed_are_the_packages_there_are():
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in files_of(room) if path.suffix == ".py"}
    folders.remove(Path("web/examples"))  # programs for people to read and run
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == {".".join(folder.parts) for folder in folders}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> set[str]:
    """The names in a wheel built from a copy of the sources, without a network and with what is installed."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", built, source], check=True, capture_output=True)
    (wheel,) = built.iterdir()
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_carries_every_file_of_the_rooms_and_nothing_else(wheel_names):
    files = [path.relative_to(ROOT) for room in ROOMS for path in files_of(room)]
    files = {str(path) for path in files if "examples" not in path.parts}
    assert {name for name in wheel_names if ".dist-info/" not in name} == files


@pytest.mark.parametrize("folder", ["web/templates", "web/static", "chatbot/migrations/versions", "chatbot/pretrained"])
def test_the_wheel_carries_something_of(folder, wheel_names):
    assert any(name.startswith(folder + "/") and not name.endswith("__init__.py") for name in wheel_names)
