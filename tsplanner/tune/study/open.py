"""Opens a study, or makes it, and refuses one whose trials cannot be compared with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.tune.search.encoding import Places
from tsplanner.tune.study.fingerprint import subject_of
from tsplanner.tune.study.remote import PLAN, carry_plan
from tsplanner.tune.study.storage import Place, reason

FORMAT = 2
"""Of what a study keeps of a trial; those before drew the held-out rows by another seed."""


def open_study(
    folder: Path, plan: Plan, where: Places | None, place: Place, sampler: Any
) -> tuple[Any, Places]:
    """Optuna's study, and where all its workers search.

    ``where`` is what a new study searches (None: it must exist). Raises TsplannerError, with
    nothing changed, for a damaged or foreign place and for a study of another subject.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with place.lock:
            study = _found(optuna, place, sampler, may_make=where is not None)
            _check(study, plan, folder)
            if place.apart and PLAN not in study.user_attrs:
                carry_plan(study, plan)
            return study, _settled(study, where, place)
    except TsplannerError:
        raise
    except OSError as error:
        sentence = runs.disk_error_sentence(error, folder)
        raise TsplannerError(sentence or f"{place.shown} cannot be used: {error}.") from error
    except Exception as error:  # json, key and lock errors of a damaged or foreign place
        words = f"{type(error).__name__}: {reason(error)}"
        raise TsplannerError(
            f"{place.shown} cannot be opened as a search ({words}): it is left as it is; search "
            "in a new run folder."
        ) from error


def _found(optuna: Any, place: Place, sampler: Any, *, may_make: bool) -> Any:
    options = {"study_name": place.name, "storage": place.storage, "sampler": sampler}
    try:
        return optuna.load_study(**options)
    except KeyError:
        if not may_make:
            raise TsplannerError(f"{place.shown} holds no search.") from None
        return optuna.create_study(**options, direction="minimize")


def _check(study: Any, plan: Plan, folder: Path) -> None:
    """Refuse a study of another subject, or of a version whose trials cannot be compared."""
    subject, attributes = subject_of(plan), study.user_attrs
    known = attributes.get("subject")
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("format", FORMAT)
        study.set_user_attr("subject", subject)
        return
    if known is None or attributes.get("format") != FORMAT:
        raise TsplannerError(
            f"{folder} holds a search by another version of tsplanner, whose trials cannot be "
            "compared with this one's: it is left as it is; search in a new run folder."
        )
    changed = next((key for key in subject if subject[key] != known.get(key)), None)
    if changed is not None:
        raise TsplannerError(
            f"{folder} holds a search with another {changed} ({known.get(changed)}, now "
            f"{subject[changed]}): resume it with its own plan, or search in a new run folder."
        )


def _settled(study: Any, where: Places | None, place: Place) -> Places:
    """Where all workers search: as noted when the study was made, whatever is free now."""
    known = study.user_attrs.get("places")
    if known is not None:
        return msgspec.convert(known, Places)
    if where is None:
        raise TsplannerError(f"{place.shown} holds no search that has begun.")
    study.set_user_attr("places", msgspec.to_builtins(where))
    return where
