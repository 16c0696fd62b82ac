/**
 * Which episodes a request means: filters, order and pages. As queries.py and params.py.
 */

const PAGE = 100;
const MAX_PAGE = 1000;
const SORTS = ["return", "value_error", "least_probability", "length", "row", "iteration"];
const COMPONENT = "component:";
const RANDOM = "random";
const REASONS = [RANDOM, "best", "worst", "surprising"];

/** A request that cannot be answered. */
export class Refused extends Error {}

/** The entries `{head, place}` that the filters leave, in the order of `sort`. */
export async function select(run, params) {
  let entries = (await run.file("heads.json")).map((head, place) => ({ head, place }));
  const keep = (test) => (entries = entries.filter(test));
  for (const name of ["stage", "split", "policy", "kind"]) {
    if (name in params) keep(({ head }) => head[name] === params[name]);
  }
  const row = number(params, "row");
  if (row !== null) keep(({ head }) => head.row === row);
  if ("iteration" in params) {
    const [first, last] = wholes(params.iteration);
    const inside = (iteration) => iteration !== null && first <= iteration && iteration <= last;
    keep(({ head }) => inside(head.iteration));
  }
  if ("action" in params) keep(({ head }) => Object.hasOwn(head.actions, params.action));
  if ("selected" in params) {
    if (!REASONS.includes(params.selected)) throw new Refused(`selected: got '${params.selected}'`);
    keep(({ head }) => reasonsOf(head).includes(params.selected));
  }
  within(keep, valueOf("return"), params, "return");
  if ("component" in params) within(keep, valueOf(COMPONENT + params.component), params, "component");
  if ("text" in params) {
    const texts = await run.file("texts.json");
    const wanted = params.text.toLowerCase();
    keep(({ place }) => texts[place].some((text) => text.toLowerCase().includes(wanted)));
  }
  return inOrder(entries, params.sort);
}

/** As `select`, to be counted: of each rollout only what was drawn at random from it. */
export const sample = (run, params) => select(run, { selected: RANDOM, ...params });

const reasonsOf = (head) => head.selection?.reasons ?? [RANDOM];

function within(keep, value, params, name) {
  const [low, high] = [number(params, `${name}_min`), number(params, `${name}_max`)];
  if (low !== null) keep(({ head }) => value(head) !== null && value(head) >= low);
  if (high !== null) keep(({ head }) => value(head) !== null && value(head) <= high);
}

function inOrder(entries, sort) {
  if (!sort) return entries;
  const value = valueOf(sort.replace(/^-/, ""));
  return sorted(entries, (entry) => value(entry.head), sort.startsWith("-"));
}

/** What has no value comes last, in both directions. */
export function sorted(items, value, backward) {
  const known = items.filter((item) => value(item) !== null);
  known.sort((a, b) => (backward ? value(b) - value(a) : value(a) - value(b)));
  return [...known, ...items.filter((item) => value(item) === null)];
}

export function valueOf(column) {
  if (column.startsWith(COMPONENT)) {
    const name = column.slice(COMPONENT.length);
    return (head) => (Object.hasOwn(head.components, name) ? head.components[name] : null);
  }
  if (!SORTS.includes(column)) throw new Refused(`sort: got '${column}', expected ${SORTS.join(", ")}`);
  return (head) => head[column];
}

export function number(params, name) {
  if (!(name in params)) return null;
  const value = Number(params[name]);
  if (!Number.isFinite(value)) throw new Refused(`${name}: got '${params[name]}', expected a number`);
  return value;
}

/** The first and the last of "10", "10-14", or "10-" for 10 and more. */
function wholes(given) {
  const found = /^(-?\d{1,16})(-(-?\d{1,16})?)?$/.exec(given);
  const expected = "a whole number or a range such as 10-14";
  if (!found) throw new Refused(`iteration: got '${given}', expected ${expected}`);
  const [, first, to, last] = found;
  return [Number(first), Number(to === undefined ? first : (last ?? Infinity))];
}

export function pageOf(items, params) {
  const page = number(params, "page") ?? 0;
  const size = Math.min(number(params, "size") || PAGE, MAX_PAGE);
  const shown = items.slice(page * size, (page + 1) * size);
  return { shown, page: { total: items.length, page, size } };
}
