/**
 * What the pieces of a text are coloured by: a control that chooses, a legend, each piece's style.
 */

import { heat, palette, twoSided, wash } from "./colours.js";
import { choice, h } from "./dom.js";
import { known, number } from "./format.js";

const FEW = 6; // numbers that the legend shows one by one

/** Inks: from all values that there are to the style of one of them. */
export const INKS = {
  /** Names, each underlined in its colour. */
  names: (all) => {
    const colour = palette(all);
    return (value) => ({ "border-bottom": `3px solid ${colour(value)}` });
  },
  /** Numbers from cold to hot. */
  heat: (all) => {
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return (value) => ({ background: heat(high > low ? (value - low) / (high - low) : 0) });
  },
  /** Numbers above and below 0. */
  twoSided: (all) => {
    const most = Math.max(1e-9, ...all.map(Math.abs));
    return (value) => ({ background: twoSided(value, most) });
  },
  /** Log-probabilities: the less likely the stronger. */
  unlikely: (all) => {
    const most = Math.max(1, ...all.map(Math.abs));
    return (value) => ({ background: wash("var(--down)", (-0.8 * value) / most) });
  },
};

/**
 * @param {string} param of the place, which keeps the choice.
 * @param {Object<string, {title: string, of: (item) => any, ink: Function, all?: any[]}>} ways by
 *   name; `all` are the values that an ink spans, where they are more than those of the items.
 * @param {object[]} items
 * @returns {{control: Node, style: (item) => object}} the first way that tells items apart is
 *   chosen unless the place says otherwise; unknown values have no style.
 */
export function painter(ctx, param, ways, items) {
  const valuesOf = ({ of }) => items.map(of).filter(known);
  const there = Object.keys(ways).filter((name) => valuesOf(ways[name]).length);
  if (there.length === 0) return { control: noNumbers(), style: () => ({}) };
  const telling = there.find((name) => new Set(valuesOf(ways[name])).size > 1) ?? there[0];
  const name = there.includes(ctx.params[param]) ? ctx.params[param] : telling;
  const way = ways[name];
  const values = valuesOf(way);
  const ink = way.ink(way.all?.length ? way.all : values);
  const pick = choice(
    param,
    "colour by",
    there.map((one) => [one, ways[one].title]),
    name,
    (chosen) => ctx.go({ [param]: chosen }, { replace: true }),
  );
  return {
    control: h("div", { class: "row" }, pick, legend(values, ink)),
    style: (item) => (known(way.of(item)) ? ink(way.of(item)) : {}),
  };
}

const noNumbers = () => h("p", { class: "muted" }, "no numbers recorded for these tokens");

/** Few values one by one, many by their ends. */
function legend(values, ink) {
  const names = typeof values[0] === "string";
  const distinct = [...new Set(values)].sort(names ? undefined : (a, b) => a - b);
  const shown = names || distinct.length <= FEW ? distinct : [distinct[0], distinct.at(-1)];
  const items = shown.map((value) =>
    h("span", { class: "ink", style: ink(value) }, names ? value : rounded(value)),
  );
  if (shown.length < distinct.length) items.splice(1, 0, "to");
  return h("span", { class: "legend" }, items);
}

const rounded = (value) => number(Math.round(100 * value) / 100, Number.isInteger(value) ? 0 : 2);
