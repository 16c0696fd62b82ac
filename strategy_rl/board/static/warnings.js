/**
 * What looks wrong in the episodes, each with the list that shows it.
 */

import { ask } from "./api.js";
import { empty, h, link } from "./dom.js";
import { spaced } from "./format.js";
import { NO_FILTERS } from "./place.js";

export async function warnings(ctx) {
  const found = await ask("warnings", { run: ctx.params.run });
  if (found.warnings.length === 0) {
    return {
      node: empty(
        "Nothing looks wrong.",
        "Looked for: a component that follows length, rewards without variance, ",
        "collapsed entropy, one action or one text nearly everywhere.",
      ),
    };
  }
  return {
    node: h(
      "ul",
      { class: "warnings" },
      found.warnings.map((warning) => card(ctx, warning)),
    ),
  };
}

function card(ctx, { code, message, detail, filter }) {
  const place = { ...NO_FILTERS, view: "episodes", page: null, key: null, sort: null, ...filter };
  return h(
    "li",
    { class: "panel" },
    h(
      "div",
      { class: "row" },
      h("span", { class: "tag differs" }, spaced(code)),
      h("strong", {}, message),
    ),
    h("p", { class: "muted" }, detail),
    h(
      "p",
      {},
      link(ctx.href(place), () => ctx.go(place), {}, "Show these episodes"),
    ),
  );
}
