/**
 * The steps of an episode, the first hundred at once: an episode may have thousands.
 */

import { h } from "./dom.js";
import { whole } from "./format.js";
import { stepCard } from "./step.js";

const AT_ONCE = 100;

let last = { of: "", count: 0 }; // how many were drawn, for when the same episode is drawn anew

/** The cards, and `show`, which scrolls to that of a step and draws on as far as it. */
export function stepList(ctx, episode) {
  const { steps } = episode;
  const of = JSON.stringify([ctx.params.run, ctx.params.key]);
  const start = last.of === of ? last.count : AT_ONCE;
  const cards = h("div", {});
  const more = h("button", { class: "quiet", id: "more-steps", onclick: () => drawOn(AT_ONCE) });
  const drawOn = (count) => {
    const from = cards.childElementCount;
    const to = Math.min(steps.length, from + count);
    for (let i = from; i < to; i++) cards.append(stepCard(ctx, episode, i));
    last = { of, count: Math.max(AT_ONCE, to) };
    more.textContent = `Show ${Math.min(AT_ONCE, steps.length - to)} more of ${whole(steps.length)}`;
    more.hidden = to === steps.length;
  };
  drawOn(start);
  const show = (i) => {
    if (i >= cards.childElementCount) drawOn(i + AT_ONCE - cards.childElementCount);
    cards.children[i].scrollIntoView({ block: "start" });
  };
  return { node: h("section", {}, cards, more), show };
}
