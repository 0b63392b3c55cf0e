"""Rows of embedding and head on several processes, for which threads stand."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: E402

from memory_models.activations.lm_head import LmHead, fused_rows, shares_head  # noqa: E402
from memory_models.activations.peaks import pareto_peaks  # noqa: E402
from memory_models.settings import LossKernel, TrainingSettings, from_flat  # noqa: E402
from memory_models.symbolic import Size  # noqa: E402
from tests.support.small_models import CONFIGS  # noqa: E402
from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.models.source import read_architecture  # noqa: E402
from tsplanner.training.fully_sharded.sharers import Sharers  # noqa: E402
from tsplanner.training.fully_sharded.vocabulary import (  # noqa: E402
    share_embedding,
    share_head,
)
from tsplanner.training.kernels.fused_loss import (  # noqa: E402
    LogitChanges,
    fused_cross_entropy,
)
from tsplanner.training.kernels.row_losses import mean_losses  # noqa: E402

CPU = torch.device("cpu")


class Threads:
    """Processes that share a base out, as threads that wait for one another."""

    def __init__(self, count: int) -> None:
        self.count, self.barrier = count, threading.Barrier(count)
        self.slots: list[Any] = [None] * count

    def everybody(self, rank: int, mine: Any) -> list[Any]:
        """What each of them has."""
        self.slots[rank] = mine
        self.barrier.wait(10)
        found = list(self.slots)
        self.barrier.wait(10)
        return found

    def run(self, work: Callable[[Threaded], Any]) -> list[Any]:
        """What every process finds."""
        with ThreadPoolExecutor(self.count) as pool:
            return list(
                pool.map(lambda rank: work(Threaded(rank, self.count, self)), range(self.count))
            )


class Threaded(Sharers):
    """One of the threads."""

    def __init__(self, rank: int, count: int, threads: Threads) -> None:
        super().__init__(rank, count)
        self.__dict__["threads"] = threads

    def _all(self, mine: Any) -> list[Any]:
        found: list[Any] = self.__dict__["threads"].everybody(self.rank, mine)
        return found

    def largest(self, numbers: list[int]) -> list[int]:
        """Of the threads."""
        return [max(each) for each in zip(*self._all(numbers), strict=True)]

    def gathered(self, rows: Any) -> Any:
        """Of the threads."""
        return torch.cat(self._all(rows))

    def scattered(self, rows: Any, count: int) -> Any:
        """Of the threads."""
        start = self.rank * count
        return sum(self._all(rows))[start : start + count]


class Twice(Sharers):
    """One of two processes, of which the other has the same rows."""

    def largest(self, numbers: list[int]) -> list[int]:
        """As its own."""
        return numbers

    def gathered(self, rows: Any) -> Any:
        """Its own, twice."""
        return torch.cat([rows, rows])

    def scattered(self, rows: Any, count: int) -> Any:
        """Its own part."""
        return rows[:count].clone()


def test_rows_are_shared_out_to_the_last() -> None:
    """11 rows of three: 3, 4 and 4."""
    found = [Sharers(rank, 3).own_rows(11) for rank in range(3)]
    assert found == [range(3), range(3, 7), range(7, 11)]


@pytest.mark.parametrize("count", [2, 3])
def test_an_embedding_gives_every_process_its_rows(count: int) -> None:
    """To the bit, though the processes ask for unequally many."""
    whole = torch.nn.Embedding(11, 4)
    ids = [torch.randint(0, 11, (1, 3 + 2 * rank)) for rank in range(count)]

    def work(process: Threaded) -> Any:
        mine = torch.nn.Embedding(11, 4)
        mine.weight = whole.weight
        share_embedding(mine, CPU, process)
        assert mine.weight.shape[0] in (11 // count, 11 // count + 1)
        return mine(ids[process.rank])

    for rank, found in enumerate(Threads(count).run(work)):
        assert torch.equal(found, whole(ids[rank]))


@pytest.mark.parametrize("changes", [LogitChanges(), LogitChanges(0.5, 3.0)])
@pytest.mark.parametrize("lengths", [(9, 9), (17, 2), (9, 1), (5, 8, 13)])
def test_losses_and_gradients_are_those_of_a_whole_head(
    changes: LogitChanges, lengths: tuple[int, ...]
) -> None:
    """A batch of one position has no row with a label, and its process helps the others."""
    torch.manual_seed(0)
    whole = torch.nn.Linear(8, 29, bias=True).requires_grad_(False)
    given = [torch.randn(1, length, 8) for length in lengths]
    labels = [torch.randint(0, 29, (1, length)) for length in lengths]
    labels[0][0, 1:3] = -100

    def loss_of(head: Any, rank: int) -> tuple[Any, Any]:
        states = given[rank].clone().requires_grad_()
        loss = fused_cross_entropy(
            states, head, labels[rank], num_items_in_batch=7, changes=changes
        )
        loss.backward()
        return loss.detach(), states.grad

    def work(process: Threaded) -> Any:
        head = torch.nn.Linear(8, 29, bias=True).requires_grad_(False)
        head.load_state_dict(whole.state_dict())
        share_head(head, CPU, process)
        return loss_of(head, process.rank)

    for rank, (loss, gradient) in enumerate(Threads(len(lengths)).run(work)):
        expected, slope = loss_of(whole, rank)
        assert torch.allclose(loss, expected, atol=1e-6)
        assert torch.allclose(gradient, slope, atol=1e-6)


def test_a_shared_out_head_makes_no_logits() -> None:
    """Its own rows alone would be wrong ones."""

    def work(process: Threaded) -> None:
        head = torch.nn.Linear(4, 8)
        share_head(head, CPU, process)
        with pytest.raises(TsplannerError, match="whole lm_head"):
            head(torch.zeros(1, 4))

    Threads(2).run(work)


def test_rows_of_a_pass_are_judged_together() -> None:
    """One process has three rows in its pass and the other has one; each has its own mean."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": False}
    whole = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads)).requires_grad_(False)
    cut = [[4, 3, 5], [6]]
    states = [torch.randn(1, sum(own), 16) for own in cut]
    labels = [torch.randint(0, 32, (1, sum(own))) for own in cut]
    for own, targets in zip(cut, labels, strict=True):
        targets[0, [sum(own[:place]) for place in range(len(own))]] = -100

    def work(process: Threaded) -> Any:
        rank = process.rank
        model = deepcopy(whole)
        share_head(model.lm_head, CPU, process)
        return mean_losses(model, states[rank], labels[rank], cut[rank], fused=True)

    for rank, found in enumerate(Threads(2).run(work)):
        expected = mean_losses(whole, states[rank], labels[rank], cut[rank], fused=True)
        assert torch.allclose(torch.stack(found), torch.stack(expected), atol=1e-6)


