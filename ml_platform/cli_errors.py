"""Errors of the command line: words and an exit code in the place of a traceback.

Belongs here: which errors name the thing and the way out themselves. Does not belong here: commands (cli, cli_status, cli_pull and so on).
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from ml_platform.launch import LaunchError
from ml_platform.settings import SettingsError

P = ParamSpec("P")
R = TypeVar("R")


def errors_in_words(command: Callable[P, R]) -> Callable[P, R]:
    """Errors that name the thing and the way out are printed as they are, without a traceback; exit code 1, of settings 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from ml_platform.checks import Blocked
        from ml_platform.contracts import ContractError
        from ml_platform.environments import StageError
        from ml_platform.erasure.persons import ErasureError
        from ml_platform.forecasting import InputError
        from ml_platform.forecasting.config import ConfigError
        from ml_platform.gate import GateError
        from ml_platform.lake import LakeError
        from ml_platform.landing import LandingError, StorageError
        from ml_platform.pull import PullError
        from ml_platform.quarantine import QuarantineError
        from ml_platform.registry import ConflictError, ReleaseError
        from ml_platform.registry.signing import SignatureError
        from ml_platform.samples.complete_journey import SampleError
        from ml_platform.status.files import NoSuchFileError
        from ml_platform.transient import TransientError

        try:
            return command(*args, **kwargs)
        except (
            Blocked,
            ConfigError,
            ContractError,
            ErasureError,
            GateError,
            InputError,
            LakeError,
            LandingError,
            LaunchError,
            NoSuchFileError,
            PullError,
            QuarantineError,
            ConflictError,
            ReleaseError,
            SampleError,
            SettingsError,
            SignatureError,
            StageError,
            StorageError,
            TransientError,
            OSError,
        ) as why:
            typer.echo(f"ml-platform: {why}", err=True)
            raise typer.Exit(2 if isinstance(why, SettingsError) else 1) from why

    return wrapped
