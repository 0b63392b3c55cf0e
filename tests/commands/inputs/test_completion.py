"""Completion scripts, tried in the shells that are here."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tsplanner.commands.inputs.completion import SHELLS, completion, print_completion
from tsplanner.commands.inputs.verbs import VERBS
from tsplanner.errors import UsageError


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    script = (
        f"{completion('bash')}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tsplanner; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_bash_completes_verbs_flags_and_choices() -> None:
    """And leaves file names to itself where a flag takes anything."""
    assert completed("tsplanner", "pl") == ["plan"]
    assert set(completed("tsplanner", "")) == {*VERBS, "help"}
    assert completed("tsplanner", "plan", "--lora-ra") == ["--lora-rank"]
    assert completed("tsplanner", "estimate", "--attention", "s") == ["sdpa"]
    assert completed("tsplanner", "plan", "--attention", "flash") == ["flash_attention_2"]
    assert completed("tsplanner", "plan", "--model", "q") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_its_script(shell: str) -> None:
    """Without running it."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    done = subprocess.run(
        [shell, "-n"], check=False, input=completion(shell), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_gets_quotes_that_it_reads() -> None:
    """A summary may hold an apostrophe."""
    lines = completion("fish").splitlines()
    assert any("machine\\'s cards" in line for line in lines)
    assert any(line.endswith("-l zero-stage -x -a '0 1 2 3'") for line in lines)


def test_another_shell_is_a_sentence() -> None:
    """With those that are known."""
    with pytest.raises(UsageError, match=r'knows bash, zsh, fish, not "bsh"\. Did you mean "bash"'):
        print_completion("bsh")
