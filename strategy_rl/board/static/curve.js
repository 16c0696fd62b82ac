/**
 * The learning curve, and what the evaluations gave. Each point opens its episodes.
 */

import { bar, lines, room, roundStep } from "./charts.js";
import { palette } from "./colours.js";
import { empty, h, panel, pressable, table } from "./dom.js";
import { moment, number, plural, signed, whole } from "./format.js";
import { NO_FILTERS } from "./place.js";

const FINAL = "evaluation";
const DOT_ROOM = 10; // pixels from one point to the next, so that each can be hit

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
  const moments = [...new Map(sorted.map((point) => [moment(point), point])).entries()];
  const places = new Map(moments.map(([name], x) => [name, x]));
  const width = room(1);
  const size = Math.ceil(moments.length / (width / DOT_ROOM));
  const groups = grouped(sorted, seriesOf);
  const colour = palette([...groups.keys()]);
  const at = (point) => ({ x: places.get(moment(point)), y: point.mean_return });
  const series = [...groups].map(([name, all]) => ({
    name,
    style: colour(name),
    behind: size > 1 && all.map(at),
    points: together(all, size).map((some) => dot(ctx, name, some, places)),
  }));
  const many = `a point is the mean of up to ${size} iterations and opens their episodes`;
  return panel(
    `Mean return during training; ${size > 1 ? many : "a point opens its episodes"}`,
    lines({ width, height: 230, ticks: ticksOf(moments), series }),
  );
}

/** Points whose iterations are in the same range of `size`, as far as they are of one stage. */
function together(points, size) {
  const range = ({ stage, iteration }) => `${stage} ${Math.floor((iteration ?? 0) / size)}`;
  return [...grouped(points, range).values()];
}

function dot(ctx, name, some, places) {
  const [first, last] = [some[0], some.at(-1)];
  const one = { ...first, ...meanOf(some) };
  if (some.length > 1) one.iteration = `${first.iteration}-${last.iteration}`;
  return {
    x: (places.get(moment(first)) + places.get(moment(last))) / 2,
    y: one.mean_return,
    onclick: () => ctx.go(placeOf(one)),
    title: titleOf(name, one),
  };
}

/** Of all that were played, or else recorded, at some points. */
function meanOf(points) {
  const sum = (of) => points.reduce((total, point) => total + of(point), 0);
  const count = (point) => point.num_episodes ?? point.episodes;
  return {
    mean_return: sum((point) => count(point) * point.mean_return) / sum(count),
    episodes: sum((point) => point.episodes),
    num_episodes: points.every((point) => point.num_episodes) ? sum(count) : null,
  };
}

/** A dozen labels at round iterations, none too near to the one before. */
function ticksOf(moments) {
  const step = roundStep(moments.length / 12);
  const ticks = [];
  moments.forEach(([label, { iteration }], x) => {
    const near = ticks.length > 0 && x - ticks.at(-1).x < step / 2;
    if ((iteration ?? 0) % step === 0 && !near) ticks.push({ x, label });
  });
  return ticks;
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

function grouped(points, nameOf) {
  const groups = new Map();
  for (const point of points) {
    const name = nameOf(point);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(point);
  }
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
