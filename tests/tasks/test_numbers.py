"""Plain numbers: what is read, what is refused, and that nothing hangs."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.tasks import numbers

READ = {
    "18": 18, "-3": -3, "−3": -3, "+3": 3, "- 3": -3, "1,234": 1234, "1,234,567.5": Fraction(2469135, 2),
    "1{,}234": 1234, r"10,\!000": 10000, r"11,\! 111,\! 100": 11111100, r"1\,234": 1234, "1\u202f234": 1234,
    "18.00": 18, ".5": Fraction(1, 2), "0018": 18, "3.5e3": 3500, "1E-2": Fraction(1, 100),
    r"3.5\times10^{3}": 3500, "3.5 × 10^3": 3500, r"2 \cdot 10^{-1}": Fraction(1, 5),
    "1/2": Fraction(1, 2), "1 / 2": Fraction(1, 2), "-1/2": Fraction(-1, 2), "1 1/2": Fraction(3, 2),
    r"\frac{1}{2}": Fraction(1, 2), r"\frac12": Fraction(1, 2), r"\dfrac12": Fraction(1, 2),
    r"\tfrac1{23}": Fraction(1, 23), r"\frac{12}5": Fraction(12, 5), r"-\frac{1}{2}": Fraction(-1, 2),
    r"\frac{-1}{2}": Fraction(-1, 2), r"\frac{-1}{-2}": Fraction(1, 2), r"2\frac{1}{2}": Fraction(5, 2),
    "$18": 18, r"\$18": 18, r"$\$18$": 18, "-$18": -18, "$-18": -18, "$1,234.50": Fraction(2469, 2), "€5": 5,
    "50%": 50, r"50\%": 50, "50 percent": 50, r"90^\circ": 90, r"90^{\circ}": 90, "90°": 90,
    "18 dollars": 18, r"18\text{ dollars}": 18, r"\text{18}": 18, r"5\text{ cm}^2": 5, "5 m": 5, "60 miles per hour": 60,
    r"6 \text{ m/s}": 6, "10 km/h": 10, "4 million": 4_000_000, "$2.5 billion": 2_500_000_000, "3 hundred": 300,
    "18.": 18, "18,": 18, " 18 \n": 18, "**18**": 18, "$18$": 18, "$$18$$": 18, r"\(18\)": 18, r"\[ 18 \]": 18, "{18}": 18,
    r"\left 7\right": 7,
}  # fmt: skip
REFUSED = [
    "", " ", "x", "3x", "3 x", r"2\pi", "2π", "5!", "5 i", "4 or 5", "4 and 5", "1 2 3 4", "1 234", r"3\,4", "1,23", "1,2,3",
    "1234,567", "(3, 4)", "(3)", "nan", "NaN", "inf", "-inf", "∞", "2^10", r"2^{10}", "10²", "½", "3 + 4", "3-4", "--3", "-$-3",
    "1/0", r"\frac{1}{0}", "1 3/2", "1/2/3", "10:30", "1.2.3", "1e1001", "1e-1001", "1e999999999999", "1e", "٣", "5 dozen",
    "2 and a half", "3 and 1", "5 k", "5m", "less than 5", r"\sqrt{4}", "0x10", "1_000", "five", "True", "$", "%", "1010_2",
    "9" * 1001, "1." + "0" * 1000, "1," * 900, "-", "/", ".", r"\frac", r"\frac{}{}", "5 not", "5 negative", "5 apples or pears",
]  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_read(text: str) -> None:
    assert numbers.read(text) == READ[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    assert numbers.read(text) is None


def test_what_was_dropped_is_told() -> None:
    assert numbers.parse(r"50\%") == numbers.Plain(Fraction(50), percent=True)
    assert numbers.parse(r"5 \text{ Square  CM}") == numbers.Plain(Fraction(5), unit="square cm")


def test_the_bounds_are_inclusive() -> None:
    assert numbers.read("9" * 1000) == 10**1000 - 1
    assert numbers.read("1e1000") == 10**1000
    assert numbers.read("1e-1000") == Fraction(1, 10**1000)


FRACTIONS = st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6)


@given(FRACTIONS)
def test_a_spelling_reads_back(value: Fraction) -> None:
    assert numbers.read(numbers.spell(value)) == value


@given(FRACTIONS, st.sampled_from(["{}", "${}$", r"\boxed", r"\({}\)", " {} ", "**{}**", "{}.", r"{}\text{{ apples}}"]))
def test_latex_and_wrapping_do_not_change_the_value(value: Fraction, wrap: str) -> None:
    if wrap == r"\boxed":
        wrap = r"\frac{{{}}}{{1}}" if value.denominator == 1 else "{}"
    assert numbers.read(wrap.format(numbers.spell(value))) == value
    latex = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert numbers.read(latex) == value


@given(st.integers(-(10**15), 10**15), st.integers(0, 4))
def test_separators_and_zeros_do_not_change_the_value(value: int, zeros: int) -> None:
    assert numbers.read(f"{value:,}" + ("." + "0" * zeros if zeros else "")) == value


@given(st.text(alphabet="0123456789,./-+eE $%^{}\\ frac\\times10xπ\n", max_size=60))
def test_no_text_raises_and_scan_agrees_with_its_places(text: str) -> None:
    numbers.parse(text)
    tidied = numbers.tidy(text)
    end = 0
    for found in numbers.scan(tidied):
        assert found.start >= end
        assert tidied[found.start : found.end].strip() == found.text
        end = found.end


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("16-3 = 13.", ["16", "3", "13"]),
        ("1,2,3", ["1", "2", "3"]),
        ("(3,4)", ["3", "4"]),
        ("-5 and -$6.", ["-5", "-$6"]),
        ("a 1/2 of 12,345.", ["1/2", "12,345"]),
        ("x2, H2O, x^2, v1.5", []),
        ("- 5 apples", ["5"]),
        (".5,.6...7", [".5", ".6", "7"]),
        ("5 million in 2020", ["5 million", "2020"]),
    ],
)
def test_scan(text: str, found: list[str]) -> None:
    assert [number.text for number in numbers.scan(numbers.tidy(text))] == found


HOSTILE = ["9", "1,", "1,234,", "1/", "1 ", " ", "-", "1e", ".1", r"\frac{", r"\frac1", r"\frac{1}{", "{", r"\text{", "$", r"\!",
           r"\! ", "1^", r"\times10^", "٣", "\u2003.", "10^{", "1 million ", "%", "\n", "*", "`"]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    numbers.parse(text)
    numbers.parse(text[:2000])
    numbers.unwrap(text)
    for _ in numbers.scan(numbers.tidy(text)):
        pass
    assert time.process_time() - started < 2.5
