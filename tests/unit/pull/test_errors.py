"""What stops a pull is said with source, database and the way out, and without a secret."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from ml_platform.contracts import ContractError, Contracts, SourceContract
from ml_platform.pull import Puller, PullError, examine, pulled
from ml_platform.pull.puller import database_of
from ml_platform.settings import Settings, SettingsError, read_settings

SECRET = "geheim"
URL = f"postgresql+psycopg://shop:{SECRET}@127.0.0.1:1/shop?options={SECRET}2"


def refused(shop: Any, url: str | None = None) -> str:
    databases = {"shop": SecretStr(url or shop.url)}
    puller = Puller(shop.lake, shop.store, shop.contract, databases, shop.said.append, first_pause=0.01)
    with pytest.raises(PullError) as why:
        puller.run()
    text = f"{why.value!r} {why.value} {puller!r} {shop.said}"
    assert SECRET not in text
    assert why.value.__cause__ is None
    assert why.value.__suppress_context__ or why.value.__context__ is None
    assert shop.names() == [] == shop.unfinished()
    return str(why.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (URL, "the database does not answer"),
        (
            f"postgresql+psycopg://shop@127.0.0.1:1/shop?target_session_attrs={SECRET}",
            'invalid target_session_attrs value: "***"',
        ),
        ("nothing", "its URL in ML_PLATFORM_DATABASES cannot be used"),
        (f"nosuch://u:{SECRET}@h/x", "its URL in ML_PLATFORM_DATABASES cannot be used"),
        (f"postgresql+psycopg://u:{SECRET}@h:port{SECRET}/x", "its URL in ML_PLATFORM_DATABASES cannot be used"),
        (f"postgresql+psycopg2://u:{SECRET}@h/x", "the driver psycopg2 that its URL names is not installed"),
    ],
)
def test_a_url_that_leads_nowhere(small_shop: Any, url: str, words: str) -> None:
    text = refused(small_shop, url)
    assert "source 'orders', database 'shop': " in text
    assert words in text


def test_a_wrong_password_is_no_passing_error(shop: Any, postgres_server: Any) -> None:
    text = refused(shop, shop.url.replace("p%40ss", f"wrong{SECRET}"))
    assert "the database refuses" in text
    assert "authentication failed" in text


def test_a_table_that_is_missing(shop: Any) -> None:
    assert "check table 'nowhere.orders'" in refused(shop.having(table="nowhere.orders"))


def test_a_column_that_is_missing(shop: Any) -> None:
    shop.sql("alter table {table} rename column due to until")
    text = refused(shop)
    assert f"table '{shop.table}' has no column 'due'" in text
    assert "there are order_id, changed_at, amount, until, paid, note" in text


def test_a_query_that_is_no_select(shop: Any) -> None:
    assert "the query of the contract" in refused(shop.having(table=None, query="DELETE FROM orders"))


@pytest.mark.parametrize("kind", ["text", "date", "numeric"])
def test_a_watermark_of_another_type(shop: Any, kind: str) -> None:
    using = "extract(epoch from changed_at)::numeric" if kind == "numeric" else f"changed_at::{kind}"
    shop.sql("insert into {table} (order_id, changed_at) values (1, now())")
    shop.sql(f"alter table {{table}} alter column changed_at type {kind} using {using}")
    text = refused(shop)
    assert "the watermark 'changed_at' is declared as timestamp" in text
    assert "cast it in a query" in text


def test_a_row_without_a_watermark_is_not_passed_over(shop: Any) -> None:
    shop.sql("insert into {table} (order_id) values (1)")
    assert "rows without a value in the watermark 'changed_at', which would never be read" in refused(shop)


def test_a_pull_cannot_write(shop: Any) -> None:
    """A query is trusted, and still it runs in a transaction that reads alone, and sees one state."""
    schema = shop.table.split(".")[0]
    body = f"insert into {shop.table} (order_id, changed_at) values (9, now()) returning *"
    shop.sql(f"create function {schema}.added() returns setof {shop.table} language sql as '{body}'")
    assert "read-only transaction" in refused(shop.having(table=None, query=f"select * from {schema}.added()"))
    assert shop.of_table() == []
    with database_of(shop.contract, {"shop": SecretStr(shop.url)}).look() as look:
        assert look.connection.exec_driver_sql("show transaction_isolation").scalar() == "repeatable read"


def test_a_value_that_the_driver_cannot_read_fails_at_once(shop: Any) -> None:
    shop.insert(1)
    shop.sql("alter table {table} add column until timestamptz default 'infinity'")
    given = shop.contract.model_dump(mode="json")
    given["columns"]["until"] = {"type": "timestamp"}
    object.__setattr__(shop, "contract", SourceContract.model_validate(given))
    assert "the database cannot do it (timestamp too large (after year 10K)" in refused(shop)


def test_texts_that_are_no_times_do_not_pass_as_watermarks(small_shop: Any) -> None:
    given = small_shop.contract.model_dump(mode="json")
    given["pull"]["watermark"] = "changed_at"
    object.__setattr__(small_shop, "contract", SourceContract.model_validate(given))
    small_shop.sql("insert into {table} values (1, 1, '2024-03-01 10:00:00.000000', 1, 'a'), (2, 2, '1 March', 1, 'b')")
    assert "watermark" in refused(small_shop)


def test_a_database_that_no_setting_names(small_shop: Any) -> None:
    puller = Puller(small_shop.lake, small_shop.store, small_shop.contract, {"other": SecretStr(URL)})
    with pytest.raises(PullError, match=r"'shop', which ML_PLATFORM_DATABASES does not name.*named are other"):
        puller.run()


def test_the_doctor_is_told_the_same(shop: Any) -> None:
    shop.insert(1)
    databases = {"shop": SecretStr(shop.url)}
    assert examine(shop.contract, databases).endswith("newest changed_at 2024-03-01 12:01:00.000000 UTC")
    shop.sql("alter table {table} drop column due")
    with pytest.raises(PullError, match="has no column 'due'"):
        examine(shop.contract, databases)


def test_nothing_of_a_pull_is_logged_with_values_or_passwords(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shop.insert(1)
    shop.pull()
    assert SECRET not in caplog.text
    assert SECRET not in "".join(shop.said)


def test_hostile_names_are_quoted(shop: Any) -> None:
    schema = shop.table.split(".")[0]
    shop.sql(f'create table {schema}."orders; drop table x --" as select order_id as "a""b", changed_at from {{table}}')
    shop.sql(f"""insert into {schema}."orders; drop table x --" values (1, '2024-03-01T12:00Z')""")
    given = shop.contract.model_dump(mode="json")
    given["columns"] = {'a"b': {"type": "int64"}, "changed_at": {"type": "timestamp"}}
    given["key"], given["pull"]["table"] = ['a"b'], f"{schema}.orders; drop table x --"
    object.__setattr__(shop, "contract", SourceContract.model_validate(given))
    assert shop.pull().rows == 1


def test_a_query_in_the_place_of_a_table(shop: Any) -> None:
    """Colons, percent signs, a comment and a semicolon at its end are nobody's parameters."""
    query = f"select *, 1 as more from {shop.table} where note not like 'x:y%' and paid::text <> ':z' -- the end;"
    shop = shop.having(table=None, query=query + "\n;")
    shop.insert(1, 2)
    shop.sql("update {table} set note = 'x:yes' where order_id = 1")
    shop.pull()
    assert shop.ids() == [2]


