"""Durations and sizes: what people write, what Go's tool took, and what is refused with a sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restic_monitor.quantity import format_duration, format_size, parse_duration, parse_size

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WHOLE_SECONDS = st.timedeltas(timedelta(seconds=1), timedelta(days=36_500)).map(
    lambda value: timedelta(seconds=int(value.total_seconds()))
)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1d", DAY),
        ("6h", 6 * HOUR),
        ("90m", 1.5 * HOUR),
        ("1d12h", 36 * HOUR),
        ("2w", 14 * DAY),
        ("1h30m", 1.5 * HOUR),
        ("26h", 26 * HOUR),
        ("1w2d3h4m5s", 9 * DAY + 3 * HOUR + timedelta(minutes=4, seconds=5)),
        ("45s", timedelta(seconds=45)),
        ("1.5h", 1.5 * HOUR),
        (".5h", 0.5 * HOUR),
        ("0.5s", timedelta(milliseconds=500)),
        ("30m1h", 1.5 * HOUR),  # Go does not ask for an order either
        ("0d6h", 6 * HOUR),
        ("007h", 7 * HOUR),
        ("36500d", 36_500 * DAY),
    ],
)
def test_durations_as_people_and_go_write_them(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


EXAMPLE = "write it like 1d, 6h, 90m, 2w or 1d12h"
UNITS = "the units are w, d, h, m (minutes) and s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"'' is not a duration; {EXAMPLE}"),
        ("24", f"'24' has no unit; {EXAMPLE}, for instance 24h or 24d"),
        ("1d12", f"'1d12' has no unit; {EXAMPLE}, for instance 12h or 12d"),
        ("0", f"'0' has no unit; {EXAMPLE}"),
        ("-1d", f"'-1d' is not a duration; {EXAMPLE}"),
        ("+1d", f"'+1d' is not a duration; {EXAMPLE}"),
        ("1d-2h", f"'1d-2h' is not a duration; {EXAMPLE}"),
        ("1d 12h", f"'1d 12h' is not a duration; {EXAMPLE}"),
        (" 1d", f"' 1d' is not a duration; {EXAMPLE}"),
        ("d", f"'d' is not a duration; {EXAMPLE}"),
        ("daily", f"'daily' is not a duration; {EXAMPLE}"),
        ("1:30", f"'1:30' has no unit; {EXAMPLE}, for instance 1h or 1d"),
        ("1,5h", f"'1,5h' has no unit; {EXAMPLE}, for instance 1h or 1d"),
        ("1e5s", f"'1e5s': 'e' is not a unit of time; {UNITS}"),
        ("1day", f"'1day': 'day' is not a unit of time; {UNITS}"),
        ("2 days", f"'2 days' has no unit; {EXAMPLE}, for instance 2h or 2d"),
        ("3min", f"'3min': 'min' is not a unit of time; {UNITS}"),
        ("100ms", f"'100ms': 'ms' is not a unit of time; {UNITS}"),
        ("1y", f"'1y': 'y' is not a unit of time; {UNITS}"),
        ("1H", "'1H': 'H' is not a unit of time; did you mean 1h?"),
        ("1D", "'1D': 'D' is not a unit of time; did you mean 1d?"),
        ("1M", f"'1M': 'M' is not a unit of time; {UNITS}"),  # months?
        ("1h2h", f"'1h2h' names 'h' twice; {EXAMPLE}"),
        ("0d", f"'0d' is no time at all; {EXAMPLE}"),
        ("0.0000001s", f"'0.0000001s' is no time at all; {EXAMPLE}"),
        ("36501d", f"'36501d' is longer than 100 years; {EXAMPLE}"),
        ("9999999999999999999999999w", f"'9999999999999999999999999w' is longer than 100 years; {EXAMPLE}"),
        ("١d", f"'١d' is not a duration; {EXAMPLE}"),  # a digit, but not one of ours
        ("9" * 1_100_000 + "w", f"this is not a duration; {EXAMPLE}"),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse_duration(text)
    assert str(error.value) == message


@given(WHOLE_SECONDS)
def test_a_duration_survives_being_written_and_read(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration, parts=4)) == duration


@given(WHOLE_SECONDS, st.integers(1, 4))
def test_a_shortened_duration_is_never_longer_than_the_real_one(duration: timedelta, parts: int) -> None:
    shown = parse_duration(format_duration(duration, parts))
    assert duration - DAY < shown <= duration


@given(st.text())
def test_any_text_is_a_positive_duration_or_refused_with_a_sentence(text: str) -> None:
    duration, refusal = DAY, "write it like"
    try:
        duration = parse_duration(text)
    except ValueError as error:
        refusal = str(error)
    assert timedelta(0) < duration <= 36_500 * DAY
    assert "write it like" in refusal or "a unit of time" in refusal


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (36 * HOUR, "1d12h"),
        (25 * HOUR + timedelta(minutes=59), "1d1h"),
        (24 * HOUR + timedelta(minutes=59), "1d"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(seconds=59.999), "59s"),
        (timedelta(milliseconds=1), "0s"),
        (timedelta(0), "0s"),
        (-HOUR, "-1h"),
        (14 * DAY, "14d"),
    ],
)
def test_durations_are_shown_short_and_rounded_down(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


# sizes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("12B", 12),
        ("1kB", 1000),
        ("1KB", 1000),
        ("500MB", 500_000_000),
        ("5GiB", 5 << 30),
        ("5 GiB", 5 << 30),
        ("1.5TiB", 3 << 39),
        (".5KiB", 512),
        ("0GB", 0),
        ("1PiB", 1 << 50),
        ("2TB", 2_000_000_000_000),
        ("0.3KiB", 307),
    ],
)
def test_sizes_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


SIZES = "write it like 500MB, 5GiB or 1.5TiB"
SIZE_UNITS = "the units are kB, MB, GB, TB, PB and KiB, MiB, GiB, TiB, PiB"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"'' is not a size; {SIZES}"),
        ("big", f"'big' is not a size; {SIZES}"),
        ("-1GiB", f"'-1GiB' is not a size; {SIZES}"),
        ("1,5GiB", f"'1,5GiB' is not a size; {SIZES}"),
        ("5  GiB", f"'5  GiB' is not a size; {SIZES}"),
        ("١GiB", f"'١GiB' is not a size; {SIZES}"),
        ("5G", "'5G': 'G' is not a unit of size; did you mean 5GB (powers of 1000) or 5GiB (of 1024)?"),
        ("5m", "'5m': 'm' is not a unit of size; did you mean 5MB (powers of 1000) or 5MiB (of 1024)?"),
        ("5gib", "'5gib': 'gib' is not a unit of size; did you mean 5GiB?"),
        ("5Gb", "'5Gb': 'Gb' is not a unit of size; did you mean 5GB?"),
        ("5EiB", f"'5EiB': 'EiB' is not a unit of size; {SIZE_UNITS}"),
        ("5bytes", f"'5bytes': 'bytes' is not a unit of size; {SIZE_UNITS}"),
        ("1.5", f"'1.5' is no whole number of bytes; {SIZES}"),
        ("1.5B", f"'1.5B' is no whole number of bytes; {SIZES}"),
        ("9999PiB", f"'9999PiB' is more than any disk holds; {SIZES}"),
        ("9" * 1_100_000, f"this is not a size; {SIZES}"),
    ],
)
def test_what_is_no_size_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse_size(text)
    assert str(error.value) == message


@given(st.integers(0, 1 << 60))
def test_a_shown_size_is_never_larger_than_the_real_one_and_near_it(size_bytes: int) -> None:
    shown = parse_size(format_size(size_bytes))
    assert size_bytes * 0.9 - 1 <= shown <= size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        ((5 << 30) - 1, "4.9GiB"),
        (5 << 30, "5GiB"),
        (1023 << 20, "1023MiB"),
        (int(54.37 * (1 << 30)), "54.3GiB"),
        (3 << 39, "1.5TiB"),
        (5000 << 50, "5000PiB"),
    ],
)
def test_sizes_are_shown_short_and_rounded_down(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
