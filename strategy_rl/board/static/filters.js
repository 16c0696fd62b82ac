/**
 * The bar of filters above every view that counts episodes.
 */

import { choice, h } from "./dom.js";
import { short, spaced } from "./format.js";
import { FILTERS, NO_FILTERS } from "./place.js";

const TYPING_MS = 300;
// Parameter, where its values are, and its label.
const LISTS = [
  ["stage", "stages"],
  ["split", "splits"],
  ["policy", "policies"],
  ["iteration", "iterations"],
  ["kind", "kinds"],
  ["selected", "reasons", "kept as"],
  ["action", "actions"],
  ["component", "components"],
];

/** The bar of one run; `ctx.go` is told of each change. */
export function filterBar(ctx) {
  const set = (changes) => ctx.go({ ...changes, page: null, key: null }, { replace: true });
  const list = Object.fromEntries(LISTS.map((one) => [one[0], oneOf(ctx, set, ...one)]));
  const { component, ...others } = list;
  return h(
    "div",
    { class: "filters" },
    field(ctx, set, "text", "text", { type: "search", placeholder: "press /", size: 16 }),
    Object.values(others),
    field(ctx, set, "row", "row", { inputmode: "numeric", size: 4 }),
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
    input.closest(".control").hidden = input.options?.length < 3 && !(name in params); // no choice
  }
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
  const low = field(ctx, set, `${name}_min`, label, { ...small, placeholder: "min" });
  const high = field(ctx, set, `${name}_max`, "to", { ...small, placeholder: "max" });
  return [low, high];
}

function field(ctx, set, name, label, props) {
  let timer = 0;
  const apply = (event) => set({ [name]: event.target.value.trim() || null });
  const oninput = (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => apply(event), TYPING_MS);
  };
  const input = h("input", {
    id: `filter-${name}`,
    autocomplete: "off",
    value: ctx.params[name] ?? "",
    oninput,
    ...props,
  });
  return h("label", { class: "control" }, h("span", {}, label), input);
}
