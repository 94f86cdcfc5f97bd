"""Landing areas, a folder and Azurite alike: listing, single files, versions that change or vanish, hostile names, whole files."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from ml_platform.addresses import BlobAddress
from ml_platform.contracts import SourceContract
from ml_platform.emulation.azurite import Azurite
from ml_platform.landing import (
    Changed,
    Drop,
    LandingStore,
    LocalLanding,
    StorageError,
    Vanished,
    find_drop,
    land_files,
    list_drops,
    open_landing,
    undeclared,
)
from ml_platform.landing.blob import BlobLanding
from ml_platform.settings import Settings
from ml_platform.transient import TransientError

A = "readings/readings_2024-01-05.csv"


def paths(store: LandingStore, folder: str = "readings", size: int = 1000) -> list[str]:
    return [file.path for page in store.pages(folder, size=size) for file in page.files]


def one(area, contract: SourceContract) -> Drop:
    (drop,) = list_drops(area.store, contract)
    return drop


def test_a_listed_file_has_its_path_length_version_and_arrival(area, readings: SourceContract) -> None:
    area.write(A, b"abc")
    drop = one(area, readings)
    assert (drop.path, drop.length, drop.day, drop.named) == (A, 3, date(2024, 1, 5), True)
    assert abs(drop.arrived_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert drop.etag
    assert '"' not in drop.etag


def test_an_area_where_nothing_landed_is_empty(area, readings: SourceContract) -> None:
    assert list_drops(area.store, readings) == area.store.top() == undeclared(area.store, set()) == []
    assert area.store.stat(A) is None


def test_hidden_names_at_any_depth_are_not_listed_but_can_be_asked_for(area) -> None:
    area.land(
        "readings/_SUCCESS", "readings/.x.csv", "readings/_tmp/a.csv", "readings/d/_manifest.json", "readings/d/a.csv"
    )
    assert paths(area.store) == ["readings/d/a.csv"]
    assert area.store.stat("readings/_SUCCESS")


def test_one_file_is_found_as_it_is_listed(area, readings: SourceContract) -> None:
    area.land(A, "readings/d/ü b.csv")
    assert [area.store.stat(file.path) == file for page in area.store.pages("readings") for file in page.files] == [
        True,
        True,
    ]
    assert find_drop(area.store, A, readings) in list_drops(area.store, readings)


@pytest.mark.parametrize(
    "path",
    ["", "/", "..", "../secret", "readings/../../secret", "readings/./../../secret", "/etc/hostname", "readings", "readings/",
     "readings/none", A + "/below", "x" * 5000, "readings/\0", "other/readings_2024-01-05.csv", "readings/\udc80\ud800"],
)  # fmt: skip
def test_a_path_that_is_no_file_of_the_source_is_none(
    area, readings: SourceContract, tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret").write_text("x")
    area.land(A)
    assert find_drop(area.store, path, readings) is None
    assert path.startswith("other") or area.store.stat(path) is None


@pytest.mark.parametrize(
    "path", ["readings/_SUCCESS", "readings/_tmp/readings_2024-01-05.csv", "readings/.readings_2024-01-05.csv"]
)
def test_a_hidden_file_is_no_drop_when_asked_for(area, readings: SourceContract, path: str) -> None:
    area.land(path)
    assert find_drop(area.store, path, readings) is None


def test_what_is_fetched_is_what_was_listed(area, readings: SourceContract) -> None:
    area.write(A, b"abc")
    with area.store.fetch(one(area, readings)) as path:
        assert path.read_bytes() == b"abc"


def test_a_listing_goes_on_from_its_mark(area) -> None:
    """Names on both sides of the order of bytes and of letters; files that land meanwhile do no harm."""
    names = [
        f"readings/{name}"
        for name in ("B.csv", "a b.csv", "a.csv", "b/1.csv", "b/2.csv", "b.csv", "z.csv", "ä.csv", "日本.csv")
    ]
    area.land(*names)
    whole = paths(area.store)
    assert sorted(whole) == sorted(names)
    assert paths(area.store, size=2) == whole
    first = next(area.store.pages("readings", size=2))
    area.land("readings/A_before_all.csv", "readings/zz_after.csv")
    rest = [file.path for page in area.store.pages("readings", first.mark, 2) for file in page.files]
    assert sorted([*(file.path for file in first.files), *rest]) == sorted([*names, "readings/zz_after.csv"])


def test_pages_of_hidden_files_end_no_listing(area) -> None:
    area.land(*(f"readings/_{number}" for number in range(5)), "readings/z.csv")
    assert paths(area.store, size=2) == ["readings/z.csv"]


def test_a_source_is_not_the_one_whose_name_begins_as_its_own(area, readings: SourceContract) -> None:
    area.land(A, "readings_old/readings_2024-01-05.csv")
    assert paths(area.store) == [A]
    assert undeclared(area.store, {"readings"}) == ["readings_old/"]


def test_what_nobody_declared_is_found_where_it_holds_files(area) -> None:
    area.land("readings/a", "strange/deep/a", "_tmp/a", ".git/a", "empty/_a", "at_the_top")
    assert undeclared(area.store, {"readings"}) == ["at_the_top", "strange/"]


def test_another_version_is_another_drop_and_the_listed_one_is_gone(area, readings: SourceContract) -> None:
    area.write(A, b"abc")
    first = one(area, readings)
    assert one(area, readings) == first
    area.write(A, b"abd")
    second = one(area, readings)
    assert second.drop_id != first.drop_id
    with pytest.raises(Changed, match="since it was listed"), area.store.fetch(first):
        raise AssertionError("nothing is there to be read")
    with area.store.fetch(second) as path:
        assert path.read_bytes() == b"abd"


def test_a_file_that_vanished_since_it_was_listed(area, readings: SourceContract) -> None:
    area.write(A, b"abc")
    drop = one(area, readings)
    area.delete(A)
    with pytest.raises(Vanished, match=re.escape(A)), area.store.fetch(drop):
        raise AssertionError("nothing is there to be read")


def test_a_local_file_that_changes_while_it_is_read_is_not_what_was_listed(
    tmp_path: Path, readings: SourceContract
) -> None:
    """Whatever came of reading it: rows of half a file, or an error that half a file makes."""
    place = tmp_path / A
    place.parent.mkdir()
    place.write_bytes(b"half")
    store = LocalLanding(tmp_path)
    with pytest.raises(Changed), store.fetch(list_drops(store, readings)[0]), place.open("ab") as file:
        file.write(b" and the rest")


def test_an_error_that_half_a_file_makes_is_not_the_files_fault(tmp_path: Path, readings: SourceContract) -> None:
    store = LocalLanding(tmp_path)
    (tmp_path / "readings").mkdir()
    (tmp_path / A).write_bytes(b"half")

    def read(*, meanwhile: bool) -> None:
        with store.fetch(list_drops(store, readings)[0]) as path:
            if meanwhile:
                os.utime(path, (1, 1))
            raise ValueError("a quote that is never closed")

    with pytest.raises(Changed):
        read(meanwhile=True)
    with pytest.raises(ValueError, match="never closed"):
        read(meanwhile=False)


def test_a_blob_that_changes_while_it_is_read_is_read_as_it_was_listed(
    container: ContainerClient, readings: SourceContract
) -> None:
    store = BlobLanding(container)
    container.upload_blob(A, b"abc")
    with store.fetch(list_drops(store, readings)[0]) as path:
        container.upload_blob(A, b"newer", overwrite=True)
        assert path.read_bytes() == b"abc"
    assert not path.exists()


@pytest.mark.parametrize(
    "name",
    ["with space.csv", "ünïcode 日本.csv", "a'b\"c;d&e=f#g?h%41%2F+~.csv", "deep/er/x.csv", "a\nb.csv", "..hidden.csv", "-rf.csv", "l" * 200 + ".csv", "CON.csv.GZ"],
)  # fmt: skip
def test_hostile_names_are_listed_fetched_and_found_under_themselves(area, name: str) -> None:
    if name == "a\nb.csv" and isinstance(area.store, BlobLanding):
        name = "a\tb.csv"  # XML has no other line break than its own
    path = f"readings/{name}"
    area.write(path, b"abc")
    expected = [] if name.startswith(".") else [path]
    assert paths(area.store) == expected
    for file in (area.store.stat(path),):
        assert file
        with area.store.fetch(file) as copy:
            assert copy.read_bytes() == b"abc"
            assert copy.name.lower().endswith(".gz") == name.lower().endswith(".gz")


def test_a_very_long_blob_name_fits_on_no_disk_and_is_read_all_the_same(
    container: ContainerClient, readings: SourceContract
) -> None:
    store, path = BlobLanding(container), "readings/" + "long" * 250
    container.upload_blob(path, b"abc")
    with store.fetch(list_drops(store, readings)[0]) as copy:
        assert copy.read_bytes() == b"abc"


def test_a_name_that_is_no_text_is_listed_with_a_path_that_is(tmp_path: Path, readings: SourceContract) -> None:
    (tmp_path / "readings").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "readings") + b"/readings_2024-01-06\xff.csv")).write_text("x")
    (file,) = next(LocalLanding(tmp_path).pages("readings")).files
    assert (file.path, file.is_text) == ("readings/readings_2024-01-06\\xff.csv", False)


@pytest.mark.parametrize("seconds", [2**40, -(2**40)])
def test_a_stamp_that_no_calendar_holds_hides_no_file(tmp_path: Path, readings: SourceContract, seconds: int) -> None:
    (tmp_path / "readings").mkdir()
    place = tmp_path / A
    place.touch()
    os.utime(place, (seconds, seconds))
    (drop,) = list_drops(LocalLanding(tmp_path), readings)
    assert drop.day == date(2024, 1, 5)


def test_links_out_of_the_area_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.csv").write_text("x")
    (tmp_path / "landing" / "readings").mkdir(parents=True)
    (tmp_path / "landing" / "readings" / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "landing" / "readings" / "a.csv").symlink_to(tmp_path / "secret" / "a.csv")
    (tmp_path / "landing" / "other").symlink_to(tmp_path / "secret")
    store = LocalLanding(tmp_path / "landing")
    assert paths(store) == []
    assert [store.stat(f"readings/{name}") for name in ("folder/a.csv", "a.csv", "folder")] == [None] * 3
    assert undeclared(store, {"readings"}) == []


def test_folders_of_an_account_with_a_hierarchy_are_no_drops(container: ContainerClient) -> None:
    store = BlobLanding(container)
    container.upload_blob("readings", b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob("readings/day", b"", metadata={"Hdi_isfolder": "true"})
    container.upload_blob("readings/day/a.csv", b"a")
    container.upload_blob("readings/empty.csv", b"")
    assert paths(store) == ["readings/day/a.csv", "readings/empty.csv"]
    assert store.stat("readings/day") is None
    assert store.top() == ["readings/"]


def test_files_are_put_whole_where_their_contract_wants_them(area, readings: SourceContract, tmp_path: Path) -> None:
    mine = tmp_path / "readings_2024-01-05.csv"
    for content in ("first", "second"):
        mine.write_text(content)
        assert land_files(area.store, readings, [mine]) == [area.store.locate(A)]
        with area.store.fetch(one(area, readings)) as path:
            assert path.read_text() == content
    assert paths(area.store, "") if isinstance(area.store, LocalLanding) else True
    assert not list(tmp_path.rglob(".*"))


def test_many_blobs_come_page_by_page(container: ContainerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 blobs: a look that goes on from a mark asks for what comes after it, and not for all that came before."""
    for number in range(300):
        container.upload_blob(f"readings/{number:03d}.csv", b"x")
    store, asked = BlobLanding(container), list[str]()
    page = BlobLanding._page
    monkeypatch.setattr(
        BlobLanding, "_page", lambda self, folder, mark, size: asked.append(mark) or page(self, folder, mark, size)
    )
    found = list(store.pages("readings", size=70))
    assert [len(one.files) for one in found] == [70, 70, 70, 70, 20]
    assert [file.path for one in found for file in one.files] == [f"readings/{number:03d}.csv" for number in range(300)]
    assert (len(asked), found[-1].mark) == (5, "")
    asked.clear()
    assert len([file for one in store.pages("readings", found[3].mark, 70) for file in one.files]) == 20
    assert len(asked) == 1
    assert all(before.mark != after.mark for before, after in pairwise(found))


