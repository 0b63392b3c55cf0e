"""What workers without a shared folder read from the database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tsplanner.tune.study.remote import carried_losses, write_carried_losses


def test_rows_travel_in_the_database_where_no_folder_is_shared(tmp_path: Path) -> None:
    """Another machine gets the files that trials are compared by; large ones are left out."""
    here, there = tmp_path / "here", tmp_path / "there"
    for number, row in ((0, "[[1.5, 10]]"), (1, "[[1.5, 10]]" * 20_000)):
        (here / str(number)).mkdir(parents=True)
        (here / str(number) / "eval_rows.json").write_text(row)
    trials = [
        SimpleNamespace(number=number, user_attrs=carried_losses(here / str(number)))
        for number in (0, 1)
    ]
    assert trials[1].user_attrs == {"rows": None}
    write_carried_losses(trials, there)
    assert (there / "0" / "eval_rows.json").read_text() == "[[1.5, 10]]"
    assert not (there / "1").exists()
