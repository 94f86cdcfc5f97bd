"""Adapters: families that are a class of statsforecast or scikit-learn, as the configuration names them.

Belongs here: the schema of an adapter, the class and the options it stands for. Does not belong here: running one (adapted).
"""

import copy
import inspect
from collections.abc import Collection
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from types import ModuleType, NoneType
from typing import Annotated, Any, Self, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

SEED = 0  # of classes that draw at random, where the options name no random_state
RESERVED = ("blend", "default")  # names that families cannot have
SCALARS = {bool, float, int, str, NoneType}
REFUSED = ("NaNModel", "SklearnModel")  # one forecasts nothing, the other takes an object: use `sklearn`
Text = Annotated[str, Field(min_length=1)]


class Adapter(BaseModel):
    """One family by configuration alone: its name, the class behind it and that class's options.

    statsforecast: a class of statsforecast.models, fitted to each series' history. sklearn: package and class of a regressor, such as
    ensemble.RandomForestRegressor, fitted to each series' features. Exactly one of them is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    statsforecast: Text | None = None
    sklearn: Text | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _stands_for_a_model(self) -> Self:
        if (self.statsforecast is None) == (self.sklearn is None):
            raise ValueError("write either `statsforecast: AutoARIMA` or `sklearn: ensemble.RandomForestRegressor`")
        self.build()
        return self

    def build(self) -> Any:
        """A new model that has seen nothing. Raises ValueError where class or options do not exist or fit."""
        options = copy.deepcopy(self.options)
        if self.statsforecast is not None:
            return _of_statsforecast(self.statsforecast, options)
        return _of_sklearn(str(self.sklearn), options)

    @property
    def version(self) -> str:
        """Package and version that the class is of."""
        package = "scikit-learn" if self.sklearn else "statsforecast"
        return f"{package} {version(package)}"

    def __str__(self) -> str:
        path = f"sklearn.{self.sklearn}" if self.sklearn else f"statsforecast.models.{self.statsforecast}"
        return f"{path}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"


def adapter_of(values: dict[str, Any]) -> Adapter:
    """An adapter from parsed YAML. Raises ValueError that names the family, the key and the way out."""
    try:
        return Adapter.model_validate(values)
    except ValidationError as error:
        name = values.get("name", "an adapter without a name")
        raise ValueError("; ".join(_explain(str(name), dict(one)) for one in error.errors())) from error


def _explain(name: str, error: dict[str, Any]) -> str:
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = f"unknown key; known keys are {', '.join(Adapter.model_fields)}"
    return ": ".join([name, *(str(part) for part in error["loc"]), text])


def _of_statsforecast(name: str, options: dict[str, Any]) -> Any:
    models = _module("statsforecast.models", "statsforecast")
    known = [one for one in models.__all__ if one not in REFUSED]
    if name not in known:
        raise ValueError(f"statsforecast: {name!r} is no class of statsforecast.models{_instead(name, known)}")
    cls = getattr(models, name)
    hints = get_type_hints(cls.__init__)
    _check_options("statsforecast", cls, options, [one for one in hints if one != "return"])
    for option, value in options.items():
        hint = hints[option]
        if set(get_args(hint) if get_origin(hint) is Union else (hint,)) <= SCALARS:
            _check_value(name, option, value, hint)
    return cls(**options)


def _of_sklearn(path: str, options: dict[str, Any]) -> Any:
    package, _, name = path.rpartition(".")
    base = _module("sklearn.base", "sklearn")
    packages = _module("sklearn", "sklearn").__all__
    if package not in packages:
        example = "ensemble.RandomForestRegressor"
        raise ValueError(
            f"sklearn: {path!r} names no package of scikit-learn: write package and class, such as {example}"
        )
    members = vars(_module(f"sklearn.{package}", "sklearn"))
    known = [one for one, cls in members.items() if inspect.isclass(cls) and issubclass(cls, base.RegressorMixin)]
    if name not in known:
        raise ValueError(f"sklearn: {name!r} is no regressor of sklearn.{package}{_instead(name, known)}")
    cls = members[name]
    _check_options("sklearn", cls, options, list(inspect.signature(cls).parameters))
    if "random_state" in inspect.signature(cls).parameters:
        options = {"random_state": SEED, **options}
    model = cls(**options)
    try:
        model._validate_params()
    except ValueError as error:
        raise ValueError(f"options: {error}") from error
    return model


def _check_options(key: str, cls: type, options: dict[str, Any], settable: Collection[str]) -> None:
    """Every option exists and can be written in YAML (`settable`), and every required one is there."""
    parameters = inspect.signature(cls).parameters
    for option in options:
        if option not in settable:
            what = "takes an object, which no YAML holds" if option in parameters else "does not exist"
            raise ValueError(f"options: {option!r} {what}; {cls.__name__} has {', '.join(settable) or 'none'}")
    missing = [name for name, one in parameters.items() if one.default is one.empty and name not in options]
    if missing:
        raise ValueError(f"{key}: {cls.__name__} needs the options {missing}: give them, or choose another class")


def _check_value(name: str, option: str, value: Any, hint: Any) -> None:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"options: {option} of {name}: {error.errors()[0]['msg']}, not {value!r}") from error


def _module(path: str, key: str) -> ModuleType:
    try:
        return import_module(path)
    except ImportError as error:
        raise ValueError(
            f"{key}: {path} cannot be imported ({error}): install the extra `ml`, ml-platform[ml]"
        ) from error


def _instead(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=3) or sorted(known)
    return f": write {', '.join(near)}" if near else ""
