"""Opens a study, or makes it, and refuses one whose trials cannot be compared with new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from memory_models.settings.flat import nested_values
from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.encoding import SearchSpaceEncoding
from tsplanner.tune.study.fingerprint import fingerprint
from tsplanner.tune.study.leader import LEADER, OVER, TOTAL, WANTED
from tsplanner.tune.study.remote import PLAN, carry_plan
from tsplanner.tune.study.storage import StudyStorage, reason

FORMAT = 2
"""Version of what a study keeps; version 1 drew the held-out examples by another seed."""
SUBJECT = "subject"
"""Attribute of a study: the fingerprint of its search."""
ENCODING = "places"
"""Attribute of a study: the encoding of its search space."""
EARLIER_FIELDS = {"default": "baseline"}
"""Fields of the encoding as an earlier version wrote them into studies."""


NOTES = {WANTED: int, TOTAL: int, LEADER: str, OVER: bool}
"""Attributes of a study that its workers agree by, with the types of their values."""


def open_study(
    folder: Path, plan: Plan, encoding: SearchSpaceEncoding | None, storage: StudyStorage
) -> tuple[Any, SearchSpaceEncoding]:
    """Optuna's study, and the encoding of the space that all its workers search.

    ``encoding`` is of a new study (None: the study must exist). Raises TsplannerError, with nothing
    changed, for a damaged or foreign storage and for a study of another search.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # Without the lock, two processes that start together could both find no study and make one.
        with storage.lock:
            study = _found(optuna, storage, may_make=encoding is not None)
            _check(study, plan, folder)
            if storage.is_remote and PLAN not in study.user_attrs:
                carry_plan(study, plan)
            return study, _settled(study, encoding, storage)
    except TsplannerError:
        raise
    except OSError as error:
        sentence = runs.disk_error_sentence(error, folder)
        raise TsplannerError(
            sentence or f"{storage.display_name} cannot be used: {error}."
        ) from error
    except Exception as error:  # json, key and lock errors of a damaged or foreign storage
        words = f"{type(error).__name__}: {reason(error)}"
        raise TsplannerError(
            f"{storage.display_name} cannot be opened as a search ({words}): it is left as it is; "
            "search in a new run folder."
        ) from error


def _found(optuna: Any, storage: StudyStorage, *, may_make: bool) -> Any:
    options = {"study_name": storage.name, "storage": storage.storage}
    try:
        return optuna.load_study(**options)
    except KeyError:
        if not may_make:
            raise TsplannerError(f"{storage.display_name} holds no search.") from None
        return optuna.create_study(**options, direction="minimize")


def _check(study: Any, plan: Plan, folder: Path) -> None:
    """Refuse a study of another search, or of a version whose trials cannot be compared."""
    own, attributes = fingerprint(plan), study.user_attrs
    known = attributes.get(SUBJECT)
    # A study without trials and subject is new, or the process that made it was killed before the
    # subject was written: in both cases the search can begin.
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("format", FORMAT)
        study.set_user_attr(SUBJECT, own)
        return
    if known is None or attributes.get("format") != FORMAT:
        raise TsplannerError(
            f"{folder} holds a search by another version of tsplanner, whose trials cannot be "
            "compared with this one's: it is left as it is; search in a new run folder."
        )
    for key, kind in NOTES.items():
        noted = attributes.get(key)
        if not isinstance(known, dict) or (noted is not None and type(noted) is not kind):
            raise TsplannerError(
                f"{folder} holds a search whose note of {key} is damaged: it is left as it is; "
                "search in a new run folder."
            )
    changed = next((key for key in {**own, **known} if own.get(key) != known.get(key)), None)
    if changed is not None:
        raise TsplannerError(
            f"{folder} holds a search with another {changed} ({known.get(changed)}, now "
            f"{own.get(changed)}): resume it with its own plan, or search in a new run folder."
        )


def _settled(
    study: Any, encoding: SearchSpaceEncoding | None, storage: StudyStorage
) -> SearchSpaceEncoding:
    """The encoding that was noted when the study was made, whatever memory is free now."""
    known = study.user_attrs.get(ENCODING)
    if known is not None:
        fields = {EARLIER_FIELDS.get(key, key): value for key, value in known.items()}
        # Studies of version 0.1 list all settings in one flat mapping.
        fields["baseline"] = nested_values(LearningSettings, fields["baseline"])
        return msgspec.convert(fields, SearchSpaceEncoding)
    if encoding is None:
        raise TsplannerError(f"{storage.display_name} holds no search that has begun.")
    study.set_user_attr(ENCODING, msgspec.to_builtins(encoding))
    return encoding
