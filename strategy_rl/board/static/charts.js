/**
 * Small charts as SVG. Knows numbers and names, no episode.
 */

import { h, pressable, s } from "./dom.js";
import { number } from "./format.js";

const MOST_TICKS = 6; // of four steps and a little
const MARGIN = { left: 46, right: 24, top: 8, bottom: 20 };

/** How wide a chart may be in one of some panels side by side. */
export const room = (panels) => (window.innerWidth - 46 - 12 * (panels - 1)) / panels - 26;

/**
 * Lines over places on a shared axis.
 * @param {{x: number, label: string}[]} ticks of the horizontal axis.
 * @param {{name: string, style: string, points: {x: number, y: number | null, title: string,
 *   onclick?: () => void}[], behind?: {x: number, y: number}[]}[]} series `style` is a CSS colour,
 *   `behind` a pale line under the points.
 */
export function lines({ width, height, ticks, series }) {
  const points = series
    .flatMap((one) => [...one.points, ...(one.behind || [])])
    .filter((point) => point.y !== null);
  if (points.length === 0) return h("p", { class: "muted" }, "Nothing recorded to draw.");
  const across = scale(extent(points.map((p) => p.x)), MARGIN.left + 6, width - MARGIN.right - 6);
  const up = scale(extent(points.map((p) => p.y)), height - MARGIN.bottom, MARGIN.top);
  const frame = [...sideTicks(up, width), ...footTicks(ticks, across, height)];
  const pale = series.map(({ behind, style }) => behind && path(behind, across, up, style, "pale"));
  const paths = series.map(({ points, style }) => path(points, across, up, style));
  const dots = series.flatMap((one) => dotsOf(one, across, up));
  const marks = [dots.map(({ around }) => around), dots.map(({ dot }) => dot)]; // dots are on top
  return h("figure", {}, svg(width, height, frame, pale, paths, marks), legend(series));
}

/** Bars over bins; each calls its `onclick`, if it has one. */
export function histogram({ width, height, bins }) {
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const step = (width - MARGIN.left - MARGIN.right) / bins.length;
  const up = scale([0, most], height - MARGIN.bottom, MARGIN.top);
  const bars = bins.map((bin, i) => {
    const box = { x: MARGIN.left + i * step, width: Math.max(1, step - 1) };
    const top = bin.count ? Math.min(up(bin.count), up(0) - 2) : up(0);
    const opens = bin.count > 0 && bin.onclick;
    return s(
      "g",
      { class: opens ? "bin" : "", ...(opens ? pressable(opens) : {}) },
      s("title", {}, bin.title),
      s("rect", { ...box, y: MARGIN.top, height: up(0) - MARGIN.top, class: "catch" }),
      s("rect", { ...box, y: top, height: up(0) - top, class: "bar" }),
    );
  });
  const ends = [bins[0].low, (bins[0].low + bins.at(-1).high) / 2, bins.at(-1).high];
  const across = scale([ends[0], ends[2]], MARGIN.left, width - MARGIN.right);
  const labels = [...new Set(ends)].map((x) => ({ x, label: number(x, 2) }));
  const foot = footTicks(labels, ends[0] === ends[2] ? () => width / 2 : across, height);
  const side = [0, most].map((count) => sideText(count, String(count), up));
  return svg(width, height, [...foot, ...side], bars);
}

/** A bar from 0 to `value`, to the left where it is negative; `most` fills one half. */
export function bar(value, most) {
  const share = most > 0 ? Math.min(1, Math.abs(value ?? 0) / most) * 50 : 0;
  const left = value < 0 ? 50 - share : 50;
  const style = { left: `${left}%`, width: `${share}%` };
  return h("span", { class: "twoway" }, h("i", { class: value < 0 ? "down" : "up", style }));
}

/** The points of a line: what catches the pointer around each, and what is seen of it. */
function dotsOf({ style, points }, across, up) {
  const known = points.filter((point) => point.y !== null);
  const gap = (across(known.at(-1)?.x) - across(known[0]?.x)) / (known.length - 1) || 16;
  const reach = Math.max(3, Math.min(8, gap / 2)); // not into the middle of a neighbour
  return known.map(({ x, y, title, onclick }) => {
    const [cx, cy] = [across(x), up(y)];
    const seen = s("circle", { cx, cy, r: Math.min(3, gap / 3), style: { fill: style } });
    const props = onclick ? { class: "dot press", ...pressable(onclick) } : { class: "dot" };
    const dot = s("g", props, s("title", {}, title), seen);
    const near = (is) => () => dot.classList.toggle("near", is);
    const kind = onclick ? "catch press" : "catch";
    const hover = { onmouseenter: near(true), onmouseleave: near(false), onclick };
    const around = s("circle", { cx, cy, r: reach, class: kind, ...hover }, s("title", {}, title));
    return { dot, around };
  });
}

function path(points, across, up, style, kind = "") {
  const known = points.filter((point) => point.y !== null);
  const d = known.map((p, i) => `${i ? "L" : "M"}${across(p.x)},${up(p.y)}`).join("");
  return s("path", { d, class: `line ${kind}`, style: { stroke: style } });
}

function legend(series) {
  const items = series.map((one) =>
    h("span", {}, h("i", { class: "swatch", style: { background: one.style } }), one.name),
  );
  return h("figcaption", {}, items);
}

function svg(width, height, ...children) {
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "chart" }, children);
}

function sideTicks(up, width) {
  return roundTicks(up.domain).flatMap((y) => [
    s("line", {
      x1: MARGIN.left,
      x2: width - MARGIN.right,
      y1: up(y),
      y2: up(y),
      class: y === 0 ? "zero" : "grid",
    }),
    sideText(y, number(y, decimals(up.domain)), up),
  ]);
}

const sideText = (y, text, up) =>
  s("text", { x: MARGIN.left - 6, y: up(y) + 3.5, "text-anchor": "end" }, text);

function footTicks(ticks, across, height) {
  const place = (x) => ({ x: across(x), y: height - 5, "text-anchor": "middle" });
  return ticks.map((tick) => s("text", place(tick.x), tick.label));
}

function scale(domain, from, to) {
  const [low, high] = domain;
  const at = (value) =>
    high === low ? (from + to) / 2 : from + ((value - low) / (high - low)) * (to - from);
  return Object.assign(at, { domain });
}

function extent(values) {
  return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
}

export function roundTicks([low, high]) {
  const step = roundStep((high - low || 1) / 4);
  const first = Math.ceil(low / step);
  const ticks = Array.from({ length: MOST_TICKS }, (_, i) => (first + i) * step);
  return [...new Set(ticks)].filter((y) => y <= high); // beyond 2^53 numbers are far apart
}

/** 1, 2 or 5 times a power of ten, no less than `rough`. */
export function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
}

const decimals = ([low, high]) => Math.max(0, 1 - Math.floor(Math.log10(high - low || 1)));
