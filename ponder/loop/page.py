"""report.html: what was done, the 2×2, how it was learned, a few chains, and what it cost. One file, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from ponder.loop import tree
from ponder.loop.figures import CELLS, Row
from ponder.measure import advise_page, words
from ponder.measure.page import frame, table
from ponder.measure.plots import Line, picture

MORE = """\
.grid td, .grid th { padding: 8px 18px 8px 0; font-size: 1rem; }
.grid b { font-size: 1.25rem; font-weight: 600; }
.chain { margin: 4px 0; max-width: none; font: .92rem/1.9 ui-monospace, 'SF Mono', Menlo, Consolas, monospace; }
.step { padding: 2px 6px; border-radius: 4px; border: 1px solid var(--grid);
  background: color-mix(in srgb, var(--c2) calc(var(--s) * 45%), var(--paper)); }
.bad { text-decoration: underline wavy var(--c4); text-underline-offset: 3px; }
"""


def page(
    report: Mapping[str, Any],
    rows: Sequence[Row],
    learned: Mapping[str, Sequence[Mapping[str, Any]]],
    command: str,
) -> str:
    """`learned`: the figures of the steps of the phases that train."""
    title = "The loop: steering and pruning, measured"
    phases = report["phases"]
    cells = report["two_by_two"]
    first = cells[CELLS[0]]
    spent = [f"{at(cell['generated_per_problem'] for cell in cells.values()):.0f}" for at in (min, max)]
    facts = [
        f"{first['problems']:,} test problems",
        f"{' to '.join(dict.fromkeys(spent))} generated tokens a problem in each cell",
        f"{first['seeds']} training seed{'s' if first['seeds'] > 1 else ''}",
        f"promise: {report['label']}",
    ]
    body = [
        _story(report, phases),
        "<h2>The 2×2</h2>",
        _grid(report),
        _effects(report),
        _tokens(report),
        "<h2>Searches at equal tokens</h2>",
        *_searches(report),
        "<h2>A tree, pruned</h2>",
        _tree(rows),
        "<h2>How it was learned</h2>",
        _curves(learned),
        "<h2>Rounds</h2>",
        _rounds(report),
        *_students(report),
        "<h2>Chains, as the guide sees them</h2>",
        "<p>The greener a step, the better the reward model likes the chain up to there, against others of the same "
        "problem (how hard a problem is, it does not say). A wavy "
        "line marks a step that the task's checker finds invalid; neither training nor picking ever saw that.</p>",
        *_chains([row for row in rows if not any("/" in arm for arm in row["arms"])]),
        *_advice(report),
        "<h2>What it cost</h2>",
        _costs(phases),
        "<h2>Controls</h2>",
        _controls(report),
    ]
    return frame(title, facts, body, command, style=MORE + tree.MORE + advise_page.MORE)


def _story(report: Mapping[str, Any], phases: Mapping[str, Mapping[str, Any]]) -> str:
    cells = report["two_by_two"]
    return (
        f"<p>A language model of {phases['base']['parameters']:,} numbers was made from nothing and shown "
        f"{phases['base']['demonstrations']:,} worked solutions of an arithmetic puzzle, so that it knew the form. "
        "It was then <em>steered</em>, by reinforcement learning on a checker's verdicts, to write better chains of "
        f"thought, and a reward model learned from {phases['prune']['chains']:,} checked chains to <em>prune</em>, "
        f"that is to pick the best of several. On {cells[CELLS[0]]['problems']:,} new problems the share solved with "
        f"the same number of tokens went from {_share(cells[CELLS[0]]['accuracy'])} with neither to "
        f"{_share(cells[CELLS[3]]['accuracy'])} with both.</p>"
    )


def _grid(report: Mapping[str, Any]) -> str:
    def cell(name: str) -> str:
        found = report["two_by_two"][name]
        return f"<td><b>{_share(found['accuracy'])}</b> <span class=range>± {_error(found['se'])}</span></td>"

    return (
        '<div class="wide" tabindex="0"><table class="grid"><thead><tr><th></th>'
        f"<th scope=col>pruning off ({escape(report['rules']['off'])})</th>"
        f"<th scope=col>pruning on ({escape(report['rules']['on'])})</th></tr></thead><tbody>"
        f"<tr><th scope=row>steering off</th>{cell(CELLS[0])}{cell(CELLS[1])}</tr>"
        f"<tr><th scope=row>steering on</th>{cell(CELLS[2])}{cell(CELLS[3])}</tr></tbody></table></div>"
        "<p class=range>Share of problems solved ± one standard error. The rule without the reward model was settled "
        "on training problems.</p>"
    )


NAMES = {
    "steer": "steering",
    "prune": "pruning",
    "interaction": "interaction: what each adds to the other",
    "steer_when_pruned": "steering, where pruning is on",
    "prune_when_steered": "pruning, where steering is on",
}


def _effects(report: Mapping[str, Any]) -> str:
    over = report.get("over_seeds")
    head = ["effect", "points ± standard error", "verdict at 3 standard errors"]
    rows = [[NAMES[name], _points(found), found["verdict"]] for name, found in report["effects"].items()]
    if over:
        head.append(f"over seeds, {over['steer']['level']:.0%} interval")
        for row, name in zip(rows, report["effects"], strict=True):
            row.append(_seeds(over[name]))
    return table(head, rows)


def _seeds(found: Mapping[str, Any]) -> str:
    return f"{found['mean']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})".replace("-", "−")


WORDS = {
    "greedy": "one chain, no chance",
    "vote": "vote",
    "confident": "most confident",
    "rerank": "re-ranked by the guide",
    "weighted": "vote weighed by the guide",
    "beam": "tree, pruned by the guide",
    "random": "the same tree, pruned at random",
    "steered": "one chain, steered step by step",
}


def _searches(report: Mapping[str, Any]) -> list[str]:
    """Accuracy of each search, what it cost, the tree against the rest, and the 2×2 with scorers paid for."""
    rows = []
    for arm, found in report["searches"].items():
        policy, name, samples = arm.split("/")
        if name in WORDS:
            spent = (found["generated_per_problem"], found["scorer_per_problem"])
            rows.append([policy, samples, WORDS[name], f"{_share(found['accuracy'])} ± {_error(found['se'])}",
                         *(f"{value:.0f}" for value in (*spent, sum(spent)))])  # fmt: skip
    body = [
        "<p>Each search but the first may spend, on writing and on what scorers read, what re-ranking so many chains "
        "costs. Sizes were set on training problems.</p>",
        table(["policy", "chains", "search", "solved", "written", "read", "tokens a problem"], rows),
    ]
    over = {(own["arm"], own["against"]): own for own in report.get("over_seeds", {}).get("comparisons", ())}
    pairs = [
        [*_pair(own), _points(own), own["verdict"]]
        + ([_seeds(over[own["arm"], own["against"]])] if over else [])
        for own in report["comparisons"]
    ]  # fmt: skip
    head = ["policy, chains", "search", "against", "points ± standard error", "verdict"]
    body.append(table(head + (["over seeds"] if over else []), pairs))
    for samples, own in report["charged"].items():
        for on, found in own.items():
            cells = [_share(found["two_by_two"][cell]["accuracy"]) for cell in CELLS]
            effects = [f"{NAMES[name]} {_points(found['effects'][name])}" for name in ("steer", "prune", "interaction")]
            body.append(
                f"<p class=range>The 2×2 with what scorers read paid ({samples} chains, on: {WORDS[on]}): neither "
                f"{cells[0]}, pruning {cells[1]}, steering {cells[2]}, both {cells[3]}. {'; '.join(effects)}.</p>"
            )
    return body


def _pair(found: Mapping[str, Any]) -> list[str]:
    (policy, one, samples), (_, other, _) = (found[key].split("/") for key in ("arm", "against"))
    return [f"{policy}, {samples}", WORDS[one], WORDS[other]]


def _tree(rows: Sequence[Row]) -> str:
    """Of the first problem that the base's tree solved."""
    arms = [arm for arm in dict.fromkeys(arm for row in rows for arm in row["arms"]) if arm.startswith("base/beam/")]
    solved = [row for row in rows if row["correct"] and arms and arms[0] in row["picked"]]
    if not solved:
        return "<p>None was solved.</p>"
    first = solved[0]
    own = [row for row in rows if row["problem"] == first["problem"]]
    numbers = " ".join(map(str, first["numbers"]))
    return (
        f"<p>Make <b>{first['target']}</b> of {numbers}: the first test problem that the tree solved. Each box is a "
        "step with what it leaves; the number is the guide's. Pale steps were pruned, or stand where another stood; "
        "✓ and ✗ are the verdict on finished chains, which the search never saw; the frame marks the answer.</p>"
        f'<div class="wide" tabindex="0">{tree.tree(own, arms[0])}</div>'
    )


