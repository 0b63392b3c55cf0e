#!/usr/bin/env bash
# generate(do_sample=False) on a model whose folder brings a generation_config.json. Date: 2026-11-30
#
# Guess: do_sample=False is greedy: the answer is the argmax of every step, whatever the folder says, and what
# contradicts it is ignored with a warning. We took sample answers after each evaluation that way, to tell
# whether a fine-tuned model says another word.
#
# Behaviour seen: of a folder's settings temperature, top_k and top_p are ignored, as guessed, in silence.
# repetition_penalty, no_repeat_ngram_size and num_beams apply, in silence as well: with a penalty of 1.1, as
# instruct models ship it for sampling, "greedy" answers are other tokens than the argmax; and num_beams turns
# greedy search into beam search. Exact-match scores before and after a fine-tune then measure the folder's
# penalty too: it lowers what prompt and answer share, such as names, numbers and JSON keys.
# Way out: a GenerationConfig of one's own for the call, with nothing of the folder's but token ids.
#
# Output seen (exit status 0): the lines at the end of this file.
#
# Needs a pip index; no GPU and no model download (a random Llama of two layers).
# Exits 0 only if transformers behaves as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1
cat >"$work/check.py" <<'PYTHON'
import io, logging, tempfile, warnings
import torch, transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
made = LlamaForCausalLM(LlamaConfig(vocab_size=48, hidden_size=32, intermediate_size=64,
                                    num_hidden_layers=2, num_attention_heads=4))
prompt = torch.tensor([[3, 5, 7, 3, 5, 7]])
rows = prompt
with torch.no_grad():
    for _ in range(12):
        rows = torch.cat([rows, made.eval()(rows).logits[:, -1:].argmax(-1)], 1)
logger = logging.getLogger("transformers")

def outcome(words, **settings):
    folder = tempfile.mkdtemp()
    made.save_pretrained(folder)
    GenerationConfig(do_sample=True, pad_token_id=0, **settings).save_pretrained(folder)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                               max_new_tokens=12)
    logger.removeHandler(handler)
    same = "argmax" if torch.equal(found, rows) else "other tokens"
    print(f"{words}: {same}, {'said' if warned or said.getvalue() else 'nothing said'}")

print(f"transformers {transformers.__version__}")
outcome("temperature 0.6, top_k 20, top_p 0.9", temperature=0.6, top_k=20, top_p=0.9)
outcome("repetition_penalty 1.1", repetition_penalty=1.1)
outcome("no_repeat_ngram_size 3", no_repeat_ngram_size=3)
outcome("num_beams 4", num_beams=4)
PYTHON
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "numpy==2.4.6"
"$work/venv/bin/python" "$work/check.py" 2>/dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
transformers 5.24.0
temperature 0.6, top_k 20, top_p 0.9: argmax, nothing said
repetition_penalty 1.1: other tokens, nothing said
no_repeat_ngram_size 3: other tokens, nothing said
num_beams 4: other tokens, nothing said
SEEN