def test_without_the_extra_the_error_names_it() -> None:
    code = """
import sys
sys.modules["sqlalchemy"] = None
from pydantic import SecretStr
from ml_platform.contracts import SourceContract
from ml_platform.pull import examine
contract = SourceContract.model_validate({"name": "a", "kind": "events", "description": "A.", "owner": "team:a",
    "path": "{day}_*.parquet", "format": {"type": "parquet"}, "columns": {"at": {"type": "timestamp"}}, "key": ["at"],
    "time": {"column": "at"}, "pull": {"database": "d", "table": "t", "watermark": "at"}})
try:
    examine(contract, {"d": SecretStr("sqlite://")})
except Exception as why:
    print(why)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "source 'a', database 'd': SQLAlchemy is missing: pip install 'ml-platform[sql]'"


def test_nothing_imports_sqlalchemy_before_a_pull() -> None:
    code = "import sys, ml_platform.cli, ml_platform.pull, ml_platform.doctor; print('sqlalchemy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pull": {"query": "select 1"}}, "either `table` or `query`"),
        ({"pull": {"table": None}}, "either `table` or `query`"),
        ({"pull": {"watermark": "nowhere"}}, "column 'nowhere' is used but not declared"),
        ({"pull": {"tie_breaker": ["nowhere"]}}, "column 'nowhere' is used but not declared"),
        ({"pull": {"watermark": "note"}}, "the watermark 'note' is a string.*cannot be nullable"),
        ({"pull": {"watermark": "order_id", "lag": 5}}, "are about time"),
        ({"pull": {"watermark": "order_id", "whole_days": True}}, "are about time"),
        ({"pull": {"overlap": -1}}, "overlap"),
        ({"pull": {"rows": 1}}, "rows"),
        ({"path": "orders_{day}.parquet"}, "has not exactly one"),
        ({"path": "*_{day}_*.parquet"}, "has not exactly one"),
        ({"path": "orders_{day}_*.csv"}, "has not exactly one"),
        ({"landing": {"complete": "success"}}, "would wait for ever"),
        ({"format": {"type": "csv"}}, "the format is csv"),
        ({"kind": "snapshot", "time": None}, "make it `kind: events`"),
    ],
)
def test_a_contract_that_cannot_be_pulled(shop: Any, change: dict[str, Any], words: str) -> None:
    given = shop.contract.model_dump(mode="json")
    pull = {**given["pull"], **change.get("pull", {})}
    with pytest.raises(ValidationError, match=f"(?s){words}"):
        SourceContract.model_validate({**given, **change, "pull": pull})


def test_a_pull_changes_nothing_that_silver_is_made_of(shop: Any) -> None:
    assert shop.having(every=1).contract.fingerprint == shop.contract.fingerprint
    assert shop.contract.model_copy(update={"pull": None}).fingerprint


def test_sources_that_are_not_pulled_are_told_apart(shop: Any) -> None:
    plain = shop.contract.model_copy(update={"pull": None, "name": "plain", "panel": type(shop.contract.panel)()})
    contracts = Contracts(sources=(shop.contract, plain))
    assert [one.name for one in pulled(contracts)] == ["orders"]
    with pytest.raises(ContractError, match="'plain' declares no `pull`"):
        pulled(contracts, ["plain"])


def test_databases_are_read_from_the_environment_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_DATABASES", f'{{"shop": "{URL}"}}')
    settings = read_settings()
    assert settings.databases["shop"].get_secret_value() == URL
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    "text", [f"postgresql://u:{SECRET}@h/x", "", f'["{SECRET}"]', f'{{"shop": ["{SECRET}"]}}', f"{{{SECRET}"]
)
def test_databases_that_cannot_be_read_are_not_shown(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ML_PLATFORM_DATABASES", text)
    with pytest.raises(
        SettingsError, match=r"ML_PLATFORM_DATABASES=.not shown. cannot be used: it must be a JSON"
    ) as why:
        read_settings()
    assert SECRET not in str(why.value)
    assert why.value.__suppress_context__


def test_the_laptop_has_no_database(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).databases == {}
