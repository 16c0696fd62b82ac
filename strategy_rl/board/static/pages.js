/**
 * Buttons that turn pages.
 */

import { h } from "./dom.js";
import { whole } from "./format.js";

/** @param {{total: number, page: number, size: number}} found null where one page is all. */
export function pageButtons(ctx, { total, page, size }) {
  const last = Math.ceil(total / size) - 1;
  if (last < 1) return null;
  const turn = (to) => {
    const there = Math.max(0, Math.min(last, to || 0));
    ctx.go({ page: there || null, key: null, pair: null }, { replace: true });
  };
  const number = h("input", {
    "aria-label": "page",
    class: "page",
    inputmode: "numeric",
    size: 4,
    value: page + 1,
    onchange: (event) => turn(Math.round(Number(event.target.value)) - 1),
  });
  return [
    h("button", { disabled: page === 0, onclick: () => turn(page - 1) }, "Previous"),
    h("button", { disabled: page >= last, onclick: () => turn(page + 1) }, "Next"),
    h("span", {}, "page ", number, ` of ${whole(last + 1)}`),
  ];
}