def test_the_settings_name_the_area(azurite_server: Azurite, container: ContainerClient, tmp_path: Path) -> None:
    assert open_landing(Settings(home=tmp_path)) == LocalLanding(tmp_path / "landing")
    url = f"{azurite_server.blob_url}/{container.container_name}/my area"
    settings = Settings(home=tmp_path, landing_url=url, storage_key=azurite_server.key)
    store = open_landing(settings)
    container.upload_blob("my area/readings/a.csv", b"a")
    assert paths(store) == ["readings/a.csv"]
    assert store.locate("readings/a.csv").endswith("/my area/readings/a.csv")
    assert azurite_server.key not in f"{settings!r} {store.locate()} {store!r}"


def test_azurite_without_a_key_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="set ML_PLATFORM_STORAGE_KEY"):
        open_landing(Settings(home=tmp_path, landing_url="http://127.0.0.1:1/account/landing"))


@pytest.fixture
def container_of() -> Iterator[Callable[[str, str, str], ContainerClient]]:
    """A client for an account, a container and a key, closed afterwards."""
    with ExitStack() as opened:
        yield lambda url, name, key: opened.enter_context(ContainerClient(url, name, credential=key))


def test_an_area_that_is_not_there_or_refuses_says_so(
    container_of, azurite_server: Azurite, container: ContainerClient
) -> None:
    strange = container_of(azurite_server.blob_url, container.container_name, "Tm90IHRoZSBrZXk=")
    lost = container_of(azurite_server.blob_url, "lost", azurite_server.key)
    for client in (strange, lost):
        for ask in (
            lambda s: list(s.pages("readings")),
            lambda s: s.top(),
            lambda s: s.put("readings/a", Path(__file__)),
        ):
            with pytest.raises(StorageError, match="check ML_PLATFORM_LANDING_URL"):
                ask(BlobLanding(client))
    with pytest.raises(StorageError):
        BlobLanding(strange).stat("readings/a")
    container.upload_blob("readings/a", b"x")
    (file,) = next(BlobLanding(container).pages("readings")).files
    with pytest.raises(StorageError), BlobLanding(strange).fetch(file):
        raise AssertionError


