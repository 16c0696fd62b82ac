/**
 * The actions that a step could take, most likely first, with who chose which.
 */

import { h } from "./dom.js";
import { known, probability, spaced } from "./format.js";

const SHOWN = 8;

/** Signs of who chose an action: class, sign, meaning, and the field of a step that tells. */
const MARKS = [
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

/**
 * A table of the legal actions, of the values of each factor, or of who chose what.
 * @param {{name: string, values: string[]}[]} factors what an action's numbers mean, if known.
 */
export function optionTable(step, factors) {
  if (step.factor_probabilities) {
    return h("div", {}, choicesOnly(step), factorTables(step, factors));
  }
  const options = optionsOf(step);
  if (options === null) return choicesOnly(step);
  return tableOf([...options].sort((a, b) => (b.p ?? 0) - (a.p ?? 0)));
}

/** What an action says: the candidate's text, or the action's name. */
export function said(step, action, name) {
  const text = Number.isInteger(action) ? step.observation?.candidates?.[action] : undefined;
  return text ?? name ?? (known(action) ? String(action) : "");
}

/** The first few options and all that somebody chose; a button shows the rest. */
function tableOf(options) {
  const first = options.filter((option, i) => i < SHOWN || option.marks.length);
  const rest = options.filter((option) => !first.includes(option));
  const body = h("tbody", {}, first.map(optionRow));
  const more = h(
    "button",
    { class: "quiet", onclick: () => (body.append(...rest.map(optionRow)), more.remove()) },
    `Show ${rest.length} more`,
  );
  return h("div", {}, h("table", { class: "options" }, body), rest.length > 0 && more);
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

/** Of each number of an action its own table, in the order of its values. */
function factorTables(step, factors) {
  const { factor_probabilities: lists, reference_factor_probabilities: references } = step;
  const fits = lists.every((list, k) => factors[k]?.values.length === list.length);
  const tables = lists.map((list, k) => {
    const options = list.map((p, value) => ({
      marks: MARKS.filter(([, , , field]) => step[field]?.[k] === value),
      name: fits ? factors[k].values[value] : String(value),
      p,
      reference: references?.[k]?.[value],
    }));
    const name = fits ? spaced(factors[k].name) : `factor ${k + 1}`;
    return h("div", { class: "factor" }, h("span", { class: "label" }, name), tableOf(options));
  });
  return h("div", { class: "factors" }, tables);
}

function optionRow({ marks, name, text, kind, p, reference }) {
  const chosen = marks.some(([who]) => who === "chosen");
  const signs = MARKS.map((mark) =>
    marks.includes(mark)
      ? h("i", { class: `mark ${mark[0]}`, title: mark[2] }, mark[1])
      : h("i", { class: "mark" }),
  );
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
    known(p) && h("td", { class: "share" }, meter(p, reference)),
    h("td", {}, known(p) ? probability(p) : ""),
  );
}

function meter(p, reference) {
  const tick = known(reference) && h("b", { style: { left: `${100 * reference}%` } });
  return h("div", { class: "meter" }, h("i", { style: { width: `${100 * p}%` } }), tick);
}

/** Who chose what, by the names of whole actions. */
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
  if (!known(action)) return null;
  return typeof action === "string" ? action : JSON.stringify(action);
}
