"""Rows by a table of words have the ids and the loss of the whole row's own encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.rows import conversation
from tests.support.tokenizer_files import ADDED, SCRAPS, SENTENCES, byte_level, saved
from tsplanner.datasets.rendering.fixed import ChatTSRenderer
from tsplanner.datasets.rendering.pieces import Piece
from tsplanner.datasets.tokens import tokenizer as module
from tsplanner.datasets.tokens.cuts import PATTERNS
from tsplanner.datasets.tokens.library import prepared
from tsplanner.datasets.tokens.tokenizer import (
    EstimatingTokenizer,
    Tokenizer,
    WholeTokenizer,
    WordTokenizer,
    estimated_tokens,
    tokenizer_of,
    tokenizer_over,
)
from tsplanner.errors import TsplannerError

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("numpy")

TINY = Path(__file__).resolve().parents[3] / "configs" / "models" / "tiny-chatts"
SOURCES = [*PATTERNS, None, "tiny-chatts"]
ACCENT = "\N{COMBINING ACUTE ACCENT}"
BLANKS = [" ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u3000", "\u00a0", "\u2028", "\x1c"]
SIGNS = [".", ",", "/", "'", "'s", "'LL", "-", "=", '"', "(", "|", "_", "\x00", "…", "“", "、"]
WORDS = [
    "Load",
    "valve",
    "A",
    "aB",
    "é",
    f"e{ACCENT}",
    ACCENT,
    "\u0338",
    "水泵",
    "Жизнь",
    "\u017f",
    "🙂",
]
DIGITS = ["1", "42", "10000", "²", "½", "٣", "offset=-1.5"]
TEXTS = st.lists(st.sampled_from([*BLANKS, *SIGNS, *WORDS, *DIGITS, *SCRAPS, *ADDED]), max_size=16)
PIECE = st.builds(
    lambda parts, learned: Piece(text="".join(parts), learned=learned), TEXTS, st.booleans()
)
ROWS = st.lists(st.lists(PIECE, max_size=5), min_size=1, max_size=3)


@pytest.fixture(scope="module", params=SOURCES, ids=range(len(SOURCES)))
def both(request) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizer by words, and the library alone."""
    if request.param == "tiny-chatts":
        library = tokenizers.Tokenizer.from_file(str(TINY / "tokenizer.json"))
    else:
        library = byte_level(request.param, nfc=request.param is not None)
    document = library.to_str().encode()
    by_words = tokenizer_over(prepared(library), document)
    assert isinstance(by_words, WordTokenizer)
    return by_words, tokenizer_over(library, document, by_words=False)


@settings(deadline=None, max_examples=250)
@given(rows=ROWS)
@example(rows=[[Piece(text="a  5"), Piece(text="  5 ", learned=True), Piece(text="")], []])
@example(rows=[[Piece(text="x\n"), Piece(text="\ny", learned=True), Piece(text="\n/z")]])
@example(rows=[[Piece(text="="), Piece(text="\u0338", learned=True)]])
@example(rows=[[Piece(text="(\n/'s")]])
def test_rows_by_words_are_those_of_the_library(both, rows) -> None:
    """White space, accents, digits, added tokens, ends of pieces: ids and loss are the same."""
    by_words, whole = both
    expected = whole.rows(rows)
    assert by_words.rows(rows) == expected
    counted = by_words.rows(rows, ids=False)
    assert [len(row.ids) for row in counted] == [len(row.ids) for row in expected]
    assert [row.learned for row in counted] == [row.learned for row in expected]


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=60))
def test_any_text_keeps_its_ids(both, text) -> None:
    """Text of any characters."""
    by_words, whole = both
    row = [Piece(text=SENTENCES[0]), Piece(text=text, learned=True), Piece(text=SENTENCES[1])]
    assert by_words.rows([row]) == whole.rows([row])


