/**
 * A run keeps a few episodes of each training rollout: some at random, the best, the worst, the
 * most surprising. What counts episodes counts the random ones, unless others are asked for.
 */

import { h } from "./dom.js";

/** The filter under which a list holds what was counted. */
export const sampleFilter = ({ params, info }) =>
  info.reasons?.length ? { selected: params.selected ?? "random" } : {};

/** Says what is counted; null where nothing was left out. */
export function sampleNote({ params, info }) {
  if (!info.reasons?.length) return null;
  const which = params.selected ?? "random";
  const said =
    which === "random"
      ? "Of training episodes only those drawn at random count: others would bend the picture."
      : `Only training episodes kept as ${which} are counted.`;
  return h("p", { class: "muted sample-note" }, said);
}
