/**
 * How returns and their components are spread, and the learning curve. Everything opens episodes.
 */

import { ask } from "./api.js";
import { histogram } from "./charts.js";
import { curvePanels } from "./curve.js";
import { h, panel } from "./dom.js";
import { number, plural, spaced } from "./format.js";
import { filtersOf } from "./place.js";
import { sampleFilter, sampleNote } from "./sample.js";

const BINS = 30;
const RETURN = "return";

export async function rewards(ctx) {
  const names = [RETURN, ...(ctx.info.components ?? [])];
  const [curve, ...spreads] = await Promise.all([
    ask("curve", { run: ctx.params.run }),
    ...names.map((name) => spread(ctx, name)),
  ]);
  const panels = names.map((name, i) => spreadPanel(ctx, name, spreads[i]));
  return {
    node: h(
      "div",
      {},
      curvePanels(ctx, curve.points),
      sampleNote(ctx),
      h("div", { class: "multiples" }, panels),
    ),
  };
}

function spread(ctx, name) {
  const of = name === RETURN ? name : `component:${name}`;
  return ask("histogram", { ...filtersOf(ctx.params), run: ctx.params.run, of, bins: BINS });
}

function spreadPanel(ctx, name, { bins, missing }) {
  const count = bins.reduce((sum, bin) => sum + bin.count, 0);
  const title = name === RETURN ? "Return" : spaced(name);
  if (count === 0)
    return panel(title, h("p", { class: "muted" }, "No episode with these filters."));
  const opens = filterable(ctx.params, name);
  const drawn = bins.map((bin) => ({
    ...bin,
    title: `${number(bin.low)} to ${number(bin.high)}: ${plural(bin.count, "episode")}`,
    onclick: opens && (() => ctx.go({ ...listOf(ctx), ...range(name, bin) })),
  }));
  return panel(
    title,
    histogram({ width: 370, height: 150, bins: drawn }),
    h("p", { class: "muted" }, plural(count, "episode"), missing > 0 && `, ${missing} without it`),
  );
}

const listOf = (ctx) => ({ view: "episodes", page: null, key: null, ...sampleFilter(ctx) });

/** One component at a time has a range, so bins of others open nothing where one has. */
const filterable = ({ component, component_min: low, component_max: high }, name) =>
  [RETURN, component].includes(name) || (low ?? high) === undefined;

function range(name, { least, most }) {
  if (name === RETURN) return { return_min: least, return_max: most };
  return { component: name, component_min: least, component_max: most };
}
