/**
 * Two episodes of one row side by side, step by step.
 */

import { ask } from "./api.js";
import { bar } from "./charts.js";
import { h, link, table } from "./dom.js";
import { known, moment, own, probability, signed, spaced } from "./format.js";
import { said } from "./options.js";

/** @param {{run: string, key: string | number}} a the earlier one; `b` likewise. */
export async function pairDetail(ctx, a, b) {
  const [one, other] = await Promise.all([ask("episode", a), ask("episode", b)]);
  const steps = Math.max(one.steps.length, other.steps.length);
  const titles = [
    [a, one],
    [b, other],
  ].map(([at, found]) => title(ctx, at, found));
  const rows = Array.from({ length: steps }, (_, i) => stepRow(i, one.steps[i], other.steps[i]));
  return h(
    "section",
    { class: "panel pair" },
    componentTable(one.head, other.head),
    table(
      { class: "sides" },
      [["step"], ...titles.map((node) => [node, "text"])],
      rows,
    ),
  );
}

function title(ctx, at, { head }) {
  const there = { view: "episode", run: at.run, key: at.key };
  const name = `${head.policy} \u00b7 ${moment(head)}`;
  const label = ctx.runs.find((run) => run.run === at.run)?.label;
  const where = at.run === ctx.params.run ? name : `${label} \u00b7 ${name}`;
  return [
    link(ctx.href(there), () => ctx.go(there), {}, where),
    h("span", { class: "figure" }, signed(head.return)),
  ];
}

function stepRow(i, one, other) {
  const changed = !one || !other || JSON.stringify(one.action) !== JSON.stringify(other.action);
  return h("tr", { class: changed ? "changed" : "" }, h("td", {}, i + 1), [one, other].map(side));
}

function side(step) {
  if (!step) return h("td", { class: "text muted" }, "ended");
  const text = step.text ?? said(step, step.action, step.action_name);
  return h(
    "td",
    { class: "text" },
    h(
      "div",
      { class: "row" },
      h("strong", {}, step.action_name),
      chosen(step),
      h("span", { class: "figure" }, signed(step.reward)),
    ),
    text !== step.action_name && h("div", { class: "prose" }, text),
  );
}

function chosen(step) {
  const at = step.legal_actions ? step.legal_actions.indexOf(step.action) : step.action;
  const p = step.probabilities?.[at];
  return known(p) && h("span", { class: "muted" }, `p ${probability(p)}`);
}

function componentTable(one, other) {
  const names = [
    ...new Set([...Object.keys(one.components ?? {}), ...Object.keys(other.components ?? {})]),
  ];
  const lines = [
    ...names.map((name) => [spaced(name), own(one.components, name), own(other.components, name)]),
    ["return", one.return, other.return],
  ];
  const gains = lines.map(([, a, b]) => (b ?? 0) - (a ?? 0));
  const most = Math.max(...gains.map(Math.abs));
  const titles = [["component", "text"], ["before"], ["after"], ["difference"], [""]];
  const rows = lines.map(([name, a, b], i) =>
    h(
      "tr",
      { class: i === names.length ? "sum" : "" },
      h("td", { class: "text" }, name),
      h("td", {}, signed(a)),
      h("td", {}, signed(b)),
      h("td", {}, signed(gains[i])),
      h("td", {}, bar(gains[i], most)),
    ),
  );
  return table({ class: "list compact" }, titles, rows);
}
