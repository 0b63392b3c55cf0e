"""How trainers read dialogues otherwise than our worker, each with a case that shows it."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.reliability.trainer_rows.cases import Case


class Difference(NamedTuple):
    """One disagreement and its reason."""

    case: Case
    word: str
    """The outcome of the case."""
    what: str
    """The reason, as docs/your-data.md has it."""


def _of(trainer: str, template: str, form: str, word: str, what: str) -> Difference:
    return Difference(Case(trainer, template, form), word, what)


DIFFERENCES: tuple[Difference, ...] = (
    _of(
        *("trl", "mistral_v1", "alpaca", "refused"),
        "finds answers only by generation marks, or in templates that it knows letter by letter "
        "and replaces; others it refuses (Llama 3.2, Mistral), and without a template it stops with "
        "a TypeError",
    ),
    _of(
        *("trl", "gemma3", "alpaca", "mask"),
        "learns the line end after the mark that ends an answer (Qwen, Gemma, Phi)",
    ),
    _of(
        *("trl", "deepseekv3", "alpaca", "mask"),
        "learns the heading that opens the answer (DeepSeek)",
    ),
    _of(
        *("trl", "qwen3", "messages, two exchanges", "ids"),
        "renders by its own template, which gives earlier answers an empty block of thoughts "
        "(Qwen3) or an end that the model's template does not write (GLM)",
    ),
    _of(
        *("trl", "llama3", "messages, weights", "mask"),
        "has no word for turns that carry no loss, and learns them",
    ),
    _of(
        *("trl", "llama3", "longer than the cutoff", "ids"),
        "cuts at the token, in the middle of an answer",
    ),
    _of(
        *("trl", "llama3", "a question alone over the cutoff", "rows 0/3"),
        "drops a row of which no answer is left after the cut, without a word",
    ),
    _of(
        *("llamafactory", "qwen2_5", "alpaca", "mask"),
        "learns the line end after the mark that ends an answer (Qwen)",
    ),
    _of(
        *("llamafactory", "ChatML with marks", "longer than the cutoff", "ids"),
        "cuts every exchange in proportion to its question and its answer",
    ),
    _of(
        *("llamafactory", "qwen2_5", "messages, weights", "mask"),
        "has no word for turns that carry no loss, and learns them",
    ),
    _of(
        *("llamafactory", "llama3", "blanks at the end", "ids"),
        "keeps blanks that the model's template takes away (Llama 3, Cohere)",
    ),
    _of(
        *("llamafactory", "phi3", "alpaca", "ids"),
        "tokenises every turn apart, so that a tokenizer that begins words with a blank adds one to "
        "each turn (Phi-3, Mistral)",
    ),
    _of(
        *("llamafactory", "lfm2", "messages, two exchanges", "ids"),
        "parses the template of a family that it has no name for, and then begins every later "
        "question with the begin token again",
    ),
    _of(
        *("llamafactory", "falcon_h1", "messages, tools", "ids"),
        "writes the tools of a parsed template in words of its own",
    ),
    _of(
        *("llamafactory", "no template", "alpaca", "ids"),
        "gives a model without a template the bare texts, and no token that ends an answer",
    ),
    _of(
        *("axolotl", "gemma3", "alpaca", "mask"),
        "learns the end of an answer only where that is the tokenizer's `eos_token` (not with Gemma "
        "and Phi-3: name it in `eot_tokens`)",
    ),
    _of(
        *("axolotl", "qwen3", "alpaca", "mask"),
        "does not learn the empty block of thoughts that the template writes (Qwen3, GLM)",
    ),
    _of(
        *("axolotl", "llama3", "longer than the cutoff", "ids"),
        "cuts at the token, in the middle of an answer",
    ),
    _of(
        *("axolotl", "deepseekv3", "messages, tools", "refused"),
        "stops at a call of a tool where the template takes its arguments for a text (DeepSeek)",
    ),
)
