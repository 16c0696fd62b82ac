/**
 * Which actions the policy takes where: a heat map whose cells open their episodes.
 */

import { ask } from "./api.js";
import { twoSided, wash } from "./colours.js";
import { choice, empty, h, pressable, table, tickBox } from "./dom.js";
import { moment, percent, plural, signed, spaced, whole } from "./format.js";
import { filtersOf } from "./place.js";
import { sampleFilter, sampleNote } from "./sample.js";

const AXES = ["iteration", "kind", "policy", "row", "step"];
const MOST_ACTIONS = 40; // of which the server counts each; what comes after is all the others
const FULL = 0.5; // of a difference, shown at full strength

export async function policyMap(ctx) {
  const by = AXES.includes(ctx.params.axis) ? ctx.params.axis : tellingAxis(ctx.info);
  const found = await ask("map", { ...filtersOf(ctx.params), run: ctx.params.run, by });
  const against = Boolean(ctx.params.against && found.expert_counts);
  const pick = choice("axis", "rows are", AXES, by, (axis) => ctx.go({ axis }, { replace: true }));
  const check = tickBox(
    "against",
    found.expert_counts ? "less the expert\u2019s share" : noExpert(found),
    { checked: against, disabled: !found.expert_counts },
    (ticked) => ctx.go({ against: ticked ? "1" : null }, { replace: true }),
  );
  const body =
    found.rows.length === 0
      ? empty("No step passes these filters.", "Widen them, or clear them.")
      : heat(ctx, found, by, against);
  return {
    node: h(
      "div",
      {},
      h(
        "div",
        { class: "filters" },
        pick,
        check,
        h("span", { class: "hint" }, "share of steps; a cell opens its episodes"),
      ),
      sampleNote(ctx),
      by === "step" && found.read < found.episodes && firstOnly(found),
      found.left_out > 0 && firstRows(found),
      body,
    ),
  };
}

/** The server reads steps for the expert's choices, and so not of any number of episodes. */
function noExpert({ read, episodes }) {
  if (read === episodes) return "no expert recorded";
  const few = `filters that leave at most 2,000 of ${plural(episodes, "episode")}`;
  return `the expert\u2019s share needs ${few}`;
}

function firstOnly({ read, episodes }) {
  const counted = `the first ${whole(read)} of ${plural(episodes, "episode")}`;
  return h("p", { class: "muted" }, `Counted are ${counted}.`);
}

function firstRows({ rows, left_out: left }) {
  const shown = `the first ${whole(rows.length)} of ${plural(rows.length + left, "row")}`;
  return h("p", { class: "muted" }, `Shown are ${shown}; filters leave fewer.`);
}

/** The first axis along which the run has more than one row. */
function tellingAxis({ iterations = [], kinds = [] }) {
  return iterations.length > 1 ? "iteration" : kinds.length > 1 ? "kind" : "policy";
}

function heat(ctx, found, by, against) {
  const shares = found.counts.map(sharesOf);
  const expert = found.expert_counts?.map(sharesOf);
  const most = against ? FULL : 0;
  const rows = found.rows.map((name, i) => {
    const total = sum(found.counts[i]);
    const cells = found.actions.map((action, j) => {
      const value = against ? less(shares[i][j], expert[i], j) : shares[i][j];
      const title =
        `${by} ${rowName(by, name)}, ${action}: ${found.counts[i][j]} of ${plural(total, "step")}` +
        (expert ? `; expert ${percent(expert[i][j])}` : "");
      const count = found.counts[i][j];
      return cell(ctx, { by, name, action, title, value, most, count, opens: j < MOST_ACTIONS });
    });
    return h(
      "tr",
      {},
      h("th", { class: "text", scope: "row" }, rowName(by, name)),
      cells,
      h("td", { class: "muted" }, whole(total)),
    );
  });
  const titles = [[by, "text"], ...found.actions.map((name) => [name]), ["steps"]];
  return h("div", { class: "scroll" }, table({ class: "heat" }, titles, rows));
}

function cell(ctx, { by, name, action, title, value, most, count, opens }) {
  const background = most ? twoSided(value, most) : wash("var(--up)", 0.8 * value);
  const shown = most ? points(value) : count ? percent(value) : "";
  const list = { view: "episodes", page: null, key: null, ...sampleFilter(ctx) };
  const open = () => ctx.go({ ...list, ...filtersFor(by, name), action });
  return h(
    "td",
    {
      title,
      style: { background },
      class: count && opens ? "press" : "",
      ...(count && opens ? pressable(open) : {}),
    },
    shown,
  );
}

/** What leaves the episodes of a row alone, as far as filters can: iterations know theirs. */
function filtersFor(by, name) {
  if (by === "iteration") return name;
  return by === "step" || name === null ? {} : { [by]: name };
}

function rowName(by, name) {
  if (by === "iteration") return moment(name);
  if (name === null) return "none";
  return by === "step" ? name + 1 : spaced(name);
}

/** By how much a share is above the expert's; null where no expert is known. */
const less = (share, expert, j) => (sum(expert) ? share - expert[j] : null);

/** Percentage points; nothing where they round to 0. */
const points = (value) => (Math.abs(value ?? 0) < 0.005 ? "" : signed(100 * value, 0));

const sum = (counts) => counts.reduce((total, count) => total + count, 0);

function sharesOf(counts) {
  const total = sum(counts);
  return counts.map((count) => (total ? count / total : 0));
}