def test_an_area_that_does_not_answer_is_asked_several_times(
    container_of, free_port, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = list[float]()
    monkeypatch.setattr("ml_platform.transient.time.sleep", waits.append)
    client = container_of(f"http://127.0.0.1:{free_port()}/account", "landing", "Tm90IHRoZSBrZXk=")
    with pytest.raises(
        TransientError, match=r"listing readings in http://127.*/landing failed 4 times within .*ServiceRequestError"
    ):
        list(BlobLanding(client).pages("readings"))
    assert len(waits) == 3
    assert all(later > earlier for earlier, later in pairwise([0.2, *waits]))


def test_a_listing_of_a_folder_that_fails_for_a_moment_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "readings").mkdir()
    (tmp_path / A).touch()
    monkeypatch.setattr("ml_platform.transient.time.sleep", lambda seconds: None)
    whole, calls = os.lstat, iter(range(100))

    def shaky(path: str) -> os.stat_result:
        if next(calls) < 2:
            raise OSError(errno.ESTALE, "Stale file handle")
        return whole(path)

    monkeypatch.setattr("ml_platform.landing.local.os.lstat", shaky)
    assert paths(LocalLanding(tmp_path)) == [A]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://acc.blob.core.windows.net/landing", BlobAddress("https://acc.blob.core.windows.net", "landing")),
        ("https://acc.blob.core.windows.net/landing/a/b%20c/", BlobAddress("https://acc.blob.core.windows.net", "landing", "a/b c/")),
        ("http://127.0.0.1:10000/acc/landing/x", BlobAddress("http://127.0.0.1:10000/acc", "landing", "x/")),
        ("http://localhost:1/acc/landing", BlobAddress("http://localhost:1/acc", "landing")),
    ],
)  # fmt: skip
def test_addresses(text: str, address: BlobAddress) -> None:
    assert BlobAddress.read(text) == address


@pytest.mark.parametrize(
    "text",
    ["landing", "/srv/landing", "abfss://acc.dfs.core.windows.net/x", "http://acc.blob.core.windows.net/landing", "https://acc.blob.core.windows.net",
     "https://acc.blob.core.windows.net/", "http://127.0.0.1:1/acc", "https://acc.blob.core.windows.net/landing/../other"],
)  # fmt: skip
def test_what_is_no_address_of_a_container_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"set it to https://ACCOUNT\.blob"):
        BlobAddress.read(text)
