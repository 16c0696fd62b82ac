/**
 * The bar of filters above every view that counts episodes.
 */

import { choice, field, h } from "./dom.js";
import { short, spaced } from "./format.js";
import { FILTERS, NO_FILTERS } from "./place.js";

const TYPING_MS = 300;
// Parameter, where its values are, and its label.
const LISTS = [
  ["stage", "stages"],
  ["split", "splits"],
  ["policy", "policies"],
  ["kind", "kinds"],
  ["selected", "reasons", "kept as"],
  ["action", "actions"],
  ["component", "components"],
];

/** The bar of one run; `ctx.go` is told of each change. */
export function filterBar(ctx) {
  const set = (changes) => ctx.go({ ...changes, page: null, key: null }, { replace: true });
  const list = Object.fromEntries(LISTS.map((one) => [one[0], oneOf(ctx, set, ...one)]));
  const { stage, split, policy, component, ...others } = list;
  const { iterations = [] } = ctx.info;
  return h(
    "div",
    { class: "filters" },
    typed(ctx, set, "text", "text", { type: "search", placeholder: "press /", size: 16 }),
    [stage, split, policy],
    iterations.length > 0 &&
      iterationField("filter-iteration", iterations, typing(ctx, set, "iteration")),
    Object.values(others),
    typed(ctx, set, "row", "row", { inputmode: "numeric", size: 4 }),
    range(ctx, set, "return", "return"),
    component,
    range(ctx, set, "component", "from"),
    h("button", { class: "quiet", onclick: () => set({ ...NO_FILTERS }) }, "Clear filters"),
  );
}

/** Brings the bar to the place, but for the field that is being typed in. */
export function syncFilters(bar, params) {
  for (const name of FILTERS) {
    const input = bar.querySelector(`#filter-${name}`);
    if (!input || input === document.activeElement) continue;
    input.value = params[name] ?? "";
    input.classList.toggle("set", name in params);
    const choices = input.options ? input.options.length - 1 : input.list?.options.length;
    input.closest(".control").hidden = choices < 2 && !(name in params);
  }
}

/** A field for an iteration or a range of them; suggests those that there are. */
export function iterationField(id, iterations, props) {
  const title = "one, as 12, a range, as 10-14, or 10- for 10 and more";
  return field(id, "iteration", { size: 7, placeholder: "any", title, ...props }, iterations);
}

function oneOf(ctx, set, name, all, label = name) {
  const values = ctx.info[all] ?? [];
  if (values.length === 0) return null;
  const choices = [
    ["", name === "selected" && ctx.params.view !== "episodes" ? "random only" : "any"],
    ...values.map((value) => [String(value), short(spaced(value), 40)]),
  ];
  return choice(`filter-${name}`, label, choices, ctx.params[name], (v) =>
    set({ [name]: v || null }),
  );
}

function range(ctx, set, name, label) {
  const small = { inputmode: "decimal", size: 5 };
  const low = typed(ctx, set, `${name}_min`, label, { ...small, placeholder: "min" });
  const high = typed(ctx, set, `${name}_max`, "to", { ...small, placeholder: "max" });
  return [low, high];
}

const typed = (ctx, set, name, label, props) =>
  field(`filter-${name}`, label, { ...typing(ctx, set, name), ...props });

function typing({ params }, set, name) {
  let timer = 0;
  const apply = (event) => set({ [name]: event.target.value.trim() || null });
  const oninput = (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => apply(event), TYPING_MS);
  };
  return { value: params[name] ?? "", oninput };
}
