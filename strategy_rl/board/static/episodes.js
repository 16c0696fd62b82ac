/**
 * The list of episodes: filtered, sorted and paged by the server.
 */

import { ask } from "./api.js";
import { columnsOf, heading } from "./columns.js";
import { empty, h, link, table } from "./dom.js";
import { plural, whole } from "./format.js";
import { pageButtons } from "./pages.js";
import { filtersOf, NO_FILTERS } from "./place.js";

const SIZE = 100;

/** Parameters of /episodes for the place, so that others ask for the same list. */
export function listQuery(params, page) {
  return { run: params.run, ...filtersOf(params), sort: params.sort, page, size: SIZE };
}

export async function episodes(ctx) {
  const page = Number(ctx.params.page ?? 0);
  const found = await ask("episodes", listQuery(ctx.params, page));
  if (found.total === 0) return { node: nothingFound(ctx) };
  const columns = columnsOf(ctx, found.episodes);
  const most = mostOf(found.episodes);
  const rows = found.episodes.map((head) => row(ctx, columns, head, most));
  const titles = columns.map((column) => heading(ctx, column));
  const node = h(
    "div",
    {},
    pager(ctx, found),
    h("div", { class: "scroll" }, table({ class: "list" }, titles, rows)),
    found.total > found.size && pager(ctx, found),
  );
  return { node, keys: listKeys(ctx, rows, found.episodes) };
}

function nothingFound(ctx) {
  if (Object.keys(filtersOf(ctx.params)).length) {
    const clear = () => ctx.go({ ...NO_FILTERS, page: null }, { replace: true });
    return h(
      "div",
      {},
      empty(
        `None of ${plural(ctx.info.episodes, "episode")} passes these filters.`,
        "Widen a range, or start again.",
      ),
      h("p", { class: "centre" }, h("button", { onclick: clear }, "Clear filters")),
    );
  }
  return empty(
    "This run has recorded no episodes yet.",
    "They appear here as the run writes them; evaluation writes all of its episodes.",
  );
}

const mostOf = (heads) => Math.max(...heads.map((head) => Math.abs(head.return ?? 0)));

function row(ctx, columns, head, most) {
  const changes = { view: "episode", key: head.key };
  const open = () => ctx.go(changes);
  const cells = columns.map((column, i) => {
    const shown = column.show(head, most);
    const cell = i === 0 ? link(ctx.href(changes), open, { class: "plain" }, shown) : shown;
    return h("td", { class: column.kind ?? "", title: column.hover?.(head) }, cell);
  });
  const selected = String(head.key) === ctx.params.key;
  return h("tr", { class: selected ? "press selected" : "press", onclick: open }, cells);
}

function pager(ctx, found) {
  const { total, page, size } = found;
  const from = page * size + 1;
  const to = Math.min(total, from + size - 1);
  const count =
    total > size
      ? `${whole(from)}\u2013${whole(to)} of ${plural(total, "episode")}`
      : plural(total, "episode");
  return h(
    "div",
    { class: "pager" },
    h("span", { class: "total" }, count),
    pageButtons(ctx, found),
    h("span", { class: "hint" }, "j / k select, Enter opens, / searches"),
  );
}

function listKeys(ctx, rows, heads) {
  let at = heads.findIndex((head) => String(head.key) === ctx.params.key);
  const select = (to) => {
    at = Math.max(0, Math.min(rows.length - 1, to));
    rows.forEach((one, i) => one.classList.toggle("selected", i === at));
    rows[at].scrollIntoView({ block: "nearest" });
    ctx.note({ key: heads[at].key });
  };
  const open = () => at >= 0 && ctx.go({ view: "episode", key: heads[at].key });
  return { j: () => select(at + 1), k: () => select(at - 1), Enter: open };
}
