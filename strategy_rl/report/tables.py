"""The report for people: the plain table of the command line, and `report.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from strategy_rl.logger.digest import escape
from strategy_rl.report.actions import in_order

Report = Mapping[str, Any]
Rows = list[list[str]]
MAX_PIECE = 2_000  # characters of a text that are shown
_SFT_TO_PPO = ("sft", "ppo", "difference", "95% interval")


def render_table(report: Report) -> str:
    """Policies by return, comparisons below, as aligned plain text."""
    parts = [_title(report), _aligned(_policy_rows(report))]
    if report["comparisons"]:
        parts.append(_aligned(_comparison_rows(report)))
    return "\n\n".join(parts) + "\n"


def render_markdown(report: Report, plots: Sequence[str] = ()) -> str:
    """The whole report as markdown.

    Args:
        report: as `summarize` or `combine` gives it.
        plots: paths of images, relative to the page.
    """
    sections = {
        "Policies": _markdown(_policy_rows(report)),
        "Comparisons, paired by row": _comparisons(report),
        "Health": "\n".join(f"- {sentence}" for sentence in report["health"]),
        "Reward components": _markdown(_component_rows(report)),
        "Values of the components, PPO against SFT": _markdown(_value_rows(report)),
        "By kind of row, PPO against SFT": _markdown(_kind_rows(report)),
        "Shares of actions": _markdown(_share_rows(report)),
        "Settings by kind of row": _markdown(_setting_rows(report)),
        "What was chosen": _confusions(report),
        "Rows on which PPO gained most against SFT": _extreme(report, "best"),
        "Rows on which PPO lost most against SFT": _extreme(report, "worst"),
        "Texts by setting": render_texts(report.get("texts", [])),
        "Plots": "\n\n".join(f"![{path}]({path})" for path in plots),
        "Seconds": _markdown(_timing_rows(report)),
    }
    body = [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join([f"# {_title(report)}", *body]) + "\n"


def render_texts(texts: Sequence[Mapping[str, Any]]) -> str:
    """What episodes wrote, as markdown: before each piece stands the setting it was written with.

    Args:
        texts: as `strategy_rl.report.settings.written_texts` gives them.
    """
    return "\n\n".join(_written_text(text) for text in texts)


def _written_text(text: Mapping[str, Any]) -> str:
    row = "An episode" if text["row"] is None else f"Row {text['row']}"
    kind = f" ({escape(text['kind'])})" if text["kind"] else ""
    prompt = f", after “{escape(text['prompt'])}”" if text["prompt"] else ""
    pieces = (f"**[{escape(name)}]** {escape(piece, MAX_PIECE)}" for name, piece in text["pieces"])
    return f"{row}{kind}, return {text['return']:.2f}{prompt}:\n\n> {' '.join(pieces)}"


def _title(report: Report) -> str:
    episodes = max((p["episodes"] for p in report["policies"].values()), default=0)
    if "seeds" in report:
        which = f"seeds {', '.join(map(str, report['seeds']))}"
    else:
        which = f"seed {report.get('seed')}"
    return f"{report.get('task') or 'task unknown'}, {which}, {episodes} test episodes a policy"


def _policy_rows(report: Report) -> Rows:
    policies = sorted(report["policies"].items(), key=lambda item: -item[1]["mean_return"])
    rows = [["policy", "return", "95% interval", "steps", "accuracy", "actions"]]
    for name, policy in policies:
        accuracy = policy["accuracy"]
        rows.append(
            [
                name,
                f"{policy['mean_return']:.3f}",
                _interval(policy["ci95"], ".3f"),
                f"{policy['mean_length']:.1f}",
                "-" if accuracy is None else f"{accuracy:.3f}",
                _shares(policy["action_shares"]),
            ]
        )
    return _with_seeds(rows, [policy for _, policy in policies], ".3f")


def _comparison_rows(report: Report) -> Rows:
    rows = [["comparison", "difference", "95% interval", "verdict", "rows", "share of gap"]]
    for name, figures in report["comparisons"].items():
        rival = f" ({figures['rival']})" if "rival" in figures else ""
        share = figures["share_of_gap_to_expert"]
        rows.append(
            [
                name.replace("_vs_", " - ").replace("best_rival", "best rival") + rival,
                f"{figures['mean_difference']:+.3f}",
                _interval(figures["ci95"], "+.3f"),
                _verdict(figures["ci95"]),
                str(figures["rows"]),
                "-" if share is None else f"{share:.0%}",
            ]
        )
    return _with_seeds(rows, list(report["comparisons"].values()), "+.3f")


def _with_seeds(rows: Rows, entries: Sequence[Mapping[str, Any]], form: str) -> Rows:
    """Adds the mean of each seed where there are several."""
    if not any("by_seed" in entry for entry in entries):
        return rows
    means = [" ".join(format(mean, form) for mean in entry["by_seed"]) for entry in entries]
    return [[*row, cell] for row, cell in zip(rows, ["by seed", *means], strict=True)]


def _component_rows(report: Report) -> Rows:
    names = [n for n in ("random", "sft", "ppo", "expert") if n in report["policies"]]
    columns = [report["policies"][name]["components"] for name in names]
    components = list(dict.fromkeys(key for column in columns for key in column))
    rows = [[c, *(f"{column.get(c, 0.0):+.3f}" for column in columns)] for c in components]
    return [["component, mean an episode", *names], *rows] if rows else []


def _value_rows(report: Report) -> Rows:
    rows = [
        [f"{name} (guard)" if figures["is_guard"] else name, *_sft_to_ppo(figures)]
        for name, figures in report.get("values", {}).items()
    ]
    return [["component, mean of its own values", *_SFT_TO_PPO], *rows] if rows else []


def _kind_rows(report: Report) -> Rows:
    rows = []
    for kind, figures in report.get("kinds", {}).items():
        rows.append([kind, str(figures["rows"]), "return", *_sft_to_ppo(figures)])
        rows += [[kind, "", f"{n} (guard)", *_sft_to_ppo(v)] for n, v in figures["guards"].items()]
    return [["kind", "rows", "mean of", *_SFT_TO_PPO], *rows] if rows else []


def _sft_to_ppo(figures: Mapping[str, Any]) -> list[str]:
    ppo, sft = figures["means"]
    low, high = figures["ci95"]
    difference = f"{figures['mean_difference']:+.3f}"
    return [f"{sft:.3f}", f"{ppo:.3f}", difference, f"{low:+.3f} to {high:+.3f}"]


def _share_rows(report: Report) -> Rows:
    policies = {n: p["action_shares"] for n, p in report["policies"].items() if p["action_shares"]}
    kinds = list(dict.fromkeys(kind for shares in policies.values() for kind in shares))
    rows = [[n, *(f"{s.get(kind, 0.0):.3f}" for kind in kinds)] for n, s in policies.items()]
    return [["policy", *kinds], *rows] if rows else []


def _setting_rows(report: Report) -> Rows:
    """A line for each policy and kind; of several seeds each policy has all its episodes."""
    tables = {n: report["policies"].get(n, {}).get("settings_by_kind") for n in ("sft", "ppo")}
    found = {policy: table for policy, table in tables.items() if table}
    names = in_order(list({n: 0 for t in found.values() for shares in t.values() for n in shares}))
    rows = [
        [policy, kind, *(f"{shares.get(name, 0.0):.3f}" for name in names)]
        for policy, table in found.items()
        for kind, shares in table.items()
    ]
    return [["policy", "kind", *names], *rows] if rows else []


def _timing_rows(report: Report) -> Rows:
    rows = [[name, f"{value:.1f}"] for name, value in report.get("timings_s", {}).items()]
    return [["part", "seconds"], *rows] if rows else []


def _comparisons(report: Report) -> str:
    if not report["comparisons"]:
        return ""
    how = (
        "Difference of the returns on the same rows; the interval resamples whole groups of rows. "
        "Share of gap: how much of the way from the second policy to the expert."
    )
    return f"{how}\n\n{_markdown(_comparison_rows(report))}"


def _confusions(report: Report) -> str:
    blocks = []
    for name in ("sft", "ppo"):
        confusion = report["policies"].get(name, {}).get("confusion")
        if confusion:
            counts = zip(confusion["rows"], confusion["counts"], strict=True)
            table = [[kind, *map(str, row)] for kind, row in counts]
            blocks.append(_markdown([[name, *confusion["columns"]], *table]))
    return "\n\n".join(blocks)


def _extreme(report: Report, which: str) -> str:
    rows = report.get("rows", {}).get(which, [])
    return "\n\n".join(_extreme_row(row) for row in rows)


def _extreme_row(row: Mapping[str, Any]) -> str:
    head = (
        f"Row {row['row']}: {row['difference']:+.2f} "
        f"(PPO {row['ppo_return']:.2f}, SFT {row['sft_return']:.2f})"
    )
    parting = row["parting"]
    if parting is None:
        return head
    said = {"after": parting["context"], **{who: parting[who] for who in ("ppo", "sft", "expert")}}
    lines = [f"- {who}: {escape(text)}" for who, text in said.items() if text]
    return "\n".join([f"{head}; they part at step {parting['step']}", "", *lines])


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {share:.2f}" for kind, share in list(shares.items())[:4])


def _interval(ci95: Sequence[float], form: str) -> str:
    return f"[{ci95[0]:{form}}, {ci95[1]:{form}}]"


def _verdict(ci95: Sequence[float]) -> str:
    if ci95[0] > 0:
        return "better"
    return "worse" if ci95[1] < 0 else "level"


def _aligned(rows: Rows) -> str:
    """Columns of equal width; figures to the right, words to the left."""
    columns = [_column(list(cells)) for cells in zip(*rows, strict=True)]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def _column(cells: list[str]) -> list[str]:
    width = max(map(len, cells))
    figures = all(cell[:1] in "+-[0123456789" for cell in cells[1:])
    return [cell.rjust(width) if figures else cell.ljust(width) for cell in cells]


def _markdown(rows: Rows) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(cell.replace("|", "&#124;") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
