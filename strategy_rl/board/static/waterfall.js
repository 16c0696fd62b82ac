/**
 * How components add up to a reward: each bar begins where the one above ended.
 */

import { h } from "./dom.js";
import { known, number, own, signed, spaced } from "./format.js";

/**
 * @param {{name: string, adds: number, value?: number | null, weight?: number | null}[]} parts
 * @param {number} total what the last line shows.
 * @param {string} label of the last line.
 */
export function waterfall(parts, total, label) {
  const detailed = parts.some((part) => known(part.value));
  const ends = runningSums(parts);
  const [low, high] = [Math.min(0, ...ends, total), Math.max(0, ...ends, total)];
  const at = (value) => (high > low ? (100 * (value - low)) / (high - low) : 0);
  const lines = parts.map((part, i) =>
    line(part, detailed, track(at, ends[i] - part.adds, ends[i], at(0))),
  );
  const sum = line({ name: label, adds: total }, detailed, track(at, 0, total, at(0)), "sum");
  return h("table", { class: "waterfall" }, detailed && titles(), h("tbody", {}, lines, sum));
}

/** The parts of one step, from its components, values and weights. */
export function partsOf(step) {
  return Object.entries(step.components ?? {}).map(([name, adds]) => ({
    name,
    adds: adds ?? 0,
    value: own(step.reward_values, name),
    weight: own(step.weights, name),
  }));
}

function runningSums(parts) {
  let sum = 0;
  return parts.map((part) => (sum += part.adds));
}

function titles() {
  const names = ["component", "value", "\u00d7 weight", "= adds", ""];
  return h(
    "thead",
    {},
    h(
      "tr",
      {},
      names.map((name, i) => h("th", { class: i ? "" : "text" }, name)),
    ),
  );
}

function line({ name, adds, value, weight }, detailed, bars, kind = "") {
  return h(
    "tr",
    { class: kind },
    h("td", { class: "text" }, spaced(name)),
    detailed && [
      h("td", {}, known(value) ? number(value) : ""),
      h("td", {}, known(weight) ? `\u00d7 ${number(weight, 2)}` : ""),
    ],
    h("td", {}, signed(adds)),
    h("td", { class: "track-cell" }, bars),
  );
}

function track(at, from, to, zero) {
  const [left, right] = [at(Math.min(from, to)), at(Math.max(from, to))];
  const style = { left: `${left}%`, width: `${Math.max(0.6, right - left)}%` };
  return h(
    "div",
    { class: "track" },
    h("b", { style: { left: `${zero}%` } }),
    to !== from && h("i", { class: to < from ? "down" : "up", style }),
  );
}
