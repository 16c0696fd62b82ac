/**
 * Which colour stands for what; the colours themselves are in style.css, for light and dark.
 */

import { known } from "./format.js";

const HUES = 8;

/** The colour of the i-th of several names. */
export const hue = (i) => `var(--hue-${((i % HUES) + HUES) % HUES})`;

/** A wash of `colour`; `share` from 0 to 1. */
export function wash(colour, share) {
  const amount = Math.round(100 * Math.max(0, Math.min(1, share)));
  return `color-mix(in srgb, ${colour} ${amount}%, transparent)`;
}

/** Blue above 0, orange below; `most` is as strong as it gets. */
export function twoSided(value, most) {
  if (!known(value) || most === 0) return "transparent";
  return wash(value < 0 ? "var(--down)" : "var(--up)", (0.75 * Math.abs(value)) / most);
}

/** From cold to hot; `share` from 0 to 1. */
export const heat = (share) =>
  wash(`color-mix(in srgb, var(--hot) ${Math.round(100 * share)}%, var(--cold))`, 0.4);

/** A colour for each name, the same wherever `all` is the same. */
export function palette(all) {
  const places = new Map(all.map((name, i) => [name, i]));
  return (name) => {
    if (!places.has(name)) places.set(name, places.size);
    return hue(places.get(name));
  };
}
