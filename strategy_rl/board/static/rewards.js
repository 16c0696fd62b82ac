/**
 * How returns and their components are spread, and the learning curve. Everything opens episodes.
 */

import { ask } from "./api.js";
import { histogram } from "./charts.js";
import { curvePanels } from "./curve.js";
import { h, panel } from "./dom.js";
import { number, plural, spaced } from "./format.js";
import { filtersOf } from "./place.js";

const BINS = 30;

export async function rewards(ctx) {
  const names = ["return", ...(ctx.info.components ?? [])];
  const [curve, ...spreads] = await Promise.all([
    ask("curve", { run: ctx.params.run }),
    ...names.map((name) => spread(ctx, name)),
  ]);
  const panels = names.map((name, i) => spreadPanel(ctx, name, spreads[i]));
  return {
    node: h("div", {}, curvePanels(ctx, curve.points), h("div", { class: "multiples" }, panels)),
  };
}

/** `component` says what is counted, so its range is kept only where both are the same. */
function spread(ctx, name) {
  const { component, component_min, component_max, ...filters } = filtersOf(ctx.params);
  const ends = component === name ? { component_min, component_max } : {};
  return ask("histogram", {
    ...filters,
    ...ends,
    run: ctx.params.run,
    component: name,
    bins: BINS,
  });
}

function spreadPanel(ctx, name, { bins, missing }) {
  const count = bins.reduce((sum, bin) => sum + bin.count, 0);
  const title = name === "return" ? "Return" : spaced(name);
  if (count === 0)
    return panel(title, h("p", { class: "muted" }, "No episode with these filters."));
  const drawn = bins.map((bin) => ({
    ...bin,
    title: `${number(bin.low)} to ${number(bin.high)}: ${plural(bin.count, "episode")}`,
    onclick: () => ctx.go({ view: "episodes", page: null, key: null, ...range(name, bin) }),
  }));
  return panel(
    title,
    histogram({ width: 370, height: 150, bins: drawn }),
    h("p", { class: "muted" }, plural(count, "episode"), missing > 0 && `, ${missing} without it`),
  );
}

function range(name, bin) {
  if (name === "return") return { return_min: bin.low, return_max: bin.high };
  return { component: name, component_min: bin.low, component_max: bin.high };
}
