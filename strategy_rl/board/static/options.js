/**
 * The actions that a step could take, most likely first, with who chose which.
 */

import { h } from "./dom.js";
import { number } from "./format.js";

const SHOWN = 8;

/** Signs of who chose an action: class, sign, meaning, and the field of a step that tells. */
export const MARKS = [
  ["chosen", "\u25cf", "chosen", "action"],
  ["greedy", "\u25b2", "greedy", "greedy_action"],
  ["expert", "\u25c6", "expert", "expert_action"],
  ["reference", "\u25cb", "reference", "reference_action"],
];

/** What the signs mean. */
export function marksLegend() {
  const items = MARKS.map(([kind, sign, name]) =>
    h("span", {}, h("i", { class: `mark ${kind}` }, sign), name),
  );
  return h(
    "p",
    { class: "marks-legend" },
    items,
    h("span", {}, h("i", { class: "mark tick" }, "|"), "reference\u2019s probability"),
  );
}

/** A table of the legal actions; null where they were not recorded. */
export function optionTable(step) {
  const options = optionsOf(step);
  if (options === null) return choicesOnly(step);
  const sorted = [...options].sort((a, b) => (b.p ?? 0) - (a.p ?? 0));
  const first = sorted.filter((option, i) => i < SHOWN || option.marks.length);
  const rest = sorted.filter((option) => !first.includes(option));
  const body = h("tbody", {}, first.map(optionRow));
  const more = h(
    "button",
    { class: "quiet", onclick: () => (body.append(...rest.map(optionRow)), more.remove()) },
    `Show ${rest.length} more`,
  );
  return h("div", {}, h("table", { class: "options" }, body), rest.length > 0 && more);
}

/** What an action says: the candidate's text, or the action's name. */
export function said(step, action, name) {
  const text = Number.isInteger(action) ? step.observation?.candidates?.[action] : undefined;
  return text ?? name ?? (action === null || action === undefined ? "" : String(action));
}

function optionsOf(step) {
  const count = step.probabilities?.length ?? step.legal_names?.length ?? 0;
  if (count === 0) return null;
  return Array.from({ length: count }, (_, i) => {
    const action = step.legal_actions?.[i] ?? i;
    return {
      marks: MARKS.filter(([, , , field]) => same(step[field], action)),
      name: step.legal_names?.[i] ?? String(action),
      text: step.observation?.candidates?.[action],
      kind: step.candidate_kinds?.[action],
      p: step.probabilities?.[i],
      reference: step.reference_probabilities?.[i],
    };
  });
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function optionRow({ marks, name, text, kind, p, reference }) {
  const chosen = marks.some(([who]) => who === "chosen");
  const signs = MARKS.map((mark) =>
    marks.includes(mark)
      ? h("i", { class: `mark ${mark[0]}`, title: mark[2] }, mark[1])
      : h("i", { class: "mark" }),
  );
  const known = p !== null && p !== undefined;
  return h(
    "tr",
    { class: chosen ? "chosen" : "" },
    h("td", { class: "signs" }, signs),
    h(
      "td",
      { class: "text option", title: text ?? name },
      text ?? name,
      kind && h("span", { class: "tag" }, kind),
    ),
    known &&
      h(
        "td",
        { class: "share" },
        h(
          "div",
          { class: "meter" },
          h("i", { style: { width: `${100 * p}%` } }),
          reference !== undefined &&
            reference !== null &&
            h("b", { style: { left: `${100 * reference}%` } }),
        ),
      ),
    h("td", {}, known ? number(p) : ""),
  );
}

/** Who chose what, where the probabilities of single actions are not recorded. */
function choicesOnly(step) {
  const written = typeof step.action === "string"; // and so shown in full beside this
  const names = [
    written ? null : step.action_name,
    step.greedy_name,
    step.expert_name,
    step.reference_name,
  ];
  const lines = MARKS.map(([kind, sign, who, field], i) => {
    const shown = names[i] ?? (written && i === 0 ? null : plainAction(step[field]));
    return (
      shown !== null &&
      h(
        "tr",
        { class: kind === "chosen" ? "chosen" : "" },
        h("td", { class: "signs" }, h("i", { class: `mark ${kind}` }, sign)),
        h("td", { class: "text muted" }, who),
        h("td", { class: "text option" }, shown),
      )
    );
  });
  return h("table", { class: "options choices" }, h("tbody", {}, lines));
}

function plainAction(action) {
  if (action === null || action === undefined) return null;
  return typeof action === "string" ? action : JSON.stringify(action);
}