class Living(TorchDispatchMode):
    """The most bytes of the tensors that operators make, beside those that are given."""

    def __init__(self, *given: Any) -> None:
        super().__init__()
        self.alive: dict[int, Any] = {each.untyped_storage()._cdata: each for each in given}
        self.bytes = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count its storages that are new."""
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self._born(each.untyped_storage())
        return result

    def _born(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.bytes += size
            self.most = max(self.most, self.bytes)
            self.alive[key] = weakref.ref(storage, lambda _: self._died(key, size))

    def _died(self, key: int, size: int) -> None:
        self.alive.pop(key)
        self.bytes -= size


@pytest.mark.slow
def test_formula_and_trace_agree_on_a_chunk_of_all_processes() -> None:
    """Llama's shape with V 32,000, D 1,024 and 512 positions on two processes, within 1 %."""
    shape = read_architecture(CONFIGS["llama"], name="llama", source="test")
    settings = from_flat(
        TrainingSettings,
        world_size=2,
        fsdp=True,
        loss_kernel=LossKernel.FUSED,
        sequence_length=512,
        autocast=None,
    )
    assert shares_head(shape, settings.head)
    rows, vocabulary_size = fused_rows(shape, settings), shape.vocabulary.vocab_size
    head = torch.nn.Linear(shape.hidden_size, vocabulary_size, bias=False, dtype=torch.bfloat16)
    share_head(head.requires_grad_(False), CPU, Twice(0, 2))
    hidden = torch.randn(1, 512, shape.hidden_size, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(0, vocabulary_size, (1, 512))
    with Living(hidden, labels, head.weight) as living:
        fused_cross_entropy(hidden, head, labels)
    program = LmHead(shape, settings.head)
    stream = program.tape.new(Size(per_token=shape.hidden_size), 2)
    program._shared(stream)
    foretold = pareto_peaks(program.tape.levels).bytes(512, rows) - hidden.numel() * 2
    assert living.most == pytest.approx(foretold, rel=0.01)
