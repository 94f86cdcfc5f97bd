"""Contract files: source contracts, read from YAML and refused with every fault at once.

Belongs here: reading and the words of the errors. Does not belong here: what a contract is (contracts).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ml_platform.contracts import ContractError, Contracts, SourceContract

Model = TypeVar("Model", bound=BaseModel)


def load_contracts(folder: Path) -> Contracts:
    """Read `folder`/sources/*.yaml; ContractError names the file, the field and what is wrong with it."""
    files = sorted((folder / "sources").glob("*.yaml"))
    if misnamed := [str(path) for path in (folder / "sources").glob("[!._]*") if _is_misnamed(path)]:
        raise ContractError(f"{', '.join(sorted(misnamed))}: a source contract is a file that ends in .yaml: rename it")
    if not files:
        raise ContractError(
            f"no source contracts in {folder / 'sources'}: write one YAML file per source, or set ML_PLATFORM_CONFIGS"
        )
    sources = [validated(SourceContract, read_yaml(path), path) for path in files]
    return validated(Contracts, {"sources": sources}, folder / "sources")


def _is_misnamed(path: Path) -> bool:
    """Whether a file means to be YAML and is not read: nobody would see that its source is missing."""
    return path.suffix != ".yaml" and path.suffix.lower() in (".yml", ".yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; ContractError names the file and the line."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as why:
        raise ContractError(f"{path} is no YAML: {why}") from None
    if not isinstance(content, dict):
        raise ContractError(f"{path} must hold a mapping of names to values, not {type(content).__name__}")
    return content


def validated(model: type[Model], content: Mapping[str, Any], place: Path) -> Model:
    """`content` as `model`; ContractError lists every field that is wrong."""
    try:
        return model.model_validate(content)
    except ValidationError as why:
        raise ContractError(f"{place}: " + "; ".join(_problems(why))) from None


def _problems(why: ValidationError) -> Iterable[str]:
    for problem in why.errors():
        field = ".".join(str(part) for part in problem["loc"])
        text = (
            "this key is unknown"
            if problem["type"] == "extra_forbidden"
            else problem["msg"].removeprefix("Value error, ")
        )
        yield f"{field}: {text}" if field else text