def _tokens(report: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{cell['generated_per_problem']:.1f}", f"{cell['scorer_per_problem']:.1f}"]
        for name, cell in report["two_by_two"].items()
    ]
    return table(["cell", "tokens generated a problem", "tokens read by the reward model"], rows)


def _curves(learned: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    named = {
        "reward": ("steer", "reward", "mean reward", "steering step", "Reward of the chains that steering sampled."),
        "auroc": ("prune", "auroc", "AUROC", "pruning step", "How well the reward model tells right from wrong chains "
                  "of one held-out problem."),
    }  # fmt: skip
    found = []
    for number, (phase, key, y, x, caption) in enumerate(named.values()):
        points = [(row["step"], row[key]) for row in learned.get(phase, ()) if key in row]
        points = _thinned(points)
        steps, values = [float(s) for s, _ in points], [float(v) for _, v in points]
        svg = picture([Line(y, steps, values, values, values, number)], x=f"{x} (log scale)", y=y, about=caption)
        if svg:
            found.append(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<div class="figures">{"".join(found)}</div>' if found else ""


def _thinned(points: Sequence[tuple[int, float]], most: int = 24) -> list[tuple[float, float]]:
    """Means of neighbours, so that at most about `most` points are left."""
    size = -(-len(points) // most) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in parts]


def _rounds(report: Mapping[str, Any]) -> str:
    rows = []
    for found in report["rounds"]:
        by_step = found["auroc"]["by_step"][:3]
        outcome, validity = (" · ".join(_number(step[key]) for step in by_step) for key in ("outcome", "validity"))
        rows.append([
            str(found["round"]), found["policy"], _span(found["pass_at_1"]), _span(found["invalid_steps"]),
            _number(found["auroc"]["outcome"]), outcome, validity,
        ])  # fmt: skip
    head = ["round", "policy", "chains right", "invalid steps", "AUROC", "by step: outcome", "by step: validity"]
    return _progress(report) + table(head, rows)


def _progress(report: Mapping[str, Any]) -> str:
    """How many chains are right and how many steps are not, policy by policy."""
    own = report["rounds"]
    lines = []
    for number, (key, name) in enumerate((("pass_at_1", "chains right"), ("invalid_steps", "invalid steps"))):
        points = [{"x": float(i), **row[key]} for i, row in enumerate(own, 1)]
        lines.append(replace(Line.of(name, points, ("x", "value", "low", "high"), number), bars=True))
    names = ", ".join(f"{i} {row['policy']}" for i, row in enumerate(own, 1))
    about = "chains that are right and steps that are not, by policy"
    svg = picture(lines, x="policy", y="share", about=about, even=True)
    caption = f"Unpruned chains: {names}."
    return f'<div class="figures"><figure>{svg}<figcaption>{escape(caption)}</figcaption></figure></div>' if svg else ""


def _students(report: Mapping[str, Any]) -> list[str]:
    rows = [
        [own["student"], own["start"], *(_share(own["pass_at_1"][own[key]]) for key in ("start", "student", "control")),
         _points(own["gain"]), _points(own["over_control"]), own["over_control"]["verdict"]]
        for own in report["distilled"]
    ]  # fmt: skip
    head = [
        "student",
        "made from",
        "its chains right",
        "the student's",
        "the control's",
        "gain",
        "over the control",
        "",
    ]
    words = (
        "<p>A student is trained on chains that the guide picked out of what its start wrote, its control on as many "
        "that chance picked: one chain of each costs the same.</p>"
    )
    return [words, table(head, rows)]


def _chains(rows: Sequence[Row]) -> list[str]:
    """Of the first problems whose chains differ, what each policy wrote."""
    problems: dict[str, list[Row]] = {}
    for row in rows:
        problems.setdefault(row["problem"], []).append(row)
    mixed = [own for own in problems.values() if len({row["correct"] for row in own}) > 1]
    found = []
    for own in (mixed or list(problems.values()))[:3]:
        numbers = " ".join(map(str, own[0]["numbers"]))
        found.append(f"<p>Make <b>{own[0]['target']}</b> of {numbers}:</p>")
        for policy in dict.fromkeys(row["policy"] for row in own):
            chains = [row for row in own if row["policy"] == policy]
            picked = [r for r in chains if any(arm in CELLS for arm in r["picked"])]
            others = [row for row in chains if row not in picked]
            found += [_chain(row) for row in (picked + others)[:2]]
    return found


def _chain(row: Row) -> str:
    steps = []
    for step in row["steps"]:
        told = "–" if step["score"] is None else f"{step['score']:.2f}"
        bad = step["valid"] is False
        steps.append(
            f'<span class="step{" bad" if bad else ""}" style="--s:{step["score"] or 0:.2f}" '
            f'title="score {told}{", invalid" if bad else ""}">{escape(step["text"].strip())}'
            f"<span class=range> {told}</span></span>"
        )
    cells = [arm for arm in row["picked"] if arm in CELLS]
    mark = "✓ right" if row["correct"] else "✗ wrong"
    words = f"{row['policy']}, {mark}" + (", picked" if cells else "")
    return f'<p class="chain">{" ".join(steps)} <span class=range>{words}</span></p>'


def _advice(report: Mapping[str, Any]) -> list[str]:
    """Where the next unit of compute pays, after steering; and how far each taste carries each policy."""
    body = ["<h2>How far each taste keeps each policy on track</h2>", _track(report["track"])]
    for when, document in report["advice"].items():
        body.append(f"<h2>Where the next unit of compute pays: {escape(when)}</h2>")
        body.append(f'<p class="first">{escape(words.first(document))}</p>')
        body += advise_page.parts(document, below=True)
    return body


def _track(track: Sequence[Mapping[str, Any]]) -> str:
    """Hazard and L* are the policy's; AUROC, reach and N* the taste's on its chains."""
    rows = [
        [own["policy"], own["taste"], *(words.figure(own[key], form, none) for key, form, none in TRACK.values())]
        for own in track
    ]
    return table(["policy", "taste", *TRACK], rows)


TRACK = {
    "AUROC": ("auroc", "{:.2f}", "–"),
    "reach (samples)": ("reach", "{:,.0f}", "–"),
    "N* (samples)": ("n_star", "{:,.0f}", "none among these"),
    "hazard a step": ("hazard", "{:.3f}", "–"),
    "L* (steps)": ("l_star", "{:.0f}", "–"),
}


def _costs(phases: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[name, f"{found['seconds']:.1f}", f"{found.get('tokens', 0):,}"] for name, found in phases.items()]
    rows.append(["all", f"{sum(f['seconds'] for f in phases.values()):.1f}",
                 f"{sum(f.get('tokens', 0) for f in phases.values()):,}"])  # fmt: skip
    return table(["phase", "seconds", "tokens sampled or trained on"], rows)


def _controls(report: Mapping[str, Any]) -> str:
    if not report["controls"]:
        return "<p>None was asked for.</p>"
    rows = [
        [name, _share(found["accuracy"]), _points(found["gain"]),
         found["against"], found["gain"]["verdict"]]
        for name, found in report["controls"].items()
    ]  # fmt: skip
    return table(["control", "accuracy", "gain in points", "over", "verdict"], rows)


def _share(value: float) -> str:
    return f"{value:.3f}"


def _error(value: float | None, scale: float = 1) -> str:
    return "–" if value is None else f"{value * scale:.{1 if scale > 1 else 3}f}"


def _points(found: Mapping[str, Any]) -> str:
    return f"{found['points']:+.1f} ± {_error(found['se'], 100)}".replace("-", "−")


def _number(found: Mapping[str, Any] | None) -> str:
    return "–" if found is None else f"{found['value']:.2f}"


def _span(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
