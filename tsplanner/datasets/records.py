"""Records of datasets, whatever the form of the rows and the format of the file."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen


class Role(StrEnum):
    """Who speaks in a turn; other names of the roles are translated by the readers."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    """The system text of newer OpenAI models; a template that does not know it gets a system."""
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class LossOn(StrEnum):
    """Which turns carry loss where a row does not say so itself."""

    ASSISTANT = "assistant"
    """Every answer of the assistant."""
    LAST = "last"
    """The last answer alone."""
    ALL = "all"
    """Every token of the row."""


@frozen
class ToolCall:
    """A call of a tool by the assistant."""

    name: str
    arguments: str
    """Text of a JSON object."""
    id: str = ""


@frozen
class Turn:
    """What one speaker says."""

    role: Role
    content: str = ""
    """Text; each ``<ts><ts/>`` in it stands for one series of a row with series."""
    thoughts: str = ""
    """Text that the assistant thought before the answer (``reasoning_content``)."""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    """Name of the speaker, or of the tool that answers."""
    tool_call_id: str = ""
    learned: bool | None = None
    """Whether the turn carries loss, as the row says; None: as `LossOn` says."""


@frozen
class Conversation:
    """One training row: turns, the tools that they may call, and what is attached to them.

    A row of plain text has ``text`` and no turns; it is learned whole and gets no template.
    """

    turns: tuple[Turn, ...] = ()
    text: str | None = None
    tools: str = ""
    """Text of a JSON list of tool definitions in OpenAI's form; empty: no tools."""
    timeseries: tuple[tuple[float, ...], ...] = field(default=())
    """Raw values, one tuple per ``<ts><ts/>`` of the turns, in their order."""
    images: tuple[str, ...] = ()
    """Names of image files, in the order in which the turns speak of them."""
    line: int
    """Line of the file (row of a table) where the row starts, counted from 1."""
    file: int = 0
    """Number of the file among the files of the dataset, counted from 0."""


class Fault(StrEnum):
    """What can be wrong with a row; dropped rows are counted by fault."""

    NOT_UTF8 = "not UTF-8"
    NOT_JSON = "not JSON"
    NOT_CSV = "not CSV"
    CELLS = "wrong number of cells"
    CUT_OFF = "last line cut off"
    MISSING_FIELD = "field missing"
    WRONG_TYPE = "field of a wrong type"
    RAGGED = "series not a flat list"
    NOT_A_NUMBER = "value not a usable number"
    EMPTY_SERIES = "empty series"
    TOO_MANY_POINTS = "series too long"
    SERIES_COUNT = "series and <ts><ts/> differ in number"
    LONE_MARKER = "lone <ts> or <ts/>"
    MARKER_IN_ANSWER = "<ts> in the answer"
    EMPTY_ANSWER = "empty answer"
    NO_DIALOGUE = "no question with an answer"
    ROLE = "unknown role"
    CALL = "call of a tool not readable"
    WEIGHT = "weight that is neither 0 nor 1"
    PART = "part of a content not read"
    MEDIA = "image, film or sound"
    SERIES = "time series for a model without an encoder"
    PREFERENCE = "preference data"
    RATING = "unpaired rating"
    REWARD = "scored answers"
    CLASSES = "text with a class"
    PAIRS = "pairs of texts for embeddings"
    TOKEN_IDS = "token ids already made"
    NO_FORM = "no known form"
    TEMPLATE = "refused by the model's chat template"
    OVER_CUTOFF = "text over cutoff_len"
    NOTHING_LEARNED = "nothing to learn"


@frozen
class DroppedRow:
    """A row that is not trained on, and the reason."""

    line: int
    fault: Fault
    reason: str
    file: int = 0
    """Number of the file among the files of the dataset, counted from 0."""


class Noticed(StrEnum):
    """What is noticed in rows that are trained on."""

    FILES = "files"
    FORM = "form"
    GUESS = "guessed"
    IGNORED = "not read"
    UNWRITTEN = "not written by the template"
    CUT = "cut"
    DUPLICATE = "same as an earlier row"
    BARE = "answer without a letter or digit"
    SPECIAL = "special token inside a turn"


@frozen
class Remark:
    """Something noticed in rows that are trained on."""

    kind: str
    """One of `Noticed`."""
    text: str
    rows: int
    first_line: int
    """Line of the first of these rows, counted from 1."""
    file: int = 0
    """Number of the file of the first of these rows."""


@frozen
class DataSource:
    """What a user names as a dataset."""

    paths: tuple[str, ...]
    """Files and folders."""
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our name of a field and the dataset's own name, as ``--columns`` gives them."""


@frozen
class ReadJob:
    """Which rows are read, and for which model."""

    source: DataSource
    cutoff_len: int
    encoder: TimeSeriesEncoder | None
    tokenizer_folder: str | None
    loss_on: str = LossOn.ASSISTANT


class OnBad(StrEnum):
    """What a reader does with a row it cannot use."""

    REFUSE = "refuse"
    """Stop with an error that names the row."""
    DROP = "drop"
    """Leave the row out and count the row."""


@frozen
class DroppedKind:
    """Dropped rows with the same fault."""

    fault: str
    rows: int
    first_lines: tuple[int, ...]
    """Lines of the first few of these rows, counted from 1."""
    example: str
    """The reason of the first of these rows."""


@frozen
class LengthBin:
    """One bar of a histogram: rows from ``shortest`` to ``longest`` positions, both included."""

    shortest: int
    longest: int
    rows: int


@frozen
class RowContent:
    """What the rows hold, besides their lengths."""

    learned: float | None = None
    """Tokens of the mean row that carry loss."""
    turns: float | None = None
    """Turns of the mean row."""
    remarks: tuple[Remark, ...] = ()
    """What was noticed in the rows: their forms, fields that were not read, guesses, cuts."""


@frozen
class LengthSummary:
    """What a plan needs of a dataset's lengths; positions are those of the decoder."""

    rows_total: int
    rows_kept: int
    longest: int
    """Positions of the longest kept sample, patches included."""
    mean: float
    """Positions of the mean row."""
    counted_by: str
    """``tokenizer``, ``estimate``, ``record`` or ``cutoff_len``."""
    longest_batch: int | None = None
    """Positions of the longest batch of several samples; None: the same number as ``longest``."""
    most_patches: int | None = None
    """Most patches of any sample; None: a quarter of its positions is assumed."""
    mean_text: float | None = None
    """Text tokens of the mean row; the rest of ``mean`` are patches."""
    quantiles: tuple[int, ...] = ()
    """Positions of padded samples at even shares of the rows, shortest to longest; empty: every row
    has ``mean`` positions."""
    histogram: tuple[LengthBin, ...] = ()
    """Number of kept rows by their positions."""
    dropped: tuple[DroppedKind, ...] = ()
    """Dropped rows by fault."""
    content: RowContent = RowContent()
