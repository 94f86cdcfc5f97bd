"""Releases: sealed once, verified byte by byte, known to MLflow."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_platform.registry import Manifest, Origin, ReleaseError, Training
from ml_platform.registry.manifest import seal

ORIGIN = Origin(created_by="ada", created_at=datetime(2024, 4, 1, tzinfo=UTC), code_commit="abc")


def contents(world, **changes):
    return world.contents(**{"origin": ORIGIN, **changes})


def snapshot(folder):
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(folder.rglob("*"))}


def test_a_release_is_a_folder_named_by_its_content(world):
    release = world.registry.build(contents(world))
    assert release.created
    assert release.release_id.startswith("2024-03-31-")
    manifest = json.loads((release.folder / "manifest.json").read_text())
    assert manifest["release_id"] == release.folder.name
    assert set(manifest["files"]) == {p.name for p in release.folder.iterdir()} - {"manifest.json", "signature.json"}
    assert manifest["origin"]["code_commit"] == "abc"
    assert manifest["data_versions"] == {"gold/series_panel": 3}
    assert world.registry.evidence(release.release_id) == {"promoted": True}
    assert world.registry.parameters(release.release_id)["series_id"].to_pylist() == [f"{i:016x}" for i in range(5)]


def test_a_release_loads_as_the_fleet_it_was_made_of(world):
    fleet = world.registry.load(world.registry.build(contents(world)).release_id)
    assert fleet.config == world.config
    assert fleet.rows.equals(contents(world).parameters.select(fleet.rows.column_names))
    assert set(fleet.pools) == {"weights", "factors", "meta"}
    assert fleet.pools["weights"]["item"].to_pylist() == ["mean_28", "tsb"] * 3


def test_the_same_contents_give_the_same_release_and_write_nothing(world):
    first = world.registry.build(contents(world))
    before = snapshot(world.registry.root)
    shuffled = contents(world).parameters.take([3, 1, 4, 0, 2])
    again = world.registry.build(
        contents(
            world,
            parameters=shuffled,
            origin=ORIGIN.model_copy(update={"code_commit": "later"}),
            data_versions={"gold/series_panel": 9},
        )
    )
    assert (again.release_id, again.created) == (first.release_id, False)
    assert again.manifest.origin.code_commit == "abc"
    assert snapshot(world.registry.root) == before


def test_other_parameters_or_another_day_are_another_release(world):
    base = world.registry.build(contents(world)).release_id
    other = world.fleet_of(5, world.day, "mean_28").drop_columns(["as_of", "fingerprint"])
    assert world.registry.build(contents(world, parameters=other)).release_id != base
    assert world.registry.build(contents(world, as_of=world.day - timedelta(days=1))).release_id.startswith(
        "2024-03-30-"
    )
    assert len(list(world.registry.root.iterdir())) == 3


@pytest.mark.parametrize(
    "name",
    [
        "parameters.parquet",
        "pools.parquet",
        "fold_metrics.parquet",
        "evaluation.parquet",
        "forecast.yaml",
        "evidence.json",
        "MLmodel",
        "card.md",
        "card.html",
        "manifest.json",
        "signature.json",
    ],
)
def test_one_flipped_bit_anywhere_is_refused_by_name(world, name):
    release = world.registry.build(contents(world))
    path = release.folder / name
    content = bytearray(path.read_bytes())
    for place in {0, len(content) // 2, len(content) - 1}:
        flipped = content.copy()
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ReleaseError, match=name.replace(".", r"\.")):
            world.registry.verify(release.release_id)
    path.write_bytes(content)
    assert world.registry.verify(release.release_id).as_of == world.day


def test_a_copy_beside_a_release_does_not_keep_the_next_from_being_sealed(world):
    release = world.registry.build(contents(world))
    shutil.copytree(release.folder, world.registry.root / f"{world.day}-0backup")
    again = world.registry.build(contents(world))
    assert (again.release_id, again.created) == (release.release_id, False)


def test_a_store_belongs_to_one_environment(world):
    release = world.registry.build(contents(world))
    other = replace(world.registry, environment="prod")
    with pytest.raises(ReleaseError, match="is the store of environment dev, and this process works for prod"):
        other.receive(world.registry.folder(release.release_id))


def test_missing_and_foreign_files_are_refused_by_name(world):
    release = world.registry.build(contents(world))
    extra = release.folder / "sub" / "model.pkl"
    extra.parent.mkdir()
    extra.write_bytes(b"")
    with pytest.raises(ReleaseError, match=r"sub was added"):
        world.registry.verify(release.release_id)
    extra.unlink()
    with pytest.raises(ReleaseError, match=r"sub was added"):
        world.registry.verify(release.release_id)
    extra.parent.rmdir()
    elsewhere = release.folder.parent.parent / "pools.parquet"
    shutil.move(release.folder / "pools.parquet", elsewhere)
    (release.folder / "pools.parquet").symlink_to(elsewhere)
    with pytest.raises(ReleaseError, match=r"pools\.parquet is no file of its own"):
        world.registry.verify(release.release_id)
    (release.folder / "pools.parquet").unlink()
    with pytest.raises(ReleaseError, match=r"pools\.parquet is missing"):
        world.registry.verify(release.release_id)
    (release.folder / "signature.json").unlink()
    with pytest.raises(ReleaseError, match=r"signature\.json is missing: nobody has signed it"):
        world.registry.verify(release.release_id)
    shutil.rmtree(release.folder)
    with pytest.raises(ReleaseError, match=r"manifest\.json is missing"):
        world.registry.verify(release.release_id)


def test_a_renamed_folder_is_refused(world):
    release = world.registry.build(contents(world))
    other = release.folder.rename(release.folder.with_name("2024-03-31-000000000000"))
    with pytest.raises(ReleaseError, match="does not belong to release 2024-03-31-000000000000"):
        world.registry.verify(other.name)
    with pytest.raises(ReleaseError, match="no release id"):
        world.registry.verify("../" + other.name)


def test_a_manifest_that_was_sealed_anew_over_changed_files_is_another_release(world):
    release = world.registry.build(contents(world))
    (release.folder / "evidence.json").write_bytes(b"{}\n")
    files = {
        p.name: p.read_bytes() for p in release.folder.iterdir() if p.name not in ("manifest.json", "signature.json")
    }
    forged = seal(world.day, "fleet", files, ORIGIN, {"gold/series_panel": 3}, {}, {})
    (release.folder / "manifest.json").write_bytes(forged.to_bytes())
    with pytest.raises(ReleaseError, match=r"manifest\.json does not belong"):
        world.registry.verify(release.release_id)
    relabelled = forged.model_copy(update={"release_id": release.release_id})
    (release.folder / "manifest.json").write_bytes(relabelled.to_bytes())
    with pytest.raises(ReleaseError, match=r"manifest\.json does not belong"):
        world.registry.verify(release.release_id)


def test_a_folder_left_half_built_is_built_anew(world):
    release = world.registry.build(contents(world))
    release.folder.rename(world.registry.root / f".building-{release.release_id}")
    again = world.registry.build(contents(world))
    assert (again.release_id, again.created) == (release.release_id, True)
    assert [p.name for p in world.registry.root.iterdir()] == [release.release_id]


def test_a_damaged_neighbour_stops_no_new_release(world):
    release = world.registry.build(contents(world))
    (release.folder / "manifest.json").write_text("{")
    assert world.registry.build(contents(world, evidence={})).created


def test_a_manifest_refuses_fields_it_does_not_know(world):
    release = world.registry.build(contents(world))
    with pytest.raises(ValueError, match="approved"):
        Manifest.model_validate({**release.manifest.model_dump(), "approved": True})


TRAINING = Training("f" * 64, "2024-03-31 first", {"horizon": "14"}, {"m": 0.8}, {"gold/series_panel": 3})


def test_mlflow_holds_one_version_per_release_and_no_pickle(plain_world, capfd, caplog):
    release = plain_world.registry.build(contents(plain_world))
    versions = plain_world.registry.versions
    for _ in range(2):
        assert versions.register(release.release_id, release.folder, TRAINING, {"as_of": "2024-03-31"}) == "1"
    version = versions.find(release.release_id)
    assert version.tags == {"release_id": release.release_id, "as_of": "2024-03-31"}
    run = versions.client.get_run(version.run_id)
    assert versions.place_of(release.release_id) == f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"horizon": "14"}, {"m": 0.8})
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("gold/series_panel", "version 3")
    assert version.source == f"{run.info.artifact_uri}/{release.release_id}"
    copied = {Path(one.path).name for one in versions.client.list_artifacts(run.info.run_id, release.release_id)}
    assert copied == {one.name for one in release.folder.iterdir()}
    assert run.info.artifact_uri.startswith(plain_world.registry.artifacts.resolve().as_uri())
    assert not list(plain_world.home.rglob("*.pkl"))
    chatter = [one for one in caplog.records if one.name.startswith(("alembic", "mlflow"))]
    assert not chatter
    assert "alembic" not in capfd.readouterr().err


def test_two_releases_of_one_training_share_its_run(world):
    first = world.registry.build(contents(world))
    second = world.registry.build(contents(world, evidence={"promoted": False}))
    versions = world.registry.versions
    for release in (first, second):
        versions.register(release.release_id, release.folder, TRAINING, {"as_of": "2024-03-31"})
    assert versions.place_of(first.release_id) == versions.place_of(second.release_id)
    assert {versions.find(one.release_id).version for one in (first, second)} == {1, 2}
    for release in (first, second):
        copy = Path(versions.find(release.release_id).source.removeprefix("file://"))
        assert {one.name: one.read_bytes() for one in copy.iterdir()} == {
            one.name: one.read_bytes() for one in release.folder.iterdir()
        }


def test_a_run_left_without_version_is_used_again(world):
    release = world.registry.build(contents(world))
    versions = world.registry.versions
    versions._ensure_model()
    run = versions._run(TRAINING, {})
    versions.register(release.release_id, release.folder, TRAINING, {})
    assert versions.find(release.release_id).run_id == run


def test_an_alias_names_a_registered_release_only(world):
    release = world.registry.build(contents(world))
    versions = world.registry.versions
    assert versions.tags_of("champion") == {}
    with pytest.raises(LookupError, match="no version of model fleet"):
        versions.point("champion", release.release_id)
    versions.register(release.release_id, release.folder, TRAINING, {"as_of": "2024-03-31"})
    assert versions.tags_of("champion") == {}
    assert versions.point("champion", release.release_id)
    assert not versions.point("champion", release.release_id)
    assert versions.tags_of("champion")["release_id"] == release.release_id
