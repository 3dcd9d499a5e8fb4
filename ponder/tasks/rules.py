"""The rules of each kind of answer: how it is asked for, read, compared and judged.

    number   exact rational numbers               math   mathematics (see ponder.tasks.math)
    choice   one letter                           text   normalised text

Equality is equality of one canonical spelling throughout, so votes group answers in linear time. No rule can hang:
every pattern is linear in the text, and a committed answer beyond 20,000 characters is none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ponder import errors
from ponder.tasks import commits, math, numbers
from ponder.tasks.base import Rules
from ponder.tasks.reading import (
    formula_or_number,
    holds_number,
    is_list,
    last_explicit,
    last_number,
    letter,
    marked_line,
    normal_latex,
    one_number,
    without_aside,
)
from ponder.types import Verdict, correct, unverified, wrong

NO_ANSWER = "no answer could be extracted"


class Spelled(Rules):
    """Base of rules under which answers are equal exactly if their canonical spellings are."""

    def classes(self, answers: Sequence[str | None]) -> list[int | None]:
        """Equivalence classes, numbered by first appearance; None for an abstention. Linear in the answers."""
        seen: dict[str, int] = {}
        return [None if a is None else seen.setdefault(self.canonical(a), len(seen)) for a in answers]

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` can be judged against, else what is wrong with it."""
        if isinstance(reference, bool) or not isinstance(reference, (str, int, float, Fraction)):
            return f"is {_name(reference)}, not text or a number"
        return None if str(reference).strip() else "is empty"

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Correct, wrong or unverified, with the reason. A completion without an answer is wrong."""
        answer = self.extract(completion)
        return wrong(NO_ANSWER) if answer is None else self.compare(str(reference), answer)

    def compare(self, reference: str, answer: str) -> Verdict:
        """The verdict on an extracted answer."""
        same = self.canonical(reference) == self.canonical(answer)
        return _correct(answer) if same else _wrong(answer, reference)


class NumberRules(Spelled):
    """Plain numbers, compared exactly.

    Extraction: the last `\\boxed{…}` or line '#### …', whichever comes later, unless a phrase 'the answer is …' after
    it names one number or a list; without either, the last such phrase that names a number; else the last number in the
    text. A committed place must hold one number and words (of an equation, its last side: '9 * 2 = 18'): a list ('4 or
    5', '1 2 3 4'), an expression ('2 + x', '\\sqrt{4}', '2^{10}') or a number that a word changes ('not 5', '5 dozen')
    is no answer. Nor is a last line of numbers that is nothing but a list, or a last number that 'or' joins to another.
    A line '#### …' counts only if it is one number with its unit, a list, or the text's last line: otherwise it is a
    heading. 'Check our answer: …' commits to nothing.
    """

    kind = "number"
    instruction = "Think step by step. Put the final answer, one plain number, in \\boxed{}."

    def extract(self, text: str) -> str | None:
        """The number that the text commits to, as written there without currency or unit, or None."""
        explicit = last_explicit(text, heading=lambda content: numbers.parse(content) is None and not is_list(content))
        for phrase in commits.phrases(text):
            if explicit is not None and phrase.start < explicit.start:
                break
            content = without_aside(commits.sentence(phrase.content).rstrip("!"))
            found = one_number(content)
            if found is not None or is_list(content) or (explicit is None and holds_number(content)):
                return found
        if explicit is not None:
            return one_number(explicit.content)
        return last_number(text)

    def canonical(self, answer: str) -> str:
        """The exact value as a fraction in lowest terms: '18', '-3', '1/2'."""
        value = numbers.read(answer)
        return _collapse(answer) if value is None else numbers.spell(value)

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` is a plain number, else what is wrong with it."""
        problem = super().check_reference(reference)
        if problem is None and numbers.read(str(reference)) is None:
            return f"{_short(reference)!r} is not a plain number"
        return problem

    def compare(self, reference: str, answer: str) -> Verdict:
        """Exact comparison. A percentage that equals the other number as a share is unverified: 50% against 0.5."""
        verdict = _compare_numbers(numbers.parse(reference), numbers.parse(answer), reference, answer)
        return verdict or _wrong(answer, reference)


class MathRules(Spelled):
    """Mathematics: plain numbers exactly, anything else by what it is worth (`ponder.tasks.math`).

    Extraction: the last `\\boxed{…}`, or line '#### …' if it is a plain number or the text's last line, whichever comes
    later, unless a phrase 'the answer is …' after it names a plain number; without either, the last such phrase
    (one without a digit or LaTeX only as a line 'Answer: …' or at the very end); else, in the last 20,000 characters,
    the last formula `$…$` (those that 'or' joins are one: '1 or 2') or the last number, whichever comes later. Where
    both the answer and the reference are plain numbers the verdict is exact, and the same normalised spelling is
    correct; a list of several numbers for a reference that is one number is wrong. All else is judged where the extra
    `math` is installed; without it that is unverified, as are equal numbers with different units.
    """

    kind = "math"
    instruction = "Think step by step. Put the final answer in \\boxed{}."

    def extract(self, text: str) -> str | None:
        """The answer that the text commits to, as written there without its dollar signs, or None."""
        explicit = last_explicit(text, heading=lambda content: numbers.parse(content) is None)
        tail = commits.last_line(text)
        for phrase in commits.phrases(text):
            if explicit is not None and phrase.start < explicit.start:
                break
            found = formula_or_number(phrase.content)
            if found is not None and (explicit is None or numbers.parse(found) is not None):
                return found
            content = numbers.unwrap(commits.sentence(phrase.content))
            closing = phrase.start >= tail and len(content) >= len(phrase.content) - 2
            telling = phrase.own_line or closing or any(c.isdigit() or c == "\\" for c in content)
            if explicit is None and content and telling:
                return content
        if explicit is not None:
            return numbers.unwrap(explicit.content) or None
        return formula_or_number(text[-commits.MAX_CONTENT :], anywhere=True)

    def canonical(self, answer: str) -> str:
        """The exact value of a plain number, else one spelling of what it is worth, else the normalised LaTeX."""
        value = numbers.read(answer)
        if value is not None:
            return numbers.spell(value)
        return (math.spelling(answer) if math.installed() else None) or normal_latex(answer)

    def compare(self, reference: str, answer: str) -> Verdict:
        """Exact for plain numbers, by spelling or by worth for the rest, unverified where neither decides."""
        expected, found = numbers.parse(reference), numbers.parse(answer)
        verdict = _compare_numbers(expected, found, reference, answer)
        if verdict is not None and not (math.installed() and _has_units(expected, found)):
            return verdict
        if verdict is None and normal_latex(reference) == normal_latex(answer):
            return _correct(answer)
        if expected is not None and is_list(answer):
            return wrong(f"a list of candidates is no answer: {_short(answer)}")
        return self._by_worth(reference, answer) if math.installed() else unverified(math.ABSENT)

    def _by_worth(self, reference: str, answer: str) -> Verdict:
        alike, reason = math.same(reference, answer)
        if alike is None:
            return unverified(f"{reason}: {_short(answer)}, expected {_short(reference)}")
        if alike:
            return _correct(answer)
        return wrong(f"answer {_short(answer)}, expected {_short(reference)}" + (f" ({reason})" if reason else ""))


class ChoiceRules(Spelled):
    """Multiple choice: one letter, A to Z.

    Extraction: the last of `\\boxed{B}`, a line '#### B' and a phrase 'the answer is (B)' that names a letter; else the
    last line that is a letter with its mark or starts with one: 'B', '(B)', 'B.', 'B) Paris'. Two letters ('B or C')
    are no answer.
    """

    kind = "choice"
    instruction = "Think step by step. End with a line 'Answer: X', where X is the letter of your choice."

    def extract(self, text: str) -> str | None:
        """The letter in upper case, or None."""
        explicit = last_explicit(text, heading=lambda content: letter(content) is None)
        for phrase in commits.phrases(text):
            if explicit is not None and phrase.start < explicit.start:
                break
            found = letter(phrase.content)
            if found is not None:
                return found or None
        if explicit is not None:
            return letter(explicit.content) or None
        return marked_line(text)

    def canonical(self, answer: str) -> str:
        """The letter in upper case."""
        return letter(answer) or _collapse(answer)

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` is one letter, else what is wrong with it."""
        problem = super().check_reference(reference)
        return problem or (None if letter(str(reference)) else f"{_short(reference)!r} is not one letter, A to Z")


class TextRules(Spelled):
    """Text, compared after NFKC with white space collapsed; case is kept.

    Extraction: the last of `\\boxed{…}`, a last line '#### …', a line 'Answer: …', and 'the answer is …' in the last
    line (there one full stop at the end is dropped); else the whole reply.
    """

    kind = "text"

    def extract(self, text: str) -> str | None:
        """The answer that the text commits to, else the whole text without white space around it; None if empty."""
        found = last_explicit(text, heading=lambda content: True)
        tail = commits.last_line(text)
        for phrase in commits.phrases(text):
            if found is not None and phrase.start < found.start:
                break
            if phrase.own_line:
                return phrase.content
            if phrase.start >= tail:
                return _without_stop(phrase.content)
        return (text if found is None else found.content).strip() or None

    def canonical(self, answer: str) -> str:
        """NFKC, white space collapsed, case kept."""
        return _collapse(answer)


RULES: dict[str, Rules] = {rules.kind: rules for rules in (NumberRules(), MathRules(), ChoiceRules(), TextRules())}
"""The rules of each kind that needs no sandbox; they hold no state, so one of each serves everyone."""
KINDS = (*RULES, "code")


def rules_for(kind: str) -> Rules:
    """The rules of a kind. Raises UsageError if it is unknown."""
    if kind == "code":
        from ponder.tasks.code import CodeRules  # the sandbox is loaded by those who run programs

        return CodeRules()
    if kind not in RULES:
        raise errors.unknown("kind", kind, KINDS)
    return RULES[kind]


def _collapse(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _without_stop(text: str) -> str:
    """The text without one full stop at its end, unless its last word has another: 'Paris.' but 'Washington D.C.'"""
    return text[:-1] if text.endswith(".") and "." not in text.split()[-1][:-1] else text


# --- verdicts


def _compare_numbers(
    expected: numbers.Plain | None, found: numbers.Plain | None, reference: str, answer: str
) -> Verdict | None:
    """The verdict where both are plain numbers, else None."""
    if expected is None or found is None:
        return None
    if expected.value == found.value:
        if expected.unit and found.unit and expected.unit.rstrip("s") != found.unit.rstrip("s"):
            return unverified(f"equal numbers, different units: {_short(answer)}, expected {_short(reference)}")
        return _correct(answer)
    if expected.percent != found.percent:
        share = expected.value / found.value if found.value else 0
        if share == (Fraction(1, 100) if found.percent else 100):
            return unverified(f"a percentage against a number: {_short(answer)}, expected {_short(reference)}")
    return _wrong(answer, reference)


def _has_units(expected: numbers.Plain | None, found: numbers.Plain | None) -> bool:
    """Whether a unit or a percent sign could change what two plain numbers have to do with each other."""
    return any(number is not None and (number.unit or number.percent) for number in (expected, found))


def _correct(answer: str) -> Verdict:
    return correct(f"answer {_short(answer)}")


def _wrong(answer: str, reference: str) -> Verdict:
    return wrong(f"answer {_short(answer)}, expected {_short(reference)}")


def _short(value: object, limit: int = 80) -> str:
    text = " ".join(str(value)[: 4 * limit].split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _name(value: object) -> str:
    names: dict[type, str] = {bool: "true or false", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
