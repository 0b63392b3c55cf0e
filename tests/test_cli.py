"""The command line's own contract: verbs, flags, statuses."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tsplanner import __version__
from tsplanner.cli import VERBS, build_parser

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SUBJECT = (
    "--cpu --dataset --device --gpus --machine --model --node-link --nodes --on-bad-rows "
    "--tokenizer"
)
LEARNING = (
    "--adalora-init-rank --cutoff-len --effective-batch --epochs --finetuning-type "
    "--freeze-trainable-layers --learning-rate --lora-alpha --lora-dropout --lora-rank "
    "--lora-target --modules-to-save --rank-pattern --alpha-pattern --seed --sequence-length "
    "--timeseries-lr --validation-fraction --loss-on --max-steps --warmup-ratio --warmup-steps "
    "--weight-decay --max-grad-norm --neftune-noise-alpha --eval-steps --save-steps "
    "--early-stopping-patience --lr-scheduler-type --gradient-accumulation-steps"
)
PINS = (
    "--attention --checkpointed-layers --deepspeed --fsdp --fsdp-per-host --gradient-checkpointing "
    "--inputs-on-device "
    "--kernels --loss-kernel --micro-batch-size --model-dtype --offload-optimizer --offload-param "
    "--optimizer --passes-together --quantization --stream-from-files --streamed-layers "
    "--token-budget --upcast-unquantized --world-size --zero-stage"
)
FLAGS = {
    "plan": f"{SUBJECT} {LEARNING} {PINS} --allow-rounding --columns "
    "--cpu-threads --experiment --deadline --host-memory --json --no-corrections --output "
    "--price-per-hour --probe --probe-budget --rent --saves --trust-remote-code",
    "data": "--answer --by --columns --convert --cutoff-len --decimal-comma --json --labels --line "
    "--list --loss-on --model --on-bad-rows --question --show --step --time --to --tokenizer "
    "--values --whole --window",
    "estimate": f"{PINS} --fsdp-whole-model --adalora-init-rank --autocast --cases --cutoff-len "
    "--device --expandable-segments --gpus --finetuning-type "
    "--freeze-trainable-layers --gradient-accumulation-steps --hybrid-kernels --json "
    "--lora-dropout --lora-rank "
    "--lora-target --model --modules-to-save --nodes --rank-pattern --recipe --row-length "
    "--sequence-length --series-patches "
    "--trace --trust-remote-code",
    "probe": "--force --json --plan --saves --steps --time-limit --trust-remote-code",
    "tune": "--budget --concurrent-loras --epochs --force --jobs --join --json --learning-rate "
    "--lora-rank --pack --plan --random-weights --report-to --resume --run-folder "
    "--sample-answers --sample-tokens --saves --storage --trials --trust-remote-code",
    "train": "--force --json --no-value-check --plan --random-weights --report-to --resume "
    "--run-folder "
    "--sample-answers --sample-tokens --saves --trust-remote-code",
    "merge": "--cpu --force --json --model-dtype --output --trust-remote-code",
    "export": "--command --force --json --nodes --output --plan --random-weights --rows "
    "--run-folder --saves --template --time-limit --weights",
    "report": "--experiments --format --json --language --no-plots --output --saves",
    "models": "--json",
    "gpus": "--json",
    "serve": "--json --no-browser --port",
    "mcp": "--json",
    "state": "--clear --json",
    "doctor": "--for --json",
}
"""What scripts may rely on. A flag that goes, or changes its name, breaks somebody."""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return subprocess.run(
        [sys.executable, "-m", "tsplanner", *words],
        check=False,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_the_flags_of_a_verb_are_frozen(verb: str) -> None:
    """Removing or renaming one is a change that this list has to agree to."""
    verbs = next(
        action
        for action in build_parser(verb)._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    flags = {flag for action in verbs.choices[verb]._actions for flag in action.option_strings}
    assert flags - {"-h", "--help", "-q", "--quiet"} == set(FLAGS[verb].split())


def test_every_verb_is_frozen() -> None:
    """A new verb has its row above."""
    assert set(VERBS) == set(FLAGS)


def test_no_verb_prints_the_verbs_and_is_a_usage_error() -> None:
    """The help lists every verb with what it does."""
    done = run()
    assert done.returncode == 2
    for verb, summary in VERBS.items():
        assert verb in done.stdout
        assert summary.split(",")[0][:30] in done.stdout


@pytest.mark.parametrize(("word", "meant"), [("pln", "plan"), ("tain", "train"), ("prob", "probe")])
def test_a_misspelt_verb_gets_the_one_that_was_meant(word: str, meant: str) -> None:
    """And the list of all of them."""
    done = run(word)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f'tsplanner: no verb "{word}". Did you mean "{meant}"? Verbs: {", ".join(VERBS)}.\n'
    )


def test_flags_are_not_abbreviated() -> None:
    """A later flag must not change what an old script meant."""
    done = run("plan", "--mod", "qwen2.5-7b")
    assert done.returncode == 2
    assert 'Did you mean "--model"?' in done.stderr


def test_the_version_and_a_verbs_help_are_done_with_status_0() -> None:
    """Help ends with examples that can be pasted."""
    for words in ("--version",), ("-V",), ("version",):
        assert run(*words).stdout == f"tsplanner {__version__}\n"
    assert run("help", "plan").stdout == run("plan", "--help").stdout
    assert run("help").stdout == run("--help").stdout
    done = run("plan", "--help")
    assert done.returncode == 0
    assert "tsplanner plan --model chatts-14b" in done.stdout


def test_a_bug_is_status_3_with_the_path_of_its_log() -> None:
    """A person gets one sentence, the log has the traceback, JSON stays one document."""
    program = (
        "import sys, tsplanner.commands.estimate as verb\n"
        "def broken(*_, **__): raise ZeroDivisionError('of all things')\n"
        "verb.estimated = broken\n"
        "from tsplanner.cli import main\n"
        "sys.exit(main(['estimate', '--model', 'x', '--json']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    found = re.fullmatch(
        r"tsplanner: this is a bug of tsplanner; the log is in (\S+)\n", done.stderr
    )
    assert found is not None, done.stderr
    assert json.loads(done.stdout)["exit_status"] == 3
    log = Path(found.group(1))
    assert "ZeroDivisionError: of all things" in log.read_text(encoding="utf-8")
    log.unlink()


def test_ctrl_c_is_status_130_in_one_sentence() -> None:
    """No traceback, whatever was under way: here, waiting for cases."""
    with subprocess.Popen(
        [sys.executable, "-m", "tsplanner", "estimate", "--cases", "-"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        # Enough answers to fill a buffer: the first of them shows that the verb is running.
        child.stdin.write(b'{"model": "qwen2.5-0.5b"}\n' * 400)
        child.stdin.flush()
        assert child.stdout.read(1) == b"{"
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=30)
    assert child.returncode == 130
    assert error == b"tsplanner: interrupted\n"


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    """``tsplanner estimate --cases ... | head -1`` ends quietly."""
    with subprocess.Popen(
        [sys.executable, "-m", "tsplanner", "estimate", "--cases", "-"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        child.stdin.write(b'{"model": "qwen2.5-0.5b"}\n' * 200)
        child.stdin.close()
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--bogus"), "unrecognized arguments: --bogus. See tsplanner plan --help."),
        (
            ("plan", "--gpus"),
            "argument --gpus/--device: expected one argument. See tsplanner plan --help.",
        ),
        (
            ("estimate", "--quiet"),
            "--quiet and --json exclude each other: a document is not quiet.",
        ),
        (("plan", "--model", ""), "--model is empty: give it a value, or leave it out."),
        (("plan", "--model= "), "--model is empty: give it a value, or leave it out."),
        (("export", " "), "export is empty: give it a value, or leave it out."),
        (
            ("plan", "--lora-target", "q_proj", "v_proj"),
            "unrecognized arguments: v_proj. Several values of one flag are joined by commas. "
            "See tsplanner plan --help.",
        ),
        (("noverb",), f'no verb "noverb". Verbs: {", ".join(VERBS)}.'),
    ],
)
def test_a_wrong_call_is_a_document_too_where_one_was_asked_for(
    words: tuple[str, ...], said: str
) -> None:
    """With the sentence that a person reads, and no guess at a name that is not near."""
    done = run(*words, "--json")
    assert done.returncode == 2
    assert done.stderr == f"tsplanner: {said}\n"
    assert json.loads(done.stdout) == {"error": said, "exit_status": 2}


def test_a_message_is_short_and_on_one_line_whatever_was_given() -> None:
    """A name of a stranger's making can neither fill a screen nor steer it."""
    done = run("plan", "--model", "\x1b[2J\nforged" + "x" * 9000)
    assert done.returncode == 2
    assert len(done.stderr) <= 1020
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr
    assert "\\x1b[2J\\nforged" in done.stderr


def test_a_password_on_the_command_line_is_not_repeated() -> None:
    """A terminal's output is copied into issues."""
    done = run("tune", "--storag", "postgresql://me:secret word@host/d", "--json")
    assert done.returncode == 2
    assert "secret" not in done.stderr + done.stdout
    assert 'Did you mean "--storage"?' in done.stderr


def test_quiet_prints_nothing_but_errors() -> None:
    """The status says how it went, and files are written as ever."""
    done = run("models", "qwen", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("models", "voodoo", "-q")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('tsplanner: No preset and no model_type has "voodoo"')


def test_a_flag_of_another_verb_says_whose_it_is() -> None:
    """Where the verb has nothing like it."""
    assert "It is a flag of tsplanner export." in run("plan", "--template", "x").stderr
    assert "It is a flag of tsplanner" not in run("plan", "--bogus").stderr


def test_completion_is_a_script_on_stdout() -> None:
    """For a shell to read at its start."""
    done = run("--completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("complete -o default -F _tsplanner tsplanner\n")
    assert run("--completion", "powershell").returncode == 2
