/**
 * The line at the top: which run is shown, the views, what is known of the run.
 */

import { choice, h, link } from "./dom.js";
import { whole } from "./format.js";
import { NO_FILTERS } from "./place.js";

const TABS = [
  ["episodes", "Episodes"],
  ["compare", "Before and after"],
  ["probes", "Probes"],
  ["rewards", "Rewards"],
  ["map", "Policy map"],
  ["warnings", "Warnings"],
];

/** @param {number} count of warnings, beside their view. */
export function frame(ctx, count) {
  const { info, params, runs } = ctx;
  const other = { ...NO_FILTERS, key: null, page: null, sort: null, pair: null, at: null };
  const about =
    info &&
    `${info.task ?? ""} \u00b7 ${info.status ?? ""} \u00b7 ${whole(info.episodes)} episodes`;
  return [
    choice(
      "run",
      "run",
      runs.map(({ run, label }) => [run, label]),
      params.run,
      (run) => ctx.go({ run, ...other }),
    ),
    h(
      "nav",
      {},
      TABS.map((one) => tab(ctx, one, count)),
    ),
    h("span", { class: "about", title: about }, about),
  ];
}

function tab(ctx, [view, title], count) {
  const here = view === ctx.params.view || (view === "episodes" && ctx.params.view === "episode");
  const changes = { view, key: null, page: null, pair: null };
  const badge = view === "warnings" && count > 0 && h("span", { class: "badge" }, count);
  return link(
    ctx.href(changes),
    () => ctx.go(changes),
    { class: here ? "here" : "" },
    title,
    badge,
  );
}
