"""When landed files are due: at rest, with _SUCCESS, or as a manifest says; and what is said of those that wait. Both landing areas."""

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from feeds import READINGS
from pydantic import ValidationError

from ml_platform import transient
from ml_platform.contracts import SourceContract
from ml_platform.landing import Drop, LandingStore, LocalLanding, Readiness, Waits, in_words, list_drops
from ml_platform.landing import manifest as manifests
from ml_platform.landing.manifest import ManifestError, read_manifest

A, B = "readings/2024-01-05/part-a.csv", "readings/2024-01-05/part-b.csv"
OTHER = "readings/2024-01-06/part-a.csv"


def contract(**landing: Any) -> SourceContract:
    return SourceContract.model_validate({**READINGS, "path": "{day}/part*.csv", "landing": landing})


def look(store: LandingStore, source: SourceContract, now: datetime | None = None) -> dict[str, str]:
    """Path to `due`, or why it waits."""
    ready = Readiness(store, source, now or datetime.now(UTC))
    found = [ready.of(drop) for drop in list_drops(store, source)]
    return {one.path: one.reason if isinstance(one, Waits) else "due" for one in found}


def promise(data: bytes, **other: Any) -> dict[str, Any]:
    return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest(), **other}


def manifest(**files: Any) -> bytes:
    return json.dumps({"files": {name.replace("_", "-") + ".csv": one for name, one in files.items()}}).encode()


def test_by_default_a_file_is_due_when_it_lies_there(area) -> None:
    area.land(A, "readings/2024-01-05/_SUCCESS", "readings/what.txt")
    assert look(area.store, contract()) == {A: "due", "readings/what.txt": "due"}


def test_a_file_that_changed_a_moment_ago_waits(area) -> None:
    area.land(A)
    source = contract(stable_seconds=600)
    assert look(area.store, source) == {A: "unstable"}
    assert look(area.store, source, datetime.now(UTC) + timedelta(seconds=700)) == {A: "due"}


def test_a_copy_that_keeps_an_old_time_is_young_all_the_same(tmp_path, area) -> None:
    area.land(A)
    if isinstance(area.store, LocalLanding):
        os.utime(tmp_path / "landing" / A, (1, 1))
    assert look(area.store, contract(stable_seconds=600)) == {A: "unstable"}


def test_files_wait_for_the_success_of_their_own_folder(area) -> None:
    area.land(A, B, OTHER, "readings/_SUCCESS", "readings/2024-01-05/deep/_SUCCESS")
    source = contract(complete="success")
    assert set(look(area.store, source).values()) == {"no_success"}
    area.land("readings/2024-01-05/_SUCCESS")
    assert look(area.store, source) == {A: "due", B: "due", OTHER: "no_success"}


def test_files_of_a_manifest_are_due_when_all_of_them_are_there_whole(area) -> None:
    source = contract(complete="manifest")
    area.write(A, b"aaa")
    assert look(area.store, source) == {A: "no_manifest"}
    area.write("readings/2024-01-05/_manifest.json", manifest(part_a=promise(b"aaa"), part_b=promise(b"bbbb")))
    assert look(area.store, source) == {A: "incomplete"}
    area.write(B, b"bb")
    assert look(area.store, source) == {A: "incomplete", B: "incomplete"}
    area.write(B, b"bbbb")
    area.land("readings/2024-01-05/part-c.csv", OTHER)
    assert look(area.store, source) == {
        A: "due",
        B: "due",
        "readings/2024-01-05/part-c.csv": "not_in_manifest",
        OTHER: "no_manifest",
    }


def test_a_file_of_that_name_in_a_folder_below_stands_for_none(area) -> None:
    area.write("readings/2024-01-05/_manifest.json", manifest(part_a=promise(b"aaa"), part_b=promise(b"bbb")))
    area.write(A, b"aaa")
    area.write("readings/2024-01-05/deep/part-b.csv", b"bbb")
    assert look(area.store, contract(complete="manifest"))[A] == "incomplete"


def test_a_promise_goes_with_its_drop_and_changes_no_id(area) -> None:
    area.write(A, b"aaa")
    sha = hashlib.sha256(b"aaa").hexdigest()
    area.write("readings/2024-01-05/_manifest.json", manifest(part_a=promise(b"aaa", sha256=sha.upper())))
    source = contract(complete="manifest")
    (drop,) = list_drops(area.store, source)
    (due,), held = Readiness(area.store, source).split([drop])
    assert (due.promised_sha256, due.drop_id, held) == (sha, drop.drop_id, ())


def test_what_waits_is_counted_by_reason_with_an_example(area) -> None:
    area.land(A, B, OTHER, "readings/2024-01-06/_SUCCESS")
    source = contract(complete="success")
    due, held = Readiness(area.store, source).split(list_drops(area.store, source))
    assert [drop.path for drop in due] == [OTHER]
    assert [(one.source, one.reason, one.files) for one in held] == [("readings", "no_success", 2)]
    assert in_words(held) == f"2 of readings (no_success: {A}: its folder holds no _SUCCESS yet)"


