"""Tests of rules: texts become values exactly, or are refused with rule and value.

Belongs here: types and rules of single values. Does not belong here: whole files (formats) and drops (ingestion).
"""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ml_platform.columns import Column
from ml_platform.contracts import SourceContract
from ml_platform.formats import Malformed, Opened
from ml_platform.lake.schemas import INSTANT
from ml_platform.rules import screen
from ml_platform.values import _cast, reader, typed_values

NEW_YORK = "America/New_York"
DIGITS = st.text("0123456789", min_size=1, max_size=20)
SIGNS = st.sampled_from(["", "+", "-"])
NOISE = st.sampled_from(["", " ", "\n", "e3", ".", "x", "٣", "_1", "Z"])
CLOCKS = st.datetimes(datetime(1000, 1, 1), datetime(9998, 12, 31))  # noqa: DTZ001  texts without a zone
NUMBERS = st.builds("{}{}{}".format, SIGNS, DIGITS, NOISE)
FRACTIONS = st.builds(
    "{}{}{}{}{}".format, SIGNS, DIGITS, st.sampled_from([".", ""]), st.text("0123456789", max_size=4), NOISE
)
DATES = st.one_of(
    st.dates().map(str),
    st.builds("{}-{:02}-{:02}{}".format, st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32), NOISE),
)
ZONES = st.sampled_from(["", "Z", "+02:00", "-05:30", "+23:59", "+24:00", " "])
MOMENTS = st.builds(
    "{}{}{}{}{}".format, CLOCKS.map(lambda d: d.strftime("%Y-%m-%d")), st.sampled_from(["T", " ", "t"]),
    st.builds("{:02}:{:02}".format, st.integers(0, 24), st.integers(0, 60)), st.sampled_from(["", ":59", ":60", ":07.5", ":07.123456", ":07.1234567", ":"]), ZONES,
)  # fmt: skip
ANY = st.sampled_from(["", "true", "false", "True", "1", "NaN", "inf", "null", "0x10", "1,5"])


def typed(
    values: list[Any], kind: str, timezone: str = "UTC", raw: pa.DataType | None = None
) -> tuple[list[Any], list[bool]]:
    found, unreadable = typed_values(pa.array(values, raw or pa.string()), Column(type=kind), timezone)
    assert found.type == Column(type=kind).arrow
    return found.to_pylist(), unreadable.to_pylist()


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("int64", NUMBERS),
        ("decimal(12,2)", FRACTIONS),
        ("decimal(5,0)", FRACTIONS),
        ("date", DATES),
        ("timestamp", MOMENTS),
        ("bool", ANY),
    ],
)
def test_the_fast_path_equals_the_value_by_value_path(kind: str, texts: st.SearchStrategy[str]) -> None:
    column = Column(type=kind)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.one_of(texts, ANY), st.sampled_from(["UTC", NEW_YORK, "Asia/Kathmandu"]))
    def same(text: str, timezone: str) -> None:
        slowly = pa.array([reader(column, timezone)(text)], column.arrow)
        try:
            fast = _cast(pa.array([text]), column, timezone)
        except pa.ArrowInvalid:
            fast = None
        if fast is not None:
            assert fast.cast(pa.string()).equals(slowly.cast(pa.string()))
        # in company: a neighbour that is no value sends the whole column the slow way
        assert typed([text, "no value", None], kind, timezone)[0] == [slowly[0].as_py(), None, None]

    same()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.datetimes(datetime(2023, 1, 1), datetime(2025, 1, 1)),  # noqa: DTZ001
    st.sampled_from([NEW_YORK, "Europe/Paris", "Australia/Lord_Howe"]),
)
def test_local_times_mean_the_same_alone_and_in_company(clock: datetime, timezone: str) -> None:
    text = clock.strftime("%Y-%m-%dT%H:%M:%S")
    assert typed([text], "timestamp", timezone)[0] == typed([text, "x"], "timestamp", timezone)[0][:1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(NUMBERS, FRACTIONS))
def test_no_number_is_rounded_or_cut(text: str) -> None:
    """What is accepted is worth what the text says; what cannot be held is refused."""
    for kind in ("int64", "decimal(12,2)", "decimal(6,0)"):
        for company in ([], ["x"]):
            value = typed([text, *company], kind)[0][0]
            if value is not None:
                assert text.isascii()
                assert value == Decimal(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(width=64), st.sampled_from(["int64", "decimal(12,2)", "decimal(20,8)"]))
