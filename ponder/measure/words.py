"""Advice in sentences: one a lever with its interval, and what taste, length and votes say. For the table, the page and
the loop's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {"samples": "Sample more", "taste": "Train the taste", "steering": "Steer", "length": "Shorten the chains"}


def lever(found: Mapping[str, Any]) -> str:
    """One lever's sentence."""
    title = TITLES[found["lever"]]
    if "omitted" in found:
        return f"{title}: nothing is said, because {found['omitted']}."
    change = str(found["change"]).split(":")[0]
    gain = f"{points(found['gain'])} points ({points(found['low'])} to {points(found['high'])})"
    if found["low"] > 0:
        return f"{title}: {change} would add {gain}."
    if found["high"] < 0:
        return f"{title}: {change} would cost accuracy: {gain}."
    return f"{title}: {change} gives {gain}, which is not told from nothing."


def first(document: Mapping[str, Any]) -> str:
    """What to do first."""
    said = [found for found in document["levers"] if "gain" in found]
    sure = sorted((found for found in said if found["low"] > 0), key=lambda found: -found["gain"])
    if not said:
        return "No lever can be judged from these samples."
    if not sure:
        return "No lever is told from nothing by these samples: record more problems before you spend."
    best = sure[0]
    rivals = [TITLES[found["lever"]].lower() for found in sure[1:] if found["high"] > best["low"]]
    more = f"; {' and '.join(rivals)} may do as much" if rivals else ""
    cost = " It costs twice the tokens; the other levers keep the budget." if best["lever"] == "samples" else ""
    return f"{TITLES[best['lever']]} first: {points(best['gain'])} points{more}.{cost}"


def overhang(document: Mapping[str, Any]) -> str:
    """Which side of the taste the budget is on."""
    taste = document["taste"]
    if "omitted" in taste:
        return f"The taste is not known: {taste['omitted']}."
    reach, ratio = taste["reach"], taste["overhang"]
    n = f"{document['affordable']:,.3g}"
    if ratio["bound"] == "lower":
        words = f"The taste reaches at least {reach['value']:,.0f} samples, all that were drawn; the budget buys {n}. "
        return words + ("How much farther it goes, these samples do not show." if ratio["value"] <= 1 else MORE)
    span = _span(reach, "{:,.0f}")
    words = f"The taste reaches {span} samples; the budget buys {n}. "
    if ratio["high"] is not None and ratio["high"] < 1:
        return words + "More samples outrun it: train the taste before you sample more."
    if ratio["low"] is not None and ratio["low"] > 1:
        return words + MORE
    return words + "They are about even."


MORE = "It carries more samples than you buy: sampling more, or cheaper chains, pay."


def ceiling(document: Mapping[str, Any]) -> str:
    found = document["taste"]["ceiling"]
    if found["value"] is None:
        return ""
    word = {"lower": "gets to at least", "upper": "ends at no more than", None: "ends at about"}[found["bound"]]
    turn = document["taste"].get("n_star", {})
    ends = f"With ever more samples, picking by this score {word} {found['value']:.3f}."
    if "value" not in turn:
        return ends
    where = "predicted from all problems together" if turn["fitted"] else "seen in these samples"
    return f"{ends} The best number of samples is {_span(turn, '{:,.0f}')} ({where}); more make it worse."


def noise(document: Mapping[str, Any]) -> str:
    """How large the scorer's error is, and what replicates cannot say of it."""
    taste = document["taste"]
    said = [
        f"{found['domain'] or 'all problems'}: {_span(found, '{:.2g}')} of "
        + ("the spread of quality" if "sd(Q)" in found["how"] else "the gap between right and wrong")
        for found in taste.get("noise", [])
    ]
    parts = [f"The scorer's noise, within problems: {'; '.join(said)}."] if said else []
    if "replicates" in taste:
        parts.append(f"Replicates: {taste['replicates']['reason']}.")
    return " ".join(parts)


def length(document: Mapping[str, Any]) -> str:
    found = document["length"]
    if "omitted" in found:
        return f"Where chains go off track is not known: {found['omitted']}."
    words = f"A step goes wrong with chance {_span(found['hazard'], '{:.3f}')}."
    star = found["l_star"]
    if star["bound"] == "lower":
        words += f" Half of the chains are on track beyond all {star['value']:.0f} steps seen."
    elif star["value"] is not None:
        words += f" Half of the chains are on track for {_span(star, '{:.0f}')} steps (L*)."
    if found["wasted"]["value"] is not None:
        words += f" {found['wasted']['value']:.0%} of the tokens come after the first wrong step."
    return words + _back(found["recovered"])


def _back(found: Mapping[str, Any] | None) -> str:
    """How many chains come back after a wrong step."""
    if found is None:
        return ""
    fresh = f"of fresh chains of the same problems {found['fresh']['value']:.1%} do."
    if not found["value"]:
        return f" None of the {found['chains']:,} chains that took a wrong step ends right; {fresh}"
    return f" Of the {found['chains']:,} chains that took a wrong step {_span(found, '{:.1%}')} end right; {fresh}"


def votes(document: Mapping[str, Any]) -> str:
    found = document["votes"]
    won, lost, hurt = len(found["won"]), len(found["lost"]), len(found["hurt"])
    words = f"From {found['few']} to {found['many']} samples the vote wins {won} problems and loses {lost}"
    if won:
        words += (
            f": of those won, {found['small_margin']} by a small margin at a large p, {found['small_p']} at a small p "
            f"with dispersed rivals, {found['cannot_be_told']} cannot be told"
        )
    ending = f" In {hurt} problems a wrong answer is the mode: more votes lose them." if hurt else ""
    return f"{words}.{ending}"


def selector(document: Mapping[str, Any]) -> str:
    """Whether a vote alone explains what picking by score reaches."""
    found = document["votes"]["selector"]
    if found is None or found["value"] is None:
        return ""
    gain = f"{points(found['value'])} points ({points(found['low'])} to {points(found['high'])})"
    words = f"At {found['k']} samples picking by score is {gain} from the vote"
    if found["low"] > 0:
        return f"{words}: a vote alone does not explain it."
    if found["high"] < 0:
        return f"{words}: vote instead."
    return f"{words}: it is not told from the vote."


def points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def figure(found: Mapping[str, Any] | None, form: str, none: str = "–") -> str:
    """A figure for a table: with its interval, as a bound, or `none` where it is not known."""
    if found is None or found.get("value") is None:
        return none
    if found.get("bound") in ("lower", "upper"):
        return ("≥ " if found["bound"] == "lower" else "≤ ") + form.format(found["value"])
    return _span(found, form)


def _span(found: Mapping[str, Any], form: str) -> str:
    """value (low to high), in one form."""
    if found["value"] is None:
        return "an unknown number of"
    low, high = ("?" if found[key] is None else form.format(found[key]) for key in ("low", "high"))
    return f"{form.format(found['value'])} ({low} to {high})"