BROKEN = {
    "no JSON": b"{",
    "no text": b"\xff\xfe{}",
    "no object": b"[]",
    "empty": b"",
    "no files": b"{}",
    "another key": b'{"files": {}, "more": 1}',
    "a way out": manifest(**{"../part_a": promise(b"aaa")}),
    "a folder": manifest(**{"deep/part_a": promise(b"aaa")}),
    "a hidden file": b'{"files": {"_x": {"length": 1, "sha256": "' + b"0" * 64 + b'"}}}',
    "an absolute path": manifest(**{"/etc/passwd": promise(b"aaa")}),
    "a name twice": b'{"files": {"a": {"length": 1, "sha256": "' + b"0" * 64 + b'"}, "a": {"length": 2, "sha256": "' + b"0" * 64 + b'"}}}',
    "a negative length": manifest(part_a=promise(b"aaa", length=-1)),
    "a length as text": manifest(part_a=promise(b"aaa", length="3")),
    "true as length": manifest(part_a=promise(b"aaa", length=True)),
    "no digest": manifest(part_a={"length": 3}),
    "another digest": manifest(part_a=promise(b"aaa", sha256="abc")),
    "too deep": b"[" * 100_000,
    "a number without end": b'{"files": {"a": {"length": ' + b"9" * 5000 + b', "sha256": "x"}}}',
    "NaN": b'{"files": {"a": {"length": NaN, "sha256": "x"}}}',
}  # fmt: skip


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_manifest_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"\w"):
        read_manifest(data)


def test_behind_a_broken_manifest_files_wait_until_it_is_whole(area) -> None:
    area.write(A, b"aaa")
    area.write("readings/2024-01-05/_manifest.json", BROKEN["a way out"])
    source = contract(complete="manifest")
    _, held = Readiness(area.store, source).split(list_drops(area.store, source))
    assert in_words(held).startswith(
        f"1 of readings (broken_manifest: {A}: readings/2024-01-05/_manifest.json cannot be used: files."
    )
    area.write("readings/2024-01-05/_manifest.json", manifest(part_a=promise(b"aaa")))
    assert look(area.store, source) == {A: "due"}


def test_a_manifest_without_measure_is_not_read(area, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MOST_BYTES", 10)
    monkeypatch.setattr(type(area.store), "fetch", None)
    area.write(A, b"aaa")
    area.write("readings/2024-01-05/_manifest.json", manifest(part_a=promise(b"aaa")))
    assert look(area.store, contract(complete="manifest")) == {A: "broken_manifest"}


def test_a_folder_is_asked_once_per_look(area, monkeypatch: pytest.MonkeyPatch) -> None:
    area.land(*(f"readings/2024-01-05/part-{number}.csv" for number in range(20)), "readings/2024-01-05/_SUCCESS")
    asked, stat = list[str](), type(area.store).stat
    monkeypatch.setattr(type(area.store), "stat", lambda self, path: asked.append(path) or stat(self, path))
    assert set(look(area.store, contract(complete="success")).values()) == {"due"}
    assert asked == ["readings/2024-01-05/_SUCCESS"]


def test_a_manifest_that_cannot_be_read_holds_up_its_own_folder_only(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk that stays: the files of that folder wait, those of another one do not."""
    monkeypatch.setattr(transient.time, "sleep", lambda seconds: None)
    store = LocalLanding(tmp_path)
    for path in (A, OTHER):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"aaa")
        (tmp_path / path).with_name("_manifest.json").write_bytes(manifest(part_a=promise(b"aaa")))
    whole = type(tmp_path).read_bytes

    def failing(self: Any) -> bytes:
        if "2024-01-05" in str(self):
            raise OSError(5, "Input/output error")
        return whole(self)

    monkeypatch.setattr(type(tmp_path), "read_bytes", failing)
    assert look(store, contract(complete="manifest")) == {A: "incomplete", OTHER: "due"}


@pytest.mark.parametrize(
    "wrong", [{"stable_seconds": -1}, {"complete": "maybe"}, {"stable": 1}, {"stable_seconds": 10**9}]
)
def test_a_contract_cannot_ask_for_what_there_is_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        contract(**wrong)


def test_how_files_arrive_makes_no_silver_anew() -> None:
    assert contract(complete="success").fingerprint == contract().fingerprint


def test_a_drop_is_still_a_drop() -> None:
    """Ids of ledgers that exist: source, path, etag and length, and nothing else."""
    now = datetime.now(UTC)
    drop = Drop("readings", A, "18a", 3, now.date(), True, now, now)
    assert drop.drop_id == hashlib.sha256(f"readings|{A}|18a|3".encode()).hexdigest()[:24]