def test_no_float_is_rounded(number: float, kind: str) -> None:
    assume(not np.isnan(number))
    (value,), (refused,) = typed([number], kind, raw=pa.float64())
    assert (value is None) == refused
    if value is not None:
        assert float(value) == number


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(-(10**18), 10**18), st.sampled_from([(12, 2), (18, 4), (20, 8), (38, 2)]))
def test_a_decimal_that_went_through_a_float_comes_back(digits: int, shape: tuple[int, int]) -> None:
    """At 64 bits as the decimal that it was, up to fifteen digits; beyond them, and at 32 bits, as one that is the same float."""
    precision, scale = shape
    meant = Decimal(digits).scaleb(-scale)
    assume(abs(meant) < Decimal(10) ** (precision - scale))
    for width in (pa.float64(), pa.float32()):
        raw = pa.scalar(float(meant), width).as_py()
        values, refused = typed([raw], f"decimal({precision},{scale})", raw=width)
        if abs(raw) >= 10 ** (precision - scale):
            assert refused == [True]
            continue
        assert (refused, pa.scalar(float(values[0]), width).as_py()) == ([False], raw)
        if width == pa.float64() and abs(digits) < 10**15:
            assert values == [meant]


@pytest.mark.parametrize(
    "texts",
    [
        ["1.50", "0.05", "9999999999.99"],
        ["00.00", "12345678901.00"],
        ["1.50", "-1.50"],
        ["1.50", "1.5", "2"],
        ["1.50", None, "2.50"],
        ["1.50", ".50", "5."],
        ["1..0", "1,50", "1.5a"],
        ["1.50", ""],
    ],
)
def test_columns_of_decimals_mean_what_each_of_them_means(texts: list[str | None]) -> None:
    """Also as a part of a longer array, which is how the last row of a file is cut off."""
    column = Column(type="decimal(12,2)")
    read = reader(column, "UTC")
    expected = [None if one is None else read(one) for one in texts]
    assert typed(texts, "decimal(12,2)")[0] == expected
    part = pa.array(["77.77", *texts, "x"], pa.string()).slice(1, len(texts))
    assert typed_values(part, column, "UTC")[0].to_pylist() == expected


def test_decimals_as_floats_of_parquet_are_found_again() -> None:
    values = [19.99, -7.0, 123456.78, 1234.56, None]
    for width in (pa.float64(), pa.float32()):
        assert typed(values, "decimal(12,2)", raw=width) == (
            [Decimal("19.99"), Decimal("-7.00"), Decimal("123456.78"), Decimal("1234.56"), None],
            [False] * 5,
        )
    assert typed([1.5, 12.34], "decimal(12,2)", raw=pa.float16())[0] == [Decimal("1.50"), None]  # 12.34375
    assert typed([1234.56], "decimal(12,4)", raw=pa.float32())[0] == [Decimal("1234.5600")]
    assert typed([1e30, 2.0**60], "decimal(38,2)", raw=pa.float64())[0] == [10**30, 1152921504606847000]
    assert typed([1.0, 1.9, float("nan"), float("inf"), 1e300], "int64", raw=pa.float64()) == (
        [1, *[None] * 4],
        [False, *[True] * 4],
    )
    assert typed([2.0000005], "int64", raw=pa.float64()) == ([None], [True])
    near = [1e10, 1.005, 9.9999999, 9.999999999999998, 0.1 + 0.2, 1e-300]
    assert typed(near, "decimal(12,2)", raw=pa.float64()) == ([None] * 6, [True] * 6)
    great = [float("nan"), 1e300, float("-inf"), 1e16]
    assert typed(great, "decimal(18,2)", raw=pa.float64()) == ([None] * 4, [True] * 4)


