/**
 * Where the tab stands, kept in the address bar: `#strategy_rl&view=episode&run=...&key=...`.
 *
 * TensorBoard gives plugins no deep links, but the page around is of the same origin.
 */

const PLUGIN = "strategy_rl";
const page = window.parent;
const REPLACE_MS = 350; // Safari allows a hundred changes of the address in 30 seconds

/** Of /episodes, and so of every view that counts episodes. */
export const FILTERS = [
  "stage",
  "split",
  "policy",
  "iteration",
  "row",
  "kind",
  "action",
  "text",
  "selected",
  "return_min",
  "return_max",
  "component",
  "component_min",
  "component_max",
];

/** The parameters of the address; null while another tab is open. */
export function readPlace() {
  const [tab, ...pairs] = page.location.hash.slice(1).split("&");
  if (tab && tab !== PLUGIN) return null;
  return Object.fromEntries(pairs.map(split).filter(([name]) => name));
}

/** @param {boolean} replace whether "back" skips the place that is left. */
export function writePlace(params, replace) {
  const hash = hashOf(params);
  if (replace) return replaceSoon(hash);
  soon.write();
  if (hash !== page.location.hash) page.location.hash = hash;
}

let soon = { at: 0, timer: 0, write: () => {} };

/** At once, or a moment after the last time: browsers refuse hundreds of changes in a row. */
function replaceSoon(hash) {
  clearTimeout(soon.timer);
  const write = () => {
    clearTimeout(soon.timer);
    soon = { at: Date.now(), timer: 0, write: () => {} };
    page.history.replaceState(page.history.state, "", address(hash));
  };
  const rest = soon.at + REPLACE_MS - Date.now();
  if (rest <= 0) return write();
  soon = { at: soon.at, timer: setTimeout(write, rest), write };
}

/** The address of a place, for links. */
export const hrefOf = (params) => address(hashOf(params));

export function onPlace(listener) {
  page.addEventListener("hashchange", listener);
}

/** Those of the parameters that filter episodes. */
export function filtersOf(params) {
  return Object.fromEntries(FILTERS.filter((name) => name in params).map((n) => [n, params[n]]));
}

/** Takes every filter away. */
export const NO_FILTERS = Object.fromEntries(FILTERS.map((name) => [name, null]));

function hashOf(params) {
  const pairs = Object.entries(params).map(
    ([name, value]) => `${name}=${encodeURIComponent(value)}`,
  );
  return `#${[PLUGIN, ...pairs].join("&")}`;
}

const address = (hash) => `${page.location.pathname}${page.location.search}${hash}`;

function split(pair) {
  const [name, ...rest] = pair.split("=");
  return [name, decoded(rest.join("="))];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand
  }
}
