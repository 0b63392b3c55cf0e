"""One of several processes that train in slices, a whole model or adapters; prints a pass's bytes.

Every storage that an operator makes or touches is followed until it dies, by its size at that
moment: FSDP2 empties storages and fills them again.
"""

from __future__ import annotations

import json
import os
import sys
import weakref
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen2Config, Qwen2ForCausalLM

from memory_models.settings import Sharding
from tsplanner.training.fully_sharded.trained import share_out_trained
from tsplanner.training.kernels.fused_loss import use_fused_loss

CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 4000,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
"""Small, with weights that are large beside the tensors of eight positions."""
POSITIONS = 8


class Living(TorchDispatchMode):
    """The most bytes of all storages that live, beyond those of what is given."""

    def __init__(self, static: Iterable[Any], before: Iterable[Any]) -> None:
        super().__init__()
        self.alive: dict[int, Any] = {}
        for each in static:
            self._follow(each)
        self.static = self.now
        for each in before:
            self._follow(each)
        self.most = 0

    @property
    def now(self) -> int:
        """Bytes at this moment."""
        storages = [each() for each in self.alive.values()]
        return sum(each.nbytes() for each in storages if each is not None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and look at what there is."""
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, result)):
            if isinstance(each, torch.Tensor):
                self._follow(each)
        self.most = max(self.most, self.now - self.static)
        return result

    def _follow(self, each: Any) -> None:
        storage = (each.to_local() if hasattr(each, "to_local") else each).untyped_storage()
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = weakref.ref(storage, lambda _: self.alive.pop(key, None))


def sliced_model(*, adapters: bool) -> Any:
    """A model in slices; with adapters as accelerate 1.13 wraps it, layers and one root."""
    options = {key: value for key, value in CONFIG.items() if key != "model_type"}
    model: Any = Qwen2ForCausalLM(Qwen2Config(**options))
    use_fused_loss(model)
    processes = dist.get_world_size()
    if not adapters:
        share_out_trained(model, torch.device("cpu"), Sharding(world_size=processes, fsdp=True))
        return model
    model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    for layer in model.get_base_model().model.layers:
        fully_shard(layer)
    return fully_shard(model)


def main() -> None:
    """Take two steps, and follow a pass of the third: its first, or its second."""
    torch.set_num_threads(1)
    which, trains = sys.argv[1:]
    earlier = which == "second"
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = sliced_model(adapters=trains == "adapters")
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, foreach=False)
    ids = torch.arange(POSITIONS).view(1, POSITIONS)
    for _ in range(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if earlier:
        model(input_ids=ids, labels=ids).loss.backward()
    weights = list(model.parameters())
    moments = [
        values[name] for values in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
    ]
    gradients = [each.grad for each in weights if each.grad is not None]
    with Living([*weights, *moments], gradients) as living:
        loss = model(input_ids=ids, labels=ids).loss
        forward, living.most = living.most, 0
        loss.backward()
    if dist.get_rank() == 0:
        found = {"static": living.static, "forward": forward, "backward": living.most}
        sys.stdout.write("\n" + json.dumps(found) + "\n")
        sys.stdout.flush()
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