@pytest.mark.parametrize(
    ("text", "timezone", "instant"),
    [
        ("2024-07-01T12:00", "UTC", "2024-07-01T12:00:00+00:00"),
        ("2024-07-01 12:00:00", NEW_YORK, "2024-07-01T16:00:00+00:00"),
        ("2024-01-01 12:00:00", NEW_YORK, "2024-01-01T17:00:00+00:00"),
        ("2024-07-01T12:00:00.25Z", NEW_YORK, "2024-07-01T12:00:00.250000+00:00"),
        ("2024-07-01T12:00:00+02:00", NEW_YORK, "2024-07-01T10:00:00+00:00"),
        ("2024-11-03T01:30:00", NEW_YORK, "2024-11-03T05:30:00+00:00"),  # twice: the first
        ("2024-03-10T02:30:00", NEW_YORK, "2024-03-10T07:00:00+00:00"),  # never: the end of the gap
    ],
)
@pytest.mark.parametrize("company", [[], ["2024-07-01T12:00:00Z"], ["x"]])
def test_a_time_without_a_zone_is_local_to_the_contract(
    text: str, timezone: str, instant: str, company: list[str]
) -> None:
    assert typed([text, *company], "timestamp", timezone)[0][0] == datetime.fromisoformat(instant)


def test_times_of_parquet_are_instants_and_lose_no_digit() -> None:
    clock = datetime(2024, 7, 1, 12)  # noqa: DTZ001
    noon = [datetime(2024, 7, 1, 16, tzinfo=UTC)]
    assert typed([clock], "timestamp", NEW_YORK, pa.timestamp("ms")) == (noon, [False])
    assert typed(noon, "timestamp", NEW_YORK, pa.timestamp("ns", tz=NEW_YORK)) == (noon, [False])
    nanos = pa.array([1_000, 1_001, None], pa.int64()).cast(pa.timestamp("ns", tz="UTC"))
    found, unreadable = typed_values(nanos, Column(type="timestamp"), "UTC")
    assert found.type == INSTANT
    assert (found.is_valid().to_pylist(), unreadable.to_pylist()) == ([True, False, False], [False, True, False])


@pytest.mark.parametrize(
    ("raw", "kind", "values", "expected"),
    [
        (pa.int32(), "int64", [1, None], [1, None]),
        (pa.int64(), "decimal(12,2)", [3], [Decimal("3.00")]),
        (pa.decimal128(20, 4), "decimal(12,2)", [Decimal("1.2500")], [None]),
        (pa.large_string(), "string", ["a"], ["a"]),
        (pa.dictionary(pa.int8(), pa.string()), "int64", ["1", "1", None], [1, 1, None]),
        (pa.null(), "int64", [None], [None]),
        (pa.bool_(), "string", [True], ["true"]),
        (pa.date32(), "date", [date(2024, 1, 1)], [date(2024, 1, 1)]),
        (pa.string(), "bool", ["true", "false", "1"], [True, False, None]),
    ],
)
def test_types_of_parquet_are_read_by_their_text(
    raw: pa.DataType, kind: str, values: list[Any], expected: list[Any]
) -> None:
    assert typed(values, kind, raw=raw)[0] == expected


CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}.csv",
        "format": {"type": "csv"},
        "columns": {
            "meter": {"type": "int64", "min": 0, "max": 99.5},
            "at": {"type": "timestamp"},
            "amount": {"type": "decimal(12,2)", "nullable": True, "min": -1.5, "max": 100},
            "kind": {"type": "string", "nullable": True, "allowed": ["in", "out"]},
            "on": {"type": "date", "nullable": True},
        },
        "key": ["meter", "at"],
        "time": {"column": "at"},
    }
)
DAY = date(2024, 1, 1)
GOOD = {"meter": "7", "at": "2024-01-01T00:00Z", "amount": "1.50", "kind": "in", "on": "2024-01-01"}


def screened(
    *changes: dict[str, str | None], malformed: tuple[Malformed, ...] = ()
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows = [{**GOOD, **one} for one in changes]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in GOOD})
    found = screen(Opened(table, pa.array(range(2, len(rows) + 2), pa.int64()), malformed), CONTRACT, DAY)
    assert found.accepted.num_rows + found.refused.num_rows == len(rows) + len(malformed)
    return found.accepted.to_pylist(), found.refused.to_pylist()


