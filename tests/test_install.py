"""The command that adds a part to this install works where it is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tsplanner import install
from tsplanner.errors import TsplannerError
from tsplanner.install import (
    Extra,
    from_origin,
    has_nvidia_driver,
    install_command,
    install_words,
    is_planner_only,
    missing,
    packages_of,
    require,
    torch_command,
)

METADATA = [
    "jinja2>=3.1.6",
    "torch<2.14,>=2.4; extra == 'train'",
    'peft >=0.18 ; extra == "train"',
    "bitsandbytes>=0.48; extra == 'quant'",
]


@pytest.fixture(autouse=True)
def fresh() -> Any:
    """No answer of another test."""
    install_command.cache_clear()
    yield
    install_command.cache_clear()


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, origin: object) -> None:
    """An install whose metadata lie in ``folder``."""
    info = folder / "tsplanner-0.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("".join(f"Requires-Dist: {row}\n" for row in METADATA))
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setattr(install, "ROOT", folder)
    monkeypatch.setattr(install, "_installer", lambda: "pip install")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (
            {
                "url": "https://host/us/tsplanner.git",
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "abc123"},
            },
            ["tsplanner[train] @ git+https://host/us/tsplanner.git@abc123"],
        ),
        (
            {"url": "https://me:secret@host/x.git", "vcs_info": {"vcs": "git"}},
            ["tsplanner[train] @ git+https://me@host/x.git"],
        ),
        (
            {"url": "https://host/tsplanner-0.2.0-py3-none-any.whl", "archive_info": {}},
            ["tsplanner[train] @ https://host/tsplanner-0.2.0-py3-none-any.whl"],
        ),
        ({"url": "file:///no/such/folder", "dir_info": {}}, None),
        ({}, None),
    ],
)
def test_the_origin_of_an_install_says_how_it_grows(
    origin: dict[str, Any], expected: list[str] | None
) -> None:
    """The very commit for git; a password of the URL is never printed."""
    assert from_origin(origin, Extra.TRAIN) == expected


def test_a_folder_is_installed_again_as_it_was(tmp_path: Path) -> None:
    """Editable stays editable; a wheel file is named by its URL."""
    url = tmp_path.as_uri()
    assert from_origin({"url": url, "dir_info": {}}, Extra.QUANT) == [f"{tmp_path}[quant]"]
    editable = {"url": url, "dir_info": {"editable": True}}
    assert from_origin(editable, Extra.QUANT) == ["--editable", f"{tmp_path}[quant]"]
    wheel = tmp_path / "tsplanner-0.2.0-py3-none-any.whl"
    wheel.touch()
    found = from_origin({"url": wheel.as_uri(), "archive_info": {}}, Extra.HUB)
    assert found == [f"tsplanner[hub] @ {wheel.as_uri()}"]


def test_an_extra_is_quoted_for_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets are patterns of file names to a shell, and a folder may hold a blank."""
    source = tmp_path / "my tools"
    source.mkdir()
    installed(tmp_path, monkeypatch, {"url": source.as_uri(), "dir_info": {}})
    assert install_command(Extra.TRAIN) == f"pip install '{source}[train]'"


@pytest.mark.parametrize("origin", [None, {"url": "file:///gone", "dir_info": {}}])
def test_without_an_origin_the_packages_themselves_are_named(
    origin: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No index need know tsplanner, and a folder may be gone by now."""
    installed(tmp_path, monkeypatch, origin)
    assert install_command(Extra.TRAIN) == "pip install 'torch<2.14,>=2.4' 'peft>=0.18'"
    assert packages_of(METADATA, Extra.QUANT) == ["bitsandbytes>=0.48"]


def test_a_source_tree_is_installed_from_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was installed, the folder is what there is."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(install, "_installer", lambda: "pip install")
    assert install_command(Extra.HUB) == f"pip install --editable '{tmp_path}[hub]'"


def test_the_installer_is_that_of_the_running_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pip of another environment would install beside it; uv makes environments without pip."""
    monkeypatch.setattr(sys, "executable", "/some where/bin/python")
    monkeypatch.setattr(install, "find_spec", lambda name: object())
    assert install_command(Extra.HUB).startswith("'/some where/bin/python' -m pip install ")
    install_command.cache_clear()
    monkeypatch.setattr(install, "find_spec", lambda name: None)
    wanted = "uv pip install --python '/some where/bin/python' "
    assert install_command(Extra.HUB).startswith(wanted)


def test_a_machine_without_a_gpu_is_told_of_the_cpu_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default torch brings gigabytes of CUDA; the index is the user's own, if one is set."""
    installed(tmp_path, monkeypatch, None)
    monkeypatch.setattr(install, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(install, "find_spec", lambda name: None)
    monkeypatch.delenv("TSPLANNER_TORCH_INDEX", raising=False)
    said = install_words(Extra.TRAIN)
    assert said.endswith("from the CPU index that PyTorch's install page names for pip)")
    monkeypatch.setenv("TSPLANNER_TORCH_INDEX", "https://me:secret@wheels/cpu")
    command = "pip install --index-url https://me@wheels/cpu torch"
    assert torch_command() == command
    assert install_words(Extra.TRAIN).endswith(f"(before it, for a torch without CUDA: {command})")
    assert "(" not in install_words(Extra.QUANT)
    monkeypatch.setattr(install, "has_nvidia_driver", lambda: True)
    assert "(" not in install_words(Extra.TRAIN)


def test_what_is_missing_is_one_sentence() -> None:
    """One package is, several are; what is there is not named."""
    require("tsplanner probe", ["sys", "json"])
    assert missing(["sys", "no_such_a"]) == ["no_such_a"]
    with pytest.raises(TsplannerError, match=r"^probe needs no_such_a, which is not installed: "):
        require("probe", ["sys", "no_such_a"])
    with pytest.raises(TsplannerError, match="needs no_such_a, no_such_b, which are not installed"):
        require("probe", ["no_such_a", "no_such_b"])


def test_an_install_with_any_training_package_is_not_for_planning_alone() -> None:
    """Half an environment is one to be mended."""
    assert is_planner_only({"rich": "13"})
    assert not is_planner_only({"peft": "0.18"})


def test_the_driver_is_looked_for_and_not_asked() -> None:
    """CUDA may not be started by the planner."""
    assert has_nvidia_driver() in (True, False)


def test_triton_compiles_where_it_is_installed_with_a_c_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It builds a launcher for every kernel, which needs both."""
    monkeypatch.setattr(install, "find_spec", lambda _: object())
    monkeypatch.setattr(install, "which", lambda name: "/usr/bin/cc" if name == "cc" else None)
    assert install.compiles_triton()
    monkeypatch.setattr(install, "which", lambda _: None)
    assert not install.compiles_triton()
    monkeypatch.setattr(install, "which", lambda _: "/usr/bin/gcc")
    monkeypatch.setattr(install, "find_spec", lambda _: None)
    assert not install.compiles_triton()
