"""Rule files: small YAML files of limits (gate.yaml, environments.yaml, retraining.yaml), each with defaults for all it leaves out.

Belongs here: reading one, and telling its faults by key. Does not belong here: what the limits mean.
"""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Rules = TypeVar("Rules", bound=BaseModel)


def read_rules(path: Path, rules: type[Rules], error: type[Exception]) -> Rules:
    """The rules of a file; an absent one means the defaults. Raises `error` with the path and the key of every fault."""
    if not path.exists():
        return rules()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as why:
        raise error(f"{path}: not valid YAML: {why}") from why
    if not isinstance(values, dict | None):
        raise error(f"{path}: rules are a mapping, not {type(values).__name__}; {_known(rules)}")
    try:
        return rules.model_validate(values or {})
    except ValidationError as why:
        raise error("\n".join(f"{path}: {_explained(fault, rules)}" for fault in why.errors())) from why


def _known(rules: type[BaseModel]) -> str:
    return f"known rules are {', '.join(rules.model_fields)}"


def _explained(fault: ErrorDetails, rules: type[BaseModel]) -> str:
    """A fault as its key and what is wrong with it."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        return f"{key}: unknown rule; {_known(rules)}"
    if fault["type"] == "extra_forbidden":
        rule = rules.model_fields[str(fault["loc"][0])].annotation
        return f"{key}: unknown key; known keys are {', '.join(sorted(getattr(rule, 'model_fields', {})))}"
    if fault["type"] == "model_type":
        return f"{key}: {fault['input']!r} cannot be used: a rule is a mapping of keys and values"
    return f"{key}: {fault['input']!r} cannot be used: {fault['msg'].removeprefix('Input ')}"
