/**
 * Puts new nodes where old ones stood: the focus, what is typed and what is scrolled to stay.
 */

/** @param {boolean} near whether the new node shows the same thing, a little later. */
export function redraw(main, node, near) {
  const [focus, typed, scrolled] = [focused(), document.activeElement?.value, window.scrollY];
  const aside = [...main.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  main.replaceChildren(node);
  refocus(focus);
  if (!near) {
    window.scrollTo(0, 0);
    main.querySelector(".selected")?.scrollIntoView({ block: "center" });
    return;
  }
  window.scrollTo(0, scrolled);
  main.querySelectorAll(".scroll").forEach((one, i) => (one.scrollLeft = aside[i]));
  const field = main.querySelector("input:not([type]):focus");
  if (field) field.value = typed;
}

/** As `redraw`, of nodes that are always in sight. */
export function refill(part, ...nodes) {
  const focus = focused();
  part.replaceChildren(...nodes);
  refocus(focus);
}

const focused = () => document.activeElement?.id;

function refocus(id) {
  if (id && id !== focused()) document.getElementById(id)?.focus({ preventScroll: true });
}
