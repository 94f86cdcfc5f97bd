"""Deliveries as contracts declare them: when a landed file is whole.

Belongs here: what a source promises about how its files arrive. Does not belong here: looking for it in the landing area (landing.readiness).
"""

from typing import Literal

from pydantic import Field

from ml_platform.columns import Strict


class Delivery(Strict):
    """When a landed file is due: at rest for a while, and told to be whole by what the sender puts beside it."""

    stable_seconds: int = Field(default=0, ge=0, le=7 * 86_400, description="seconds without a change")
    complete: Literal["file", "success", "manifest"] = Field(
        default="file",
        description="file: by itself | success: with _SUCCESS in its folder | manifest: as _manifest.json says",
    )
