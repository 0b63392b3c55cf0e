"""Files that have changed are told from files that have not."""

from __future__ import annotations

from pathlib import Path

from tsplanner.datasets.records import DataSource, ReadJob
from tsplanner.datasets.stamps import read_stamps, stamp


def test_a_stamp_follows_the_size_and_the_time_of_a_file(tmp_path: Path) -> None:
    """A missing file has none."""
    file = tmp_path / "rows.jsonl"
    assert stamp(None) is stamp(file) is None
    file.write_text("{}\n")
    first = stamp(file)
    assert first is not None
    assert first[:2] == (str(file), 3)
    file.write_text("{}\n{}\n")
    assert stamp(file) != first


def test_rows_depend_on_templates_and_tokenizers(tmp_path: Path) -> None:
    """Weights and other files of the folder do not count."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("chat_template.jinja", "tokenizer_config.json", "config.json", "notes.txt"):
        (folder / name).write_text("x")
    source = DataSource(paths=(str(tmp_path / "rows.jsonl"),))
    job = ReadJob(source=source, cutoff_len=9, encoder=None, tokenizer_folder=str(folder))
    names = [Path(found[0]).name for found in read_stamps(job) if found is not None]
    assert names == ["rows.jsonl", "chat_template.jinja", "config.json", "tokenizer_config.json"]
