"""`ml-platform explain`: why is this number what it is, and why did it change?

Belongs here: options, help that teaches. Does not belong here: following the trail (explain), rendering (console_explain).
"""

from datetime import datetime
from typing import Annotated

import typer

from ml_platform.cli_errors import errors_in_words
from ml_platform.console import terminal
from ml_platform.settings import read_settings

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@errors_in_words
def explain(
    series: Annotated[str, typer.Option(help="Its id, or the values of its key parted by `/`.")],
    day: Annotated[datetime, typer.Option("--date", formats=TIMES, help="A date that was forecast.")],
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The forecast as of this day. Default: the newest.")
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="The forecast of this release, by its id or its first letters.")
    ] = None,
) -> None:
    """Follow one forecast back: what changed, release, verdict, model, folds, table versions, drops, commit.

    Example: `ml-platform explain --series "364/SOFT DRINKS" --date 2017-12-20`
    """
    from datetime import UTC

    from ml_platform.configuration import load_configuration
    from ml_platform.console_explain import show_explanation
    from ml_platform.environments import Environment
    from ml_platform.explain import Question
    from ml_platform.explain import explain as follow

    settings = read_settings()
    contracts, config = load_configuration(settings.configs)
    here = Environment.open(settings, settings.environment, config.name)
    moment = day.replace(tzinfo=UTC) if config.subdaily else day.date()
    asked = Question(series, moment, as_of.date() if as_of else None, release)
    show_explanation(terminal(), follow(here.lake, here.registry, contracts, config, asked))
