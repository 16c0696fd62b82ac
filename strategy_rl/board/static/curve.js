/**
 * The learning curve, and what the evaluations gave. Each point opens its episodes.
 */

import { bar, lines, room } from "./charts.js";
import { palette } from "./colours.js";
import { empty, h, panel, pressable, table } from "./dom.js";
import { moment, number, plural, signed, whole } from "./format.js";
import { NO_FILTERS } from "./place.js";

const FINAL = "evaluation";

/** @param {object[]} points of /curve. */
export function curvePanels(ctx, points) {
  if (points.length === 0)
    return empty(
      "No learning curve yet.",
      "It is drawn from the episodes of each stage and iteration.",
    );
  const final = points.filter((point) => point.stage === FINAL);
  const training = points.filter((point) => point.stage !== FINAL);
  return [
    training.length > 0 && curvePanel(ctx, training),
    final.length > 0 && finalPanel(ctx, final),
  ];
}

function curvePanel(ctx, points) {
  const stages = ctx.info.stages ?? [];
  const order = (point) => stages.indexOf(point.stage) * 1e9 + (point.iteration ?? 0);
  const sorted = [...points].sort((a, b) => order(a) - order(b));
  const moments = [...new Set(sorted.map(moment))];
  const groups = grouped(sorted);
  const colour = palette([...groups.keys()]);
  const series = [...groups].map(([name, all]) => ({
    name,
    style: colour(name),
    points: all.map((point) => ({
      x: moments.indexOf(moment(point)),
      y: point.mean_return,
      onclick: () => ctx.go(placeOf(point)),
      title: titleOf(name, point),
    })),
  }));
  const every = Math.ceil(moments.length / 12);
  const ticks = moments.map((label, x) => ({ x, label })).filter((_, i) => i % every === 0);
  return panel(
    "Mean return during training; a point opens its episodes",
    lines({ width: room(1), height: 230, ticks, series }),
  );
}

function finalPanel(ctx, points) {
  const most = Math.max(...points.map((point) => Math.abs(point.mean_return)));
  const best = [...points].sort((a, b) => b.mean_return - a.mean_return);
  const rows = best.map((point) =>
    h(
      "tr",
      { class: "press", ...pressable(() => ctx.go(placeOf(point))) },
      h("td", { class: "text" }, point.policy),
      h("td", { class: "text" }, point.split),
      h("td", {}, whole(point.episodes)),
      h("td", {}, signed(point.mean_return)),
      h("td", {}, bar(point.mean_return, most)),
    ),
  );
  const titles = [
    ["policy", "text"],
    ["split", "text"],
    ["episodes"],
    ["mean return"],
    [""],
  ];
  return panel("Evaluations", table({ class: "list compact" }, titles, rows));
}

function titleOf(name, { mean_return, episodes, num_episodes, ...point }) {
  const kept = `${plural(episodes, "episode")}`;
  const of = num_episodes ? `of ${whole(num_episodes)} played, opens the ${kept} kept` : kept;
  return `${name}, ${moment(point)}: ${number(mean_return)}, ${of}`;
}

const seriesOf = (point) => `${point.policy}, ${point.split}`;

function grouped(points) {
  const groups = new Map();
  for (const point of points)
    groups.set(seriesOf(point), [...(groups.get(seriesOf(point)) ?? []), point]);
  return groups;
}

function placeOf({ stage, iteration, policy, split }) {
  return {
    view: "episodes",
    page: null,
    key: null,
    ...NO_FILTERS,
    stage,
    iteration,
    policy,
    split,
  };
}
