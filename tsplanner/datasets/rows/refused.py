"""Forms of rows that are known and not trained: each is refused by its name."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from memory_models.frozen import frozen
from tsplanner.datasets.records import Fault
from tsplanner.datasets.rows.fields import Fields, RowError, listed

MEDIA = (
    "image", "images", "image_path", "image_paths", "image_url", "image_urls", "pixel_values",
    "video", "videos", "video_path", "audio", "audios", "audio_path", "speech",
)  # fmt: skip
"""Fields that other trainers read images, films and sounds from."""
RATINGS = ("label", "rating", "desirable", "thumbs_up")
"""Fields that rate one answer, where they hold true or false; other values only describe a row."""
YES_OR_NO = frozenset({b"true", b"false", b'"true"', b'"false"', b'"True"', b'"False"'})


@frozen
class RefusedForm:
    """A known form that is not trained."""

    fault: Fault
    name: str
    signs: tuple[frozenset[str], ...]
    """Sets of fields; a row that has all fields of one of them has this form."""
    advice: str


def _signs(*texts: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(text.split()) for text in texts)


PREFERENCE = RefusedForm(
    fault=Fault.PREFERENCE,
    name="a preference pair (DPO, ORPO, reward models)",
    signs=_signs(
        "chosen", "rejected", "rejected_response", "rejected_responses", "rejected_messages",
        "preferred_output", "non_preferred_output",
        "rejected_answer", "rejected_output", "rejected_completion", "chosen_response",
        "response_j response_k", "response_0 response_1", "response_a response_b",
        "conversation_a conversation_b", "output_1 output_2", "completion_a completion_b",
    ),
    advice="keep the better answer alone, as a question with an answer",
)  # fmt: skip
RATING = RefusedForm(
    fault=Fault.RATING,
    name="an unpaired rating (KTO)",
    signs=_signs("kto_tag"),
    advice="keep the good answers, or name the fields with --columns to train on all",
)
REWARD = RefusedForm(
    fault=Fault.REWARD,
    name="an answer with a reward or a rank",
    signs=_signs("reward", "rewards", "rank", "ranks"),
    advice="keep the best answers, or name the fields with --columns to train on all",
)
CLASSES = RefusedForm(
    fault=Fault.CLASSES,
    name="a text with a class",
    signs=_signs(
        "text label", "text labels", "content label", "sentence label", "review label",
        "tokens ner_tags", "tokens tags",
    ),
    advice="name the columns with --columns prompt=…,answer=… to train the class as an answer",
)  # fmt: skip
PAIRS = RefusedForm(
    fault=Fault.PAIRS,
    name="a pair of texts for embeddings or entailment",
    signs=_signs(
        "anchor positive", "query pos", "query positive", "query passages",
        "sentence1 sentence2", "sentence_a sentence_b", "premise hypothesis",
    ),
    advice="give questions with answers, dialogues or plain text",
)  # fmt: skip
MESSAGE = RefusedForm(
    fault=Fault.NO_FORM,
    name="one message of a dialogue in a row of its own",
    signs=_signs("text role", "content role", "value from", "text message_tree_id"),
    advice="gather the messages of a dialogue in one row, under messages",
)
SEVERAL = RefusedForm(
    fault=Fault.REWARD,
    name="a question with several answers",
    signs=_signs("responses", "completions", "candidates", "generations"),
    advice="keep the best answer alone, as a question with an answer",
)
PROMPTS = RefusedForm(
    fault=Fault.REWARD,
    name="a question with a check in place of an answer (GRPO, PPO)",
    signs=_signs("reward_model", "ground_truth", "verification_info"),
    advice="give a question with an answer",
)
TOKEN_IDS = RefusedForm(
    fault=Fault.TOKEN_IDS,
    name="a row of token ids",
    signs=_signs("input_ids", "token_ids"),
    advice="give the text, which is tokenised for the model at hand",
)

ALWAYS = (PREFERENCE, RATING, REWARD)
"""Refused even where a question with an answer or a dialogue stands beside."""
WITHOUT_ANSWER = (CLASSES, PAIRS, MESSAGE)
"""Refused where there is neither a dialogue nor a question with an answer."""
WITHOUT_TEXT = (SEVERAL, PROMPTS, TOKEN_IDS)
"""Refused where nothing else can be read."""


def refuse(forms: Iterable[RefusedForm], names: Collection[str]) -> None:
    """Raise RowError if fields with these names have one of the forms."""
    have = frozenset(names)
    for form in forms:
        sign = next((sign for sign in form.signs if sign <= have), None)
        if sign is not None:
            raise refusal(form, sorted(sign))


def refusal(form: RefusedForm, names: Iterable[str]) -> RowError:
    """The error for a row of a form that is not trained."""
    return RowError(
        f"is {form.name} by {listed(names)}, which is not trained: {form.advice}", form.fault
    )


def refuse_media(row: Fields, names: Iterable[str]) -> None:
    """Raise RowError if one of these fields holds an image, a film or a sound."""
    for name in names:
        if row.holds(name):
            raise RowError(
                f"{name} is not empty, and only text and series are trained", Fault.MEDIA
            )


def refuse_ratings(row: Fields, names: Iterable[str]) -> None:
    """Raise RowError if one of these fields rates the answer."""
    for name in names:
        if bytes(row[name]) in YES_OR_NO:
            raise refusal(RATING, [name])
