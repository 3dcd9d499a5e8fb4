"""What is the same answer and what is not: every case both ways round, by our own reading alone."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.tasks.base import Rules
from ponder.tasks.math import judge, rest
from ponder.tasks.rules import MathRules

pytest.importorskip("mpmath")
MATH = MathRules()


@pytest.fixture(autouse=True)
def _ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were installed, with nobody to ask."""
    monkeypatch.setattr("ponder.tasks.math.installed", lambda: True)
    monkeypatch.setattr(rest, "same", lambda reference, answer: (None, "asked"))


SAME = [
    # plain numbers, units, percentages
    ("5", r"5 \text{ cm}"), (r"5\text{ m}", r"500\text{ cm}"), ("1 hour", "60 minutes"), ("5 dollars", "500 cents"),
    (r"864 \text{ in}^2", r"6 \text{ square feet}"), (r"60 \text{ mph}", r"88 \text{ feet per second}"), ("5 apples", "5 fruits"),
    (r"50\%", "50"), (r"50\%", r"\frac{1}{2}"), (r"90^\circ", "90"), (r"90^\circ", r"\frac{\pi}{2}"), ("90°", r"90 \text{ degrees}"),
    (r"\$18.90", "18.9"), (r"0.\overline{3}", r"\frac{1}{3}"), (r"2\frac{1}{2}", "2.5"), (r"12\pi \text{ cm}", r"12 \pi"),
    # expressions
    (r"3\sqrt{13}", r"\sqrt{117}"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"), (r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}"),
    (r"\sqrt[3]{-8}", "-2"), ("(-8)^{1/3}", "-2"), ("10!", "3628800"), (r"\binom{5}{2}", "10"), (r"\ln 8", r"3\ln 2"),
    (r"\log_2 8", "3"), (r"e^{i\pi}", "-1"), (r"\sin^2 x + \cos^2 x", "1"), (r"\sin 2x", r"2\sin x\cos x"), (r"\cot x", r"\frac{1}{\tan x}"),
    (r"\tan 45^\circ", "1"), (r"\sin^{-1} 1", r"\arcsin(1)"), (r"\arctan 1", r"\frac{\pi}{4}"), ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("x^{10}", "x^10"), (r"\frac{11+9a}{20}", r"\frac{9}{20}a + 0.55"), ("2pi", r"2\pi"), ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}"),
    ("xy", r"x \cdot y"), (r"1 - 12i", "1-12i"), (r"\frac{1}{1+i}", r"\frac{1-i}{2}"), (r"|{-3}|", "3"), (r"\lfloor 2.5 \rfloor", "2"),
    (r"2^{2005}-1", r"2 \cdot 2^{2004} - 1"), ("x", "(x)"), (r"\theta", "θ"), ("a_1", "a_{1}"), (r"\frac12", "1/2"), ("f(x)", "f(x)"),
    # names, equations
    ("x = 5", "5"), ("5 = x", "x=5"), ("f(x) = 2x + 3", "2x+3"), ("y = 2x + 3", "2x - y + 3 = 0"), ("2x + 4y = 6", "x = 3 - 2y"),
    ("5x - 7y + 11z + 4 = 0", "-10x+14y-22z-8=0"), ("x^2+y^2=1", "1 = y^2+x^2"), ("1+1=2", "2"), (r"2\pi \approx 6.28", r"2\pi"),
    (r"\text{Area} = 12", "12"), ("x = 2+3 = 5", "5"), ("(x,y) = (1,2)", "(1,2)"),
    # sets, lists, tuples
    ("1,-2", "-2, 1"), (r"\{1,2\}", "2,1"), ("1 and 2", r"2 \text{ or } 1"), (r"\{1, 1, 2\}", r"\{1, 2\}"), ("x=1, x=2", "1, 2"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"), (r"\{1\pm\sqrt{5},-2\}", r"-2, 1+\sqrt{5}, 1-\sqrt{5}"), (r"\{5\}", "5"), ("0.5", r"\frac{1}{2} or 0.5"),
    ("x=1, y=2", "y=2, x=1"), ("(1,2)", "x=1, y=2"), (r"\langle 1, 2 \rangle", "(1,2)"), (r"\emptyset", r"\{\}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"), (r"(\frac{1}{2}, -13)", r"\left( 0.5, -13 \right)"),
    # intervals, inequalities
    (r"(2,\infty)", "x>2"), (r"[-2,7]", r"x \in [-2,7]"), (r"[-2,7]", r"-2 \le x \le 7"), (r"(-\infty, 2) \cup (3, \infty)", r"x<2 \text{ or } x>3"),
    (r"x \ne 1", r"(-\infty,1) \cup (1,\infty)"), (r"\mathbb{R} \setminus \{1\}", r"x \neq 1"), (r"\mathbb{R}", r"(-\infty,\infty)"),
    (r"(1,2) \cup [2,3)", "(1,3)"), (r"(3,5) \cup (1,2)", r"(1,2) \cup (3,5)"), (r"x^2 < y", r"2y > 2x^2"), ("-80 \\leq g(x) \\leq 82", "[-80, 82]"),
    # matrices, bases, ratios, words, choices
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & \frac{8}{2} \end{bmatrix}"),
    ("52_8", "52_{8}"), ("52_8", "52"), (r"\text{A5}_{11}", "A5_{11}"), ("3:4", r"\frac{3}{4}"), ("3:4", "3 : 4"),
    (r"\text{Evelyn}", "evelyn"), (r"\text{even}", "even."), (r"\text{(C)}", "C"), (r"\text{(C)}", r"\textbf{(C)}\ 12"), ("(C)", r"\text{C}"),
    (r"\text{A, B}", "B, A"), (r"\text{October 30}", "October 30"), (r"\infty", r"+\infty"),
]  # fmt: skip
DIFFERENT = [
    ("5 cm", "5 m"), (r"5 \text{ cm}^2", r"5 \text{ cm}^3"), (r"50\%", "0.6"), (r"50\%", r"5000"), (r"90^\circ", r"\pi"), ("3R^2", "3r^2"),
    ("1/2^{99}", "1/2^{98}"), (r"2^{2005}", r"2^{2005}+1"), (r"10^{-40}", "0"), (r"\sqrt{2}", "1.4142135623730951"), (r"\frac{22}{7}", r"\pi"),
    (r"e^{\pi\sqrt{163}}", "262537412640768744"), (r"\sqrt{x^2}", "x"), (r"\ln x^2", r"2\ln x"), ("p-q", "q-p"), ("|p-q|", "p-q"),
    ("2k+2", "2n+2"), ("xy", "yx+1"), ("x = 5", "y = 5"), ("3x+4y+14=0", "3*x-1*y+13=0"), ("x^2+y^2=1", "x^2+y^2"), ("x < 3", "x > 3"),
    (r"x \le 3", "x < 3"), ("x^2 < y", "x^2 > y"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("(1,2)", "(1,2]"), ("1, 2", "1, 3"), ("1, 2", "1"),
    ("-1, 3, 3", "-1, 3"), ("3", "3, 3"), ("3", "3 or 4"), ("(1,2)", "1, 2"), ("x=1, y=2", "x=2, y=1"), (r"1 \pm \sqrt{19}", r"1+\sqrt{19}"), (r"\emptyset", "0"), ("4", "1 2 3 4"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"), ("52_8", "52_9"), ("52_8", "42"), ("3:4", "4:3"),
    (r"\text{even}", "odd"), (r"\text{even}", "neve"), (r"\text{(C)}", "D"), (r"\text{(C)}", "C or D"), (r"\text{four}", r"-\text{four}"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(-\infty, 2)"), ("2", "1+1=3"), ("2", "x = 1 = 2"), (r"\infty", r"-\infty"), ("E", "e"), ("i", "I"),
    ("1,234", "(1,234)"), ("a_1", "a_2"), ("x'", "x"), (r"\sin x", r"\cos x"), (r"\log 2", r"\ln 2"), ("f(x)", "f(y)"), ("0.5", ".05"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SAME)
def test_the_same(left: str, right: str) -> None:
    for reference, answer in ((left, right), (right, left)):
        verdict = MATH.judge(reference, rf"\boxed{{{answer}}}")
        assert verdict.verdict == "correct", (reference, verdict.reason)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_not_the_same(left: str, right: str) -> None:
    for reference, answer in ((left, right), (right, left)):
        verdict = MATH.judge(reference, rf"\boxed{{{answer}}}")
        assert verdict.verdict in ("wrong", "unverified"), (reference, verdict.reason)
    assert "wrong" in {judge.same(left, right)[0] is False and "wrong", MATH.compare(right, left).verdict}


UNKNOWN = [
    (r"\int_0^1 x dx", r"\frac{1}{2}"),
    (r"\lim_{x \to 0} x", "0"),
    (r"\sum_{k=1}^{3} k", "6"),
    (r"\triangle ABC", "5"),
]


@pytest.mark.parametrize(("left", "right"), UNKNOWN)
def test_only_unknown_commands_are_asked_about(left: str, right: str) -> None:
    assert judge.same(left, right) == judge.same(right, left) == (None, "asked")


def test_what_is_malformed_is_wrong_as_an_answer_and_unverified_as_a_reference() -> None:
    for text in ("1 2 3 4", "((1)", r"\frac{0}{0}", "3 +", r"[-\infty, 0]"):
        assert judge.same("5", text)[0] is False, text
        assert judge.same(text, "5")[0] is None, text


def test_what_is_too_large_is_wrong_as_an_answer_and_unverified_as_a_reference() -> None:
    for text in ("9^{9^{9^9}}", "(10!)!", "2^{" + "9" * 50 + "}", "(" * 60 + "1" + ")" * 60, "1+" * 500 + "1"):
        assert judge.same("5", text)[0] is False, text
        assert judge.same(text, "5")[0] is None, text
        assert MATH.judge(text, rf"\boxed{{{text}}}").correct is True  # the same spelling


def test_a_sum_that_rounding_would_decide_is_beyond_the_limits() -> None:
    assert judge.same("5", r"\sqrt{10^{400}+1} - 10^{200}") == (
        False,
        "beyond the limits: a difference too small to tell",
    )
    assert judge.same("0", r"\sqrt{2} + 10^{-300} - \sqrt{2}")[0] is False


def test_votes_group_what_is_the_same() -> None:
    answers = [
        "1/2",
        r"\frac{1}{2}",
        "0.5",
        None,
        r"\sqrt{2}",
        r"\frac{2}{\sqrt{2}}",
        "1, 2",
        r"\{2, 1\}",
        "(1, 2)",
        "x = 0.5",
        "?",
    ]
    assert MATH.classes(answers) == [0, 0, 0, None, 1, 1, 2, 2, 3, 0, 4]


TERMS = st.sampled_from([
    "x", "y", "2", "3", r"\frac{1}{2}", r"\sqrt{2}", r"\pi", "0.5", "(x+1)", "x^2", r"\frac{x}{y}", "e", "i", "7", "-4",
])  # fmt: skip
ANSWERS = st.one_of(
    st.lists(TERMS, min_size=1, max_size=4).map(" + ".join),
    st.lists(TERMS, min_size=1, max_size=3).map(r" \cdot ".join),
    st.lists(TERMS, min_size=2, max_size=3).map(", ".join),
    st.lists(TERMS, min_size=2, max_size=3).map(lambda terms: f"({', '.join(terms)})"),
    st.sampled_from(["xy", "yx", "5 cm", "5 m", "x = 2", "y = 2", "x > 2", r"(2, \infty)", r"50\%", r"\text{two}", "2_8", "3:4", "?"]),
)  # fmt: skip


@given(answers=st.lists(st.one_of(st.none(), ANSWERS), max_size=8))
def test_classes_are_an_equivalence(answers: list[str | None]) -> None:
    found = MATH.classes(answers)
    assert found == Rules.classes(MATH, answers)  # the general way, by pairs
    for left, a in zip(answers, found, strict=True):
        for right, b in zip(answers, found, strict=True):
            if left is not None and right is not None:
                assert (a == b) == MATH.equal(left, right)


@given(left=ANSWERS, right=ANSWERS)
def test_sameness_is_symmetric_and_holds_for_itself(left: str, right: str) -> None:
    assert judge.same(left, right)[0] == judge.same(right, left)[0] or None in (
        judge.same(left, right)[0],
        judge.same(right, left)[0],
    )
    assert judge.same(left, left)[0] is not False


def worth(term: str) -> str:
    """0.5 and one half are one element."""
    return r"\frac{1}{2}" if term == "0.5" else term


SPACE = st.sampled_from(["", " ", r"\, ", r"\; ", "  ", r"\ "])
WRAP = st.sampled_from(["{}", "${}$", "({})", r"\left( {} \right)", "{}.", r"\displaystyle {}", "{{{}}}"])


@given(terms=st.lists(TERMS, min_size=1, max_size=4), space=SPACE, wrap=WRAP, seed=st.integers(0, 99))
def test_spelling_white_space_and_the_order_of_a_sum_do_not_change_a_verdict(
    terms: list[str], space: str, wrap: str, seed: int
) -> None:
    reference = " + ".join(terms)
    shuffled = random.Random(seed).sample(terms, len(terms))
    answer = wrap.format(f"{space}+{space}".join(shuffled).replace("\\frac", "\\dfrac"))
    assert MATH.judge(reference, rf"\boxed{{{answer}}}").correct is True
    assert MATH.judge(f"{reference} + 1", rf"\boxed{{{answer}}}").correct is False


@given(elements=st.lists(TERMS, min_size=2, max_size=5, unique_by=worth), space=SPACE, seed=st.integers(0, 99))
def test_the_order_of_a_set_does_not_change_a_verdict_and_that_of_a_tuple_does(
    elements: list[str], space: str, seed: int
) -> None:
    shuffled = random.Random(seed).sample(elements, len(elements))
    for form in (r"\{{{}\}}", "{}"):
        answer = form.format(f",{space} ".join(shuffled))
        assert MATH.judge(rf"\{{{', '.join(elements)}\}}", rf"\boxed{{{answer}}}").correct is True
        dropped = form.format(", ".join(shuffled[1:]))
        assert MATH.judge(rf"\{{{', '.join(elements)}\}}", rf"\boxed{{{dropped}}}").correct is False
    pair, turned = f"({', '.join(elements)})", f"({', '.join(shuffled)})"
    assert MATH.judge(pair, rf"\boxed{{{turned}}}").correct is (shuffled == elements)


@given(
    text=st.text(alphabet="\\{}()[],.;:=<>|!%^_+-*/$0123456789xyeinπ√∞≤ \n", max_size=60), other=st.text(max_size=20)
)
def test_nothing_is_raised(text: str, other: str) -> None:
    for left, right in ((text, other), (other, text), (text, text)):
        found, reason = judge.same(left, right)
        assert found in (True, False, None)
        assert isinstance(reason, str)
    assert judge.spelling(text) is None or judge.spelling(text)


@given(value=st.fractions(-1000, 1000, max_denominator=99), form=st.sampled_from(["{0}", r"\frac{{{1}}}{{{2}}}", "x = {0}", "{0} + 0", r"\sqrt{{{3}}} \cdot {4}"]))  # fmt: skip
def test_numbers_in_any_form_are_compared_exactly(value: Fraction, form: str) -> None:
    parts: list[Any] = [value, value.numerator, value.denominator, value**2, (value > 0) - (value < 0)]
    answer = form.format(*(f"({part})" if isinstance(part, Fraction) and part < 0 else part for part in parts))
    assert judge.same(str(value), answer)[0] is True
    assert judge.same(str(value + Fraction(1, 10**12)), answer)[0] is False
