"""HTML and Markdown as files."""

from __future__ import annotations

import json
import xml.dom.minidom
from pathlib import Path

from tests.support.hand_made import add_run, changed, trained
from tsplanner.folders.owner import RunFolder
from tsplanner.report.build_page import About, build_page
from tsplanner.report.files import Format, Wanted, write_report, write_run_report
from tsplanner.report.messages.translate import Language
from tsplanner.report.records.read_runs import read_runs
from tsplanner.report.render.html import html


def test_both_formats_in_both_languages_link_to_each_other(tmp_path: Path) -> None:
    """Four files; each names the other language's of its own format."""
    saves = tmp_path / "saves"
    add_run(saves, "1")
    output = tmp_path / "handed on"
    paths = write_report(read_runs(saves), saves, Wanted(output=output), when="now")
    assert [path.name for path in paths] == [
        "report.html",
        "report.zh-CN.html",
        "report.md",
        "report.zh-CN.md",
    ]
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert 'href="report.zh-CN.html">中文</a>' in texts["report.html"]
    assert 'href="report.html">English</a>' in texts["report.zh-CN.html"]
    assert "[中文](report.zh-CN.md)" in texts["report.md"]
    assert "](../saves/tiny/lora/1/loss.svg)" in texts["report.md"]


def test_one_format_in_one_language_is_one_file(tmp_path: Path) -> None:
    """And no link to a file that is not written, no picture that was not wanted."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    wanted = Wanted(output=saves, formats=(Format.HTML,), languages=(Language.ZH,), pictures=False)
    (path,) = write_report(read_runs(saves), saves, wanted, when="now")
    assert path.name == "report.zh-CN.html"
    assert "report.html" not in path.read_text(encoding="utf-8")
    assert not (folder / "loss.svg").exists()


def test_a_curve_is_a_picture_of_its_own(tmp_path: Path) -> None:
    """loss.svg stands beside the metrics, is well-formed and has its colors with it."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    write_report(read_runs(saves), saves, Wanted(output=saves), when="now")
    text = (folder / "loss.svg").read_text(encoding="utf-8")
    root = xml.dom.minidom.parseString(text).documentElement
    assert root is not None
    assert root.tagName == "svg"
    assert root.getAttribute("xmlns") == "http://www.w3.org/2000/svg"
    assert ".heldout{stroke:var(--heldout)" in text


def test_nothing_is_written_into_a_run_at_work(tmp_path: Path) -> None:
    """The page of all runs has its row; the picture waits for the run's end."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    with RunFolder(folder, "train", saves=saves):
        write_report(read_runs(saves), saves, Wanted(output=saves), when="now")
        assert not (folder / "loss.svg").exists()
    write_report(read_runs(saves), saves, Wanted(output=saves), when="now")
    assert (folder / "loss.svg").is_file()


def test_a_run_folder_gets_its_own_page(tmp_path: Path) -> None:
    """In both languages, with what a search decided; the HTML needs nothing beside it."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    paths = write_run_report(folder, saves, ["Trial 2 is the best."])
    assert [path.name for path in paths] == [
        "report.html",
        "report.zh-CN.html",
        "report.md",
        "report.zh-CN.md",
    ]
    assert "[English](report.md)" in (folder / "report.zh-CN.md").read_text(encoding="utf-8")
    for path in paths:
        assert "Trial 2 is the best." in path.read_text(encoding="utf-8")
    assert "](loss.svg)" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_run_without_a_record_gets_a_page_that_says_so(tmp_path: Path) -> None:
    """A worker that left nothing behind is no reason to fail."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    (folder / "record.json").write_text("{")
    write_run_report(folder, saves)
    assert "No finished run yet." in (folder / "report.html").read_text(encoding="utf-8")


def test_no_picture_is_written_through_a_link(tmp_path: Path) -> None:
    """The run lies outside of saves: it is read, and nothing is changed there."""
    saves, disk = tmp_path / "saves", tmp_path / "disk"
    run = add_run(disk, "1")
    saves.mkdir()
    (saves / "big").symlink_to(disk)
    before = sorted(path.name for path in run.iterdir())
    write_report(read_runs(saves), saves, Wanted(output=tmp_path / "out"), when="now")
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_page_of_very_many_runs_stays_below_a_megabyte(tmp_path: Path) -> None:
    """Three hundred runs: all are in the table, the forty with the lowest loss have charts."""
    one = trained(tmp_path)
    runs = [
        changed(
            one, name=f"m/lora/{number}", eval_loss=1 / (number + 1), learning_rate=number / 1e6
        )
        for number in range(300)
    ]
    page = build_page(runs, About(saves=tmp_path, when="now", version="1"))
    text = html(page, Language.EN)
    assert len(text.encode()) < 1_000_000
    assert all(f"#{number} m/lora/{number - 1}<" in text for number in (1, 150, 300))
    assert text.count('<svg class="chart"') == 2 * 40
    assert "This section shows 40 of 300 runs" in text


def test_what_a_search_decided_is_chinese_in_the_chinese_report(tmp_path: Path) -> None:
    """From tune.json, which has both; an older one has English alone."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    decided = {"sentence": "Keeping the baseline.", "sentence_zh": "保留基线。"}
    (folder / "tune.json").write_text(json.dumps({"decision": decided}), encoding="utf-8")
    write_report(read_runs(saves), saves, Wanted(output=saves), when="now")
    chinese = (saves / "report.zh-CN.md").read_text(encoding="utf-8")
    assert "保留基线。" in chinese
    assert "Keeping the baseline." not in chinese
    assert "Keeping the baseline." in (saves / "report.md").read_text(encoding="utf-8")
    (folder / "tune.json").write_text(json.dumps({"decision": {"sentence": "Only English."}}))
    write_report(read_runs(saves), saves, Wanted(output=saves), when="now")
    assert "Only English." in (saves / "report.zh-CN.md").read_text(encoding="utf-8")
