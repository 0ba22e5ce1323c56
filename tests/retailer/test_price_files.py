"""Prices in the common public formats read as the same slots; what is wrong names file, line and remedy."""

from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agents.kit.local_day import bounds, quarters
from agents.retailer.price_files import read
from agents.retailer.price_slots import PriceFileError, Slot, averaged, seconds

BERLIN = "Europe/Berlin"


def written(folder: Path, text: str) -> str:
    file = folder / "prices"
    file.write_text(text, encoding="utf-8")
    return str(file)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def plain(slots: tuple[Slot, ...]) -> list[tuple[str, float, float]]:
    return [
        (f"{datetime.fromtimestamp(s.start, UTC):%d %H:%M}", s.end - s.start, round(s.eur_per_kwh, 5)) for s in slots
    ]


def test_a_plain_table_tells_its_unit_in_the_header(tmp_path: Path) -> None:
    text = "start,price_eur_per_kwh\n2016-05-20T00:00+02:00,0.21\n2016-05-20T01:00+02:00,-0.01\n"
    expected = [("19 22:00", 3600.0, 0.21), ("19 23:00", 3600.0, -0.01)]
    assert plain(read(written(tmp_path, text), BERLIN)) == expected
    in_mwh = text.replace("per_kwh", "per_mwh").replace("0.21", "210").replace("-0.01", "-10")
    assert plain(read(written(tmp_path, in_mwh), BERLIN)) == expected
    local = text.replace("+02:00", "").replace("start,price_eur_per_kwh", "start;Price EUR/kWh").replace(",", ";")
    assert plain(read(written(tmp_path, local), BERLIN)) == expected


def test_a_missing_row_is_a_gap_and_an_end_is_believed(tmp_path: Path) -> None:
    rows = "2016-05-20T00:00Z,0.2\n2016-05-20T01:00Z,-\n2016-05-20T02:00Z,0.3\n2016-05-20T05:00Z,0.4\n"
    found = plain(read(written(tmp_path, f"start,price eur/kwh\n{rows}"), BERLIN))
    assert [(when, long) for when, long, _ in found] == [
        ("20 00:00", 3600.0),
        ("20 02:00", 3600.0),
        ("20 05:00", 3600.0),
    ]
    ended = "start,end,price eur/kwh\n2016-05-20T00:00Z,2016-05-20T00:20Z,0.2\n"
    assert plain(read(written(tmp_path, ended), BERLIN)) == [("20 00:00", 1200.0, 0.2)]


@pytest.mark.parametrize(
    ("day", "count"), [(date(2016, 5, 21), 96), (date(2016, 3, 27), 92), (date(2016, 10, 30), 100)]
)
def test_the_platforms_local_table_covers_each_day_once(tmp_path: Path, day: date, count: int) -> None:
    def stamp(instant: float) -> str:
        return f"{datetime.fromtimestamp(instant, ZoneInfo('Europe/Brussels')):%d.%m.%Y %H:%M}"

    rows = [f'"{stamp(q)} - {stamp(q + 900)}","{50 + n}","EUR",""' for n, q in enumerate(quarters(day, BERLIN))]
    text = '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|DE-LU"\n' + "\n".join(rows)
    slots = read(written(tmp_path, text), BERLIN)
    assert len(slots) == count
    assert (slots[0].start, slots[-1].end) == bounds(day, BERLIN)
    assert all(a.end == b.start for a, b in pairwise(slots))
    assert [round(s.eur_per_kwh * 1000) for s in slots] == [50 + n for n in range(count)]


