"""The queue and the scope that settings name, without asking any of them."""

import sys

import pytest
from pydantic import SecretStr

from ml_platform.contract_files import load_contracts
from ml_platform.settings import Settings
from ml_platform.storage_events import QueueUnavailableError, Scope, open_queue, scope_of

AZURE = Settings(
    landing_url="https://shop.blob.core.windows.net/landing/in/here",
    events_queue_url="https://shop.queue.core.windows.net/told",
)


def test_without_a_queue_there_is_none() -> None:
    assert open_queue(Settings()) is None


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (AZURE.landing_url, ("landing", "in/here/", "shop")),
        ("https://shop.z17.blob.storage.azure.net/landing", ("landing", "", "shop")),
        ("https://files.shop.example/landing", ("landing", "", None)),
        ("http://127.0.0.1:10000/devstoreaccount1/landing", ("landing", "", "devstoreaccount1")),
    ],
)
def test_events_count_where_the_landing_area_lies(url: str, place: tuple[str, str, str | None]) -> None:
    container, prefix, account = place
    contracts = load_contracts(AZURE.configs)
    found = scope_of(AZURE.model_copy(update={"landing_url": url}), contracts)
    assert found == Scope(container, prefix, frozenset({"sales", "promotions", "products"}), account)


def test_a_folder_of_this_machine_has_no_events() -> None:
    with pytest.raises(ValueError, match="set ML_PLATFORM_LANDING_URL"):
        scope_of(Settings(), load_contracts(AZURE.configs))


def test_missing_packages_are_named_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.storage.queue", None)
    with pytest.raises(QueueUnavailableError, match=r"pip install 'ml-platform\[azure\]'"):
        open_queue(AZURE)


def test_azurite_without_a_key_is_told_so() -> None:
    local = AZURE.model_copy(update={"events_queue_url": "http://127.0.0.1:9/devstoreaccount1/told"})
    queue = open_queue(local)
    assert queue is not None
    with pytest.raises(QueueUnavailableError, match="set ML_PLATFORM_STORAGE_KEY"):
        queue.receive(1)


def test_a_key_is_shown_nowhere() -> None:
    assert "c2VjcmV0" not in repr(open_queue(AZURE.model_copy(update={"storage_key": SecretStr("c2VjcmV0")})))