@pytest.mark.slow
def test_sources_and_documents_keep_their_ids(both) -> None:
    """The library's own sources and READMEs of this environment, a megabyte."""
    by_words, whole = both
    folder = Path(tokenizers.__file__).parents[1]
    files = [path for kind in ("*.py", "*.md", "*.rst") for path in sorted(folder.rglob(kind))]
    texts = [path.read_text(errors="replace")[:20_000] for path in files[:: len(files) // 60]]
    rows = [[Piece(text=text[:500]), Piece(text=text[500:], learned=True)] for text in texts]
    assert by_words.rows(rows) == whole.rows(rows)


def test_series_are_told_in_words_that_are_known(both) -> None:
    """The figures of series differ in their digits alone."""
    by_words, whole = both
    series = ((1.0, 2.5, 900.25), (0.001, -7.0))
    rows = [ChatTSRenderer().pieces(conversation("Load <ts><ts/> <ts><ts/>", "Up.", series))]
    assert by_words.rows(rows) == whole.rows(rows)


def test_a_full_table_is_emptied(monkeypatch) -> None:
    """Three words fit; the ids stay right."""
    monkeypatch.setattr("tsplanner.datasets.tokens.words.MOST_WORDS", 3)
    library = byte_level()
    by_words = tokenizer_over(library, library.to_str().encode())
    whole = tokenizer_over(library, b"", by_words=False)
    for sentence in (*SENTENCES, *SENTENCES):
        assert by_words.rows([[Piece(text=sentence)]]) == whole.rows([[Piece(text=sentence)]])


def test_a_long_row_is_given_to_the_library(monkeypatch) -> None:
    """Its arrays would take twenty times its size."""
    monkeypatch.setattr(module, "LONG_GROUP", 100)
    library = byte_level()
    by_words = tokenizer_over(library, library.to_str().encode())
    rows = [[Piece(text="valve " * 50, learned=True)], [Piece(text="pump")]]
    monkeypatch.setattr(module, "GROUP_BYTES", 10)
    found = by_words.rows(rows)
    assert found == tokenizer_over(library, b"", by_words=False).rows(rows)
    assert found[0].learned == ((0, len(found[0].ids)),)


def test_the_folder_decides_which_tokenizer_it_is(tmp_path) -> None:
    """No tokenizer.json: estimated; many rows: by words; an unknown pattern: the library."""
    assert isinstance(tokenizer_of(tmp_path, by_words=True), EstimatingTokenizer)
    assert isinstance(tokenizer_of(None, by_words=True), EstimatingTokenizer)
    saved(byte_level(), tmp_path)
    assert isinstance(tokenizer_of(tmp_path, by_words=True), WordTokenizer)
    assert isinstance(tokenizer_of(tmp_path, by_words=False), WholeTokenizer)
    saved(byte_level(r"\w+|\W+"), tmp_path)
    assert isinstance(tokenizer_of(tmp_path, by_words=True), WholeTokenizer)


def test_a_damaged_tokenizer_is_named(tmp_path) -> None:
    """The sentence names the file and the way out."""
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TsplannerError, match=r"tokenizer\.json cannot be read .*fetch the file"):
        tokenizer_of(tmp_path, by_words=True)


def test_estimated_rows_count_each_piece() -> None:
    """Eight letters are two tokens, two digits are two; the answer carries loss."""
    (row,) = EstimatingTokenizer().rows([[Piece(text="abcdefgh"), Piece(text="12", learned=True)]])
    assert len(row.ids) == 4
    assert row.learned == ((2, 4),)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("12.5", 4), ("日本", 2)]
)
def test_estimated_tokens_counts_digits_and_foreign_letters_singly(text, tokens) -> None:
    """Four characters of English are one token, a digit or a Chinese character is one each."""
    assert tokens == estimated_tokens(text)


def test_an_answer_has_a_token_however_short_it_is() -> None:
    """Two letters would be one token together; the answer of one of them is learned anyway."""
    (row,) = EstimatingTokenizer().rows([[Piece(text="a"), Piece(text="b", learned=True)]])
    assert (len(row.ids), row.learned) == (2, ((1, 2),))