@pytest.mark.parametrize(("day", "count"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100)])
@pytest.mark.parametrize("minutes", [15, 60])
@pytest.mark.parametrize("shape", ["start", "start and end", "SMARD", "Energy-Charts"])
def test_local_times_cover_a_day_on_which_the_clock_changes_once(
    tmp_path: Path, shape: str, minutes: int, day: date, count: int
) -> None:
    starts = quarters(day, BERLIN)[:: minutes // 15]
    begun = [datetime.fromtimestamp(start, ZoneInfo(BERLIN)) for start in starts]
    ended = [datetime.fromtimestamp(start + 60 * minutes, ZoneInfo(BERLIN)) for start in starts]
    match shape:
        case "start":
            rows = ["start,price EUR/MWh", *(f"{a:%Y-%m-%dT%H:%M},{n - 9}" for n, a in enumerate(begun))]
        case "start and end":
            rows = ["start,end,price EUR/MWh"]
            rows += [
                f"{a:%Y-%m-%dT%H:%M},{b:%Y-%m-%dT%H:%M},{n - 9}"
                for n, (a, b) in enumerate(zip(begun, ended, strict=True))
            ]
        case "SMARD":
            rows = ["Datum von;Datum bis;Deutschland/Luxemburg [€/MWh] Originalauflösungen"]
            rows += [
                f"{a:%d.%m.%Y %H:%M};{b:%d.%m.%Y %H:%M};{n - 9},00"
                for n, (a, b) in enumerate(zip(begun, ended, strict=True))
            ]
        case _:
            rows = ['"Date (GMT+1)","Day Ahead Auction (DE-LU) Price (EUR/MWh, EUR/tCO2)"']
            rows += [f"{a.isoformat()},{n - 9}" for n, a in enumerate(begun)]
    slots = read(written(tmp_path, "\n".join(rows)), BERLIN)
    assert [slot.start for slot in slots] == starts
    assert {slot.end - slot.start for slot in slots} == {60.0 * minutes}
    assert len(slots) == count * 15 // minutes
    assert [slot.eur_per_kwh for slot in slots] == [pytest.approx((n - 9) / 1000) for n in range(len(slots))]


def test_a_comma_is_the_decimal_sign_where_semicolons_part_columns(tmp_path: Path) -> None:
    text = "start;price eur/mwh\n2016-05-20T00:00Z;1.234,5\n2016-05-20T01:00Z;-0,5\n2016-05-20T02:00Z;2.5\n"
    assert [slot.eur_per_kwh for slot in read(written(tmp_path, text), BERLIN)] == [1.2345, -0.0005, 0.0025]


def test_the_platforms_table_in_utc_with_sequences(tmp_path: Path) -> None:
    text = (
        '"MTU (UTC)","Area","Sequence","Day-ahead Price (EUR/MWh)"\n'
        '"20/05/2016 00:00:00 - 20/05/2016 00:15:00","BZN|AT","Sequence 1","40.5"\n'
        '"20/05/2016 00:00:00 - 20/05/2016 00:15:00","BZN|AT","Sequence 2","99"\n'
        '"20/05/2016 00:15:00 - 20/05/2016 00:30:00","BZN|AT","Sequence 1","n/e"\n'
    )
    assert plain(read(written(tmp_path, text), BERLIN)) == [("20 00:00", 900.0, 0.0405)]


DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">
  <mRID>1</mRID>
  <type>A44</type>
  <TimeSeries>
    <currency_Unit.name>EUR</currency_Unit.name>
    <price_Measure_Unit.name>MWH</price_Measure_Unit.name>
    <curveType>{curve}</curveType>
    <Period>
      <timeInterval><start>2016-05-19T22:00Z</start><end>2016-05-20T02:00Z</end></timeInterval>
      <resolution>PT60M</resolution>
      <Point><position>1</position><price.amount>50.5</price.amount></Point>
      <Point><position>3</position><price.amount>-20</price.amount></Point>
    </Period>
  </TimeSeries>
</Publication_MarketDocument>
"""


def test_the_platforms_document_by_its_curve_type(tmp_path: Path) -> None:
    repeats = plain(read(written(tmp_path, DOCUMENT.format(curve="A03")), BERLIN))
    assert repeats == [
        ("19 22:00", 3600.0, 0.0505),
        ("19 23:00", 3600.0, 0.0505),
        ("20 00:00", 3600.0, -0.02),
        ("20 01:00", 3600.0, -0.02),
    ]
    gaps = plain(read(written(tmp_path, DOCUMENT.format(curve="A01")), BERLIN))
    assert [when for when, _, _ in gaps] == ["19 22:00", "20 00:00"]


EVENT = """{
  "objectType": "EVENT", "programID": "44", "eventName": "price",
  "payloadDescriptors": [{"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}],
  "intervalPeriod": {"start": "2016-05-20T00:00:00Z", "duration": "PT1H"},
  "intervals": [
    {"id": 0, "payloads": [{"type": "PRICE", "values": [0.17]}]},
    {"id": 1, "payloads": [{"type": "GHG", "values": [300]}]},
    {"id": 2, "payloads": [{"type": "PRICE", "values": [0.27]}]},
    {"id": 3, "intervalPeriod": {"start": "2016-05-20T06:00:00Z", "duration": "PT15M"},
     "payloads": [{"type": "PRICE", "values": [0.5]}]}
  ]
}"""


def test_an_openadr_event(tmp_path: Path) -> None:
    assert plain(read(written(tmp_path, EVENT), BERLIN)) == [
        ("20 00:00", 3600.0, 0.17),
        ("20 02:00", 3600.0, 0.27),
        ("20 06:00", 900.0, 0.5),
    ]


FAULTS = {
    "no unit": ("start,price\n2016-05-20T00:00Z,0.2\n", 1, "eur_per_kwh"),
    "no time": ("when,price eur/kwh\n2016-05-20T00:00Z,0.2\n", 1, "start"),
    "no number": ("start,price eur/kwh\n2016-05-20T00:00Z,0.2\n2016-05-20T01:00Z,high\n", 3, "decimal point"),
    "spoken number": ("start;price eur/kwh\n2016-05-20T00:00Z;0,2 EUR\n", 2, "decimal point"),
    "no instant": ("start,price eur/kwh\n20th of May,0.2\n", 2, "ISO 8601"),
    "wrong unit": ("start,price eur/kwh\n2016-05-20T00:00Z,52.3\n", 2, "unit"),
    "twice": ("start,price eur/kwh\n2016-05-20T00:00Z,0.2\n2016-05-20T00:00Z,0.3\n", 3, "out"),
    "empty": ("\n\n", 1, "header"),
    "no rows": ("start,price eur/kwh\n", 1, "at least one"),
    "no xml": (DOCUMENT.format(curve="A01").replace("</Period>", "</Perio>"), 14, "again"),
    "doctype": ('<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>', 2, "Leave it out"),
    "currency": (DOCUMENT.format(curve="A01").replace(">EUR<", ">GBP<"), 5, "convert"),
    "position": (DOCUMENT.format(curve="A01").replace(">3<", ">9<"), 13, "position"),
    "no price": (DOCUMENT.format(curve="A01").replace(">-20<", ">x<"), 13, "numbers"),
    "no answer": (
        "<Acknowledgement_MarketDocument><Reason><text>None</text></Reason></Acknowledgement_MarketDocument>",
        1,
        "A44",
    ),
    "no json": (EVENT.replace('"intervals": [', '"intervals": [,'), 5, "line"),
    "no value": (EVENT.replace("[0.27]", "[]"), 8, "values"),
    "no duration": (EVENT.replace('"PT1H"', '"an hour"'), 6, "PT1H"),
    "no object": ('{"intervals": [5]}', 1, "payloads"),
    "a price without values": (EVENT.replace('"values": [0.27]', '"value": 0.27'), 8, "values"),
    "payloads are null": (
        '{"intervals": [{"payloads": null, "intervalPeriod": {"start": "2016-05-20T00:00:00Z", "duration": "PT1H"}}]}',
        1,
        "at least one",
    ),
    "nested": ("[" * 100_000, 1, "list"),
    "no resolution": (DOCUMENT.format(curve="A01").replace(">PT60M<", ">PT0M<"), 9, "PT60M"),
    "no zone": (DOCUMENT.format(curve="A01").replace("Z</start>", "</start>"), 9, "Z"),
    "no list": ("{}", 1, "list"),
    "dollars": (EVENT.replace('"EUR"', '"USD"'), 1, "EUR"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_names_file_line_and_remedy(tmp_path: Path, fault: str) -> None:
    text, line, remedy = FAULTS[fault]
    file = written(tmp_path, text)
    with pytest.raises(PriceFileError) as problem:
        read(file, BERLIN)
    assert problem.value.line == line, str(problem.value)
    assert remedy in problem.value.remedy, str(problem.value)
    assert file in str(problem.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match="cannot be read"):
        read(str(tmp_path / "none.csv"), BERLIN)


def test_an_hour_of_twelve_five_minute_prices_is_their_mean() -> None:
    """IEC-JWG30xx-RTP: hourly price as the average of the five-minute ones."""
    start = at("2016-05-20T00:00Z")
    fives = tuple(Slot(start + 300 * n, start + 300 * (n + 1), 0.10 + n / 100) for n in range(13))
    assert averaged(fives, 3600.0) == (Slot(start, start + 3600.0, pytest.approx(0.155), 0),)


def test_durations() -> None:
    assert [seconds(text) for text in ("PT15M", "PT1H", "P1D", "P1DT2H", "PT", "1h")] == [
        900,
        3600,
        86_400,
        93_600,
        None,
        None,
    ]
