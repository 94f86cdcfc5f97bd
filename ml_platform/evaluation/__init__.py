"""Judging: the errors of challenger, champion, families and floors on the fold that chose nothing, by fleet and by segment.

Belongs here: judged rows, contenders, losses, noise, figures. Does not belong here: the verdict (gate), the count of series (coverage), fitting or
choosing (forecasting).
"""

from ml_platform.evaluation.cells import Cells, arrange, segment_labels
from ml_platform.evaluation.contenders import Contender, contenders, recipe_forecast
from ml_platform.evaluation.figures import FLEET, evaluate, store_evaluation

__all__ = [
    "FLEET",
    "Cells",
    "Contender",
    "arrange",
    "contenders",
    "evaluate",
    "recipe_forecast",
    "segment_labels",
    "store_evaluation",
]
