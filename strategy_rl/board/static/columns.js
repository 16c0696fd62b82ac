/**
 * The columns of the list of episodes.
 */

import { bar } from "./charts.js";
import { h } from "./dom.js";
import {
  counted,
  known,
  moment,
  NOTHING,
  number,
  own,
  probability,
  signed,
  spaced,
  whole,
} from "./format.js";

/** The columns in which one of the episodes has something, and the one that is sorted by. */
export function columnsOf(ctx, heads) {
  const sorted = ctx.params.sort?.replace(/^-/, "");
  const used = ({ of, first = "" }) =>
    !of || first.replace(/^-/, "") === sorted || heads.some((head) => known(of(head)));
  return allColumns(ctx).filter(used);
}

const actions = (head) => counted(head.actions);

/** What a column shows, and how it sorts; `first` is the sort of the first click,
 * `of` the value without which it is left out. */
function allColumns(ctx) {
  const named = (title, show) => ({ title, show, kind: "text name" });
  const sum = (name) => ({
    title: spaced(name),
    help: `sum of the component ${name}`,
    first: `component:${name}`,
    of: (head) => own(head.components, name),
    show: (head) => signed(own(head.components, name)),
  });
  return [
    { title: "row", first: "row", show: (head) => whole(head.row) },
    { ...named("kind", (head) => head.kind ?? NOTHING), of: (head) => head.kind },
    named("split", (head) => head.split),
    {
      title: "kept as",
      kind: "text tags",
      of: (head) => head.selection,
      show: (head) => head.selection?.reasons.map((name) => h("span", { class: "tag" }, name)),
      help: "why this episode of its training rollout was recorded",
    },
    named("policy", (head) => head.policy),
    { ...named("recorded", moment), first: "-iteration", help: "stage and iteration" },
    { title: "return", first: "return", show: (head) => signed(head.return) },
    { title: "", show: (head, most) => bar(head.return, most) },
    { title: "steps", first: "-length", show: (head) => whole(head.length) },
    {
      title: "|V\u2212R|",
      first: "-value_error",
      of: (head) => head.value_error,
      show: (head) => number(head.value_error),
      help: "how far the first value was from the return, which is not discounted",
    },
    {
      title: "least p",
      first: "least_probability",
      of: (head) => head.least_probability,
      show: (head) => probability(head.least_probability),
      help: "probability of the least likely action that was taken",
    },
    ...(ctx.info.components ?? []).map(sum),
    { title: "actions", kind: "text clip", show: actions, hover: actions },
  ];
}

/** The column's head; a click sorts, a second one reverses, a third one ends it. */
export function heading(ctx, column) {
  const kind = { class: column.kind ?? "", title: column.help ?? "", scope: "col" };
  if (!column.first) return h("th", kind, column.title);
  const name = column.first.replace(/^-/, "");
  const now = ctx.params.sort ?? "";
  const [falling, here] = [now.startsWith("-"), now.replace(/^-/, "") === name];
  const other = column.first.startsWith("-") ? name : `-${name}`;
  const next = !here ? column.first : now === column.first ? other : null;
  const arrow = here ? (falling ? " \u2193" : " \u2191") : "";
  const sort = () => ctx.go({ sort: next, page: null, key: null }, { replace: true });
  const press = h(
    "button",
    { class: "sort", id: `sort-${name}`, onclick: sort },
    column.title,
    arrow,
  );
  return h(
    "th",
    { ...kind, "aria-sort": here ? (falling ? "descending" : "ascending") : null },
    press,
  );
}
