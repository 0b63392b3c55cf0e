"""Setting up: nothing of a person's own is emptied, and what is installed is what was tested."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import bootstrap  # noqa: E402 it lies beside the packages

LOCKS = sorted((ROOT / "locked").glob("*.txt"))


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The script on a folder of its own; returns the calls of pip, none of which is made."""
    calls: list[tuple[str, ...]] = []

    def pip(*words: str, **_: object) -> int:
        calls.append(words)
        return 0

    folder = tmp_path / ".venv"
    monkeypatch.setattr(bootstrap, "VENV", folder)
    monkeypatch.setattr(bootstrap, "MARKER", folder / "tsplanner-setup")
    monkeypatch.setattr(bootstrap, "LOCK", tmp_path / "locked.txt")
    monkeypatch.setattr(bootstrap, "pip", pip)
    monkeypatch.setattr(bootstrap, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(bootstrap, "pip_version", lambda: (23, 2))
    monkeypatch.delenv(bootstrap.INDEX_VARIABLE, raising=False)

    def create(where: Path, *, with_pip: bool, clear: bool) -> None:
        where.mkdir(exist_ok=True)
        if clear:
            for path in where.iterdir():
                path.unlink()

    monkeypatch.setattr(bootstrap.venv, "create", create)
    return calls


def test_a_venv_of_a_persons_own_is_never_touched(setup: list[Any]) -> None:
    """Whatever is asked for; the sentence says what to do instead."""
    bootstrap.VENV.mkdir()
    own = bootstrap.VENV / "pyvenv.cfg"
    own.write_text("home = /usr/bin")
    for fresh in (False, True):
        with pytest.raises(SystemExit, match="was not made by this script and is left alone"):
            bootstrap.set_up(fresh=fresh)
    assert own.read_text() == "home = /usr/bin"
    assert setup == []


def test_a_change_of_the_requirements_installs_and_empties_nothing(setup: list[Any]) -> None:
    """What a person added to the folder stays; only --fresh begins anew."""
    bootstrap.set_up(fresh=False)
    own = bootstrap.VENV / "added-by-hand"
    own.touch()
    setup.clear()
    bootstrap.set_up(fresh=False)
    assert setup == []  # nothing has changed
    bootstrap.LOCK.write_text("# other versions\n")
    bootstrap.set_up(fresh=False)
    assert setup
    assert own.exists()
    bootstrap.set_up(fresh=True)
    assert not own.exists()


def test_a_set_up_that_was_cut_off_is_done_again(setup: list[Any]) -> None:
    """The folder is known as the script's own from its first moment on."""
    bootstrap.VENV.mkdir()
    bootstrap.MARKER.write_text("unfinished")
    bootstrap.set_up(fresh=False)
    assert setup


def test_with_a_file_of_hashes_nothing_else_is_installed(setup: list[Any]) -> None:
    """Not even pip is brought up to date, and the package's requirements are not asked for."""
    bootstrap.LOCK.write_text("x==1 --hash=sha256:00\n")
    bootstrap.set_up(fresh=False)
    assert "--require-hashes" in setup[0]
    assert "--no-deps" in setup[0]
    assert "--no-deps" in setup[-1]
    assert not any("--upgrade" in words for words in setup)


@pytest.mark.parametrize(("version", "upgraded"), [((23, 2), True), ((25, 1), False)])
def test_pip_is_only_brought_up_to_date_where_it_is_too_old(
    version: tuple[int, int], upgraded: bool, setup: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dependency groups need 25.1; a major version that nobody has tried is not taken."""
    monkeypatch.setattr(bootstrap, "pip_version", lambda: version)
    bootstrap.set_up(fresh=False)
    assert (("install", "--quiet", "--upgrade", "pip>=25.1,<27") in setup) is upgraded


def test_an_index_for_torch_serves_torch_alone(
    setup: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that torch needs comes from the usual index."""
    monkeypatch.setenv(bootstrap.INDEX_VARIABLE, "https://wheels/cpu")
    bootstrap.set_up(fresh=False)
    asked = [words for words in setup if "https://wheels/cpu" in words]
    assert asked == [
        ("install", "--quiet", "--no-deps", "--index-url", "https://wheels/cpu", bootstrap.TORCH)
    ]


def test_a_lock_lists_each_file_by_its_hash_and_leaves_torch_out() -> None:
    """As pip reports what it would install."""

    def package(name: str) -> dict[str, Any]:
        info = {"archive_info": {"hashes": {"sha256": "ab"}}}
        return {"metadata": {"name": name, "version": "1.0"}, "download_info": info}

    names = ["PyYAML", "torch", "nvidia-cublas-cu12", "nvidia-ml-py", "jinja2", "tsplanner"]
    lines = bootstrap.locked([package(name) for name in names]).splitlines()[2:]
    assert lines == [
        f"{name}==1.0 --hash=sha256:ab" for name in ("jinja2", "nvidia-ml-py", "pyyaml")
    ]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_locked_version_is_one_that_the_project_allows(path: Path) -> None:
    """And no requirement is without one: the file would be of another pyproject.toml."""
    from packaging.requirements import Requirement

    rows = re.findall(r"^(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}$", path.read_text(), flags=re.M)
    locked = dict(rows)
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, extras = document["project"], document["project"]["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["train"], *extras["quant"]]
    grouped = [row for name in bootstrap.GROUPS for row in document["dependency-groups"][name]]
    for text in (*wanted, *grouped, *bootstrap.BUILD):
        found = Requirement(text)
        name = found.name.lower().replace("_", "-")
        if name not in bootstrap.APART:
            assert found.specifier.contains(locked[name]), text


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_file_of_hashes_is_for_every_release_of_its_python(path: Path) -> None:
    """Debian 12 has 3.11.2: a package that wants 3.11.5 would end the set-up there."""
    from packaging.specifiers import SpecifierSet

    major, minor = re.search(r"py(\d)(\d+)$", path.stem).groups()  # type: ignore[union-attr]
    refused = []
    for line in path.read_text().splitlines()[2:]:
        name, version = line.split(" ")[0].split("==")
        # What is not installed here, in this version, tells nothing of itself.
        with contextlib.suppress(metadata.PackageNotFoundError):
            known = metadata.metadata(name)
            python = known.get("Requires-Python") or ""
            if known["Version"] == version and f"{major}.{minor}.0" not in SpecifierSet(python):
                refused.append(f"{name} {version}: {python}")
    assert refused == []
