"""Run folders and the only safe ways to write into them."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from tsplanner import runs
from tsplanner.errors import TsplannerError

NOON = 1_795_348_800.0  # 22 November 2026


def test_run_folders_are_numbered_within_a_day(tmp_path: Path) -> None:
    """The second run of a day is -2; another day starts again at -1."""
    first = runs.create_run_folder(tmp_path, "chatts-14b", "qlora", now=NOON)
    second = runs.create_run_folder(tmp_path, "chatts-14b", "qlora", now=NOON)
    other = runs.create_run_folder(tmp_path, "chatts-14b", "qlora", now=NOON + 2 * 86400)
    assert first.parent == tmp_path / "chatts-14b" / "qlora"
    assert first.name.endswith("-1")
    assert second.name == first.name[:-1] + "2"
    assert other.name.endswith("-1")
    assert other.name != first.name


def test_two_runs_started_at_once_never_share_a_folder(tmp_path: Path) -> None:
    """Eight threads get eight folders."""
    found: list[Path] = []

    def make() -> None:
        found.append(runs.create_run_folder(tmp_path, "m", "lora"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8


@pytest.mark.parametrize(
    ("name", "folder"), [("Qwen/Qwen2.5-14B", "Qwen-Qwen2.5-14B"), ("../..", "unnamed")]
)
def test_model_name_cannot_leave_the_saves_folder(name: str, folder: str) -> None:
    """Separators and leading dots are taken out."""
    assert runs.slug(name) == folder


def test_file_is_written_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    """A value that is no JSON leaves the earlier file as it was."""
    path = tmp_path / "a.json"
    runs.write_json(path, {"one": 1})
    with pytest.raises(ValueError, match="JSON"):
        runs.write_json(path, {"one": float("nan")})
    assert json.loads(path.read_text()) == {"one": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    """ENOSPC names the folder and what to do."""
    with (
        pytest.raises(TsplannerError, match="is full: free some space"),
        runs.clear_disk_errors(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_run_that_cannot_be_saved_is_refused_before_it_starts(tmp_path: Path) -> None:
    """Nobody trains for hours to fail at the last write."""
    runs.require_disk_space(tmp_path / "not" / "yet" / "there", 1)
    with pytest.raises(TsplannerError, match="GiB free"):
        runs.require_disk_space(tmp_path, 2**60)


def test_newest_plan_is_found(tmp_path: Path) -> None:
    """--plan may be left out after tsplanner plan."""
    import os

    for name, seconds in (("old", 10), ("new", 20)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "plan.json").write_text("{}")
        os.utime(folder / "plan.json", (seconds, seconds))
    assert runs.latest_plan(tmp_path) == tmp_path / "new" / "plan.json"
    with pytest.raises(TsplannerError, match="make one with tsplanner plan"):
        runs.latest_plan(tmp_path / "empty")


def test_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    """The lines before it still count."""
    path = tmp_path / "m.jsonl"
    runs.append_line(path, '{"step": 1}')
    runs.append_line(path, '{"step": 2}')
    with path.open("a") as file:
        file.write('{"step": ')
    assert runs.read_json_lines(path) == [{"step": 1}, {"step": 2}]


def test_versions_name_what_a_run_depends_on() -> None:
    """Python and the training packages are recorded."""
    assert {"python", "torch", "transformers", "peft"} <= runs.versions().keys()


def test_a_damaged_line_costs_no_other_line(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, half a character, a nest, a cut: the good lines stay."""
    path = tmp_path / "a.jsonl"
    bad = [b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"[" * 50_000, b"[1]", b'{"a']
    path.write_bytes(b"\n".join([b'{"a": 1}', *bad, b'{"a": 2}', b""]))
    assert runs.read_json_lines(path) == [{"a": 1}, {"a": 2}]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    """A text may hold U+2028, which Python takes for the end of a line."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "b\u2028c\u0085d"}\r\n', encoding="utf-8", newline="")
    assert runs.read_json_lines(path) == [{"a": "b\u2028c\u0085d"}]


def test_a_loss_that_is_no_number_stays_a_finding(tmp_path: Path) -> None:
    """A run whose loss became NaN wrote that line on purpose."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 3, "loss": NaN}\n')
    (row,) = runs.read_json_lines(path)
    assert row["loss"] != row["loss"]
