"""The plan that pins exactly one measured case, for the worker that all runs go through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memory_models.settings import changed
from memory_models.states.weights import total_parameters
from tsplanner.models.source import read_model
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.gather.cases import Case
from tsplanner.planner.plan import ModelRef, no_dataset
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import split_settings


def plan_of(case: Case, given: dict[str, Any], machine: Any) -> Any:
    """The plan that pins exactly this case."""
    settings = case.settings
    source = read_model(given["model"])
    learning, hardware = split_settings(settings)
    if not machine.devices:
        hardware = replace(hardware, accelerator="cpu")
    length = settings.sequence_length
    request = PlanRequest(
        architecture=case.architecture,
        model=ModelRef(
            name=given["model"],
            path=None,
            model_type=case.architecture.model_type,
            parameters_total=total_parameters(case.architecture),
            parameters_trainable=0,
            config=source.config,
            architecture=case.architecture,
        ),
        dataset=changed(no_dataset(length), most_patches=settings.series_patches),
        machine=machine,
        learning=learning,
    )
    return finish(request, evaluate(request, hardware))