@pytest.mark.parametrize(
    ("change", "rule", "value"),
    [
        ({"meter": "seven"}, "not_int64:meter", "seven"),
        ({"meter": "7.5"}, "not_int64:meter", "7.5"),
        ({"meter": None}, "empty:meter", None),
        ({"meter": "-1"}, "below_minimum:meter", "-1"),
        ({"meter": "100"}, "above_maximum:meter", "100"),
        ({"at": "yesterday"}, "not_timestamp:at", "yesterday"),
        ({"amount": "1.505"}, "not_decimal(12,2):amount", "1.505"),
        ({"amount": "-1.51"}, "below_minimum:amount", "-1.51"),
        ({"amount": "100.01"}, "above_maximum:amount", "100.01"),
        ({"kind": "sideways"}, "not_allowed:kind", "sideways"),
        ({"kind": "in\0"}, "nul_in:kind", "in\0"),
        ({"on": "2024-02-30"}, "not_date:on", "2024-02-30"),
        ({"at": "1017-01-01T00:00Z"}, "far_from_its_day:at", "1017-01-01T00:00Z"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "far_from_its_day:at", "9999-12-31T23:59:59-14:00"),
        ({"at": "2022-12-29T00:00Z"}, "far_from_its_day:at", "2022-12-29T00:00Z"),
        ({"at": "2024-02-04T00:00Z"}, "far_from_its_day:at", "2024-02-04T00:00Z"),
    ],
)
def test_each_rule_refuses_the_row_and_names_the_value(
    change: dict[str, str | None], rule: str, value: str | None
) -> None:
    accepted, refused = screened({}, change, {})
    assert [row["row_number"] for row in accepted] == [2, 4]
    assert [(row["row_number"], row["rule"], row["value"]) for row in refused] == [(3, rule, value)]
    assert json.loads(refused[0]["raw"]) == {**GOOD, **change}


def test_bounds_themselves_and_empty_optional_values_are_accepted() -> None:
    accepted, refused = screened(
        {"meter": "0", "amount": "-1.5"}, {"meter": "99", "amount": "100"}, {"amount": None, "kind": None, "on": None}
    )
    assert refused == []
    assert [row["amount"] for row in accepted] == [Decimal("-1.50"), Decimal("100.00"), None]


def test_short_floats_of_a_refused_row_can_come_back() -> None:
    table = pa.table({name: pa.array([GOOD[name]]) for name in GOOD})
    amount = pa.array([12.34], pa.float32())
    table = table.set_column(2, "amount", amount).set_column(0, "meter", pa.array(["x"]))
    (refused,) = screen(Opened(table, pa.array([1])), CONTRACT, DAY).refused.to_pylist()
    assert (refused["rule"], json.loads(refused["raw"])["amount"]) == ("not_int64:meter", 12.34)


def test_the_first_broken_rule_counts_and_bad_neighbours_change_nothing() -> None:
    accepted, refused = screened({"meter": "x", "amount": "y"}, {})
    assert [row["rule"] for row in refused] == ["not_int64:meter"]
    assert accepted == [
        {
            "meter": 7,
            "at": datetime(2024, 1, 1, tzinfo=UTC),
            "amount": Decimal("1.50"),
            "kind": "in",
            "on": date(2024, 1, 1),
            "row_number": 3,
        }
    ]


def test_integers_beyond_the_reach_of_floats_meet_their_bounds() -> None:
    assert [row["rule"] for row in screened({"meter": str(2**53 + 1)})[1]] == ["above_maximum:meter"]


def test_malformed_lines_are_refused_as_they_stand() -> None:
    accepted, refused = screened({}, malformed=(Malformed(3, "1,2", "2 fields, the header has 5"),))
    assert len(accepted) == 1
    assert refused == [{"row_number": 3, "rule": "malformed_row", "value": "2 fields, the header has 5", "raw": "1,2"}]


def test_no_rows_are_no_rows() -> None:
    assert screened() == ([], [])


def test_a_day_of_local_times_has_a_day_of_hours() -> None:
    """Around the clock change an hour of texts is ambiguous or missing, and none is lost."""
    texts = [(datetime(2024, 3, 10) + timedelta(hours=n)).strftime("%Y-%m-%d %H:%M") for n in range(24)]  # noqa: DTZ001
    found = typed(texts, "timestamp", NEW_YORK)[0]
    assert found == sorted(found)
    assert found[-1] - found[0] == timedelta(hours=22)
