/**
 * The Policy tab: its frame, and which view stands in it. TensorBoard calls `render`.
 */

import { ask, forget } from "./api.js";
import { compare } from "./compare.js";
import { empty, h } from "./dom.js";
import { episode } from "./episode.js";
import { episodes } from "./episodes.js";
import { filterBar, syncFilters } from "./filters.js";
import { frame } from "./frame.js";
import { onKeys } from "./keys.js";
import { watch } from "./live.js";
import { policyMap } from "./map.js";
import { hrefOf, onPlace, readPlace, writePlace } from "./place.js";
import { probes } from "./probes.js";
import { redraw, refill } from "./redraw.js";
import { rewards } from "./rewards.js";
import { styled } from "./theme.js";
import { warnings } from "./warnings.js";

/** What shows a place: (context) => Promise<{node, keys?}>. */
const VIEWS = { episodes, episode, compare, probes, rewards, map: policyMap, warnings };
const FILTERED = new Set(["episodes", "rewards", "map"]);
const STATES = {
  live: "follows the run; click to pause",
  paused: "paused; click to follow the run",
  lost: "TensorBoard does not answer; tries again every few seconds",
};

const parts = { top: h("header"), bar: h("div"), main: h("main"), live: h("button") };
let runs = [];
let place = {};
let drawn = {}; // the place that `parts.main` shows
let turn = 0; // of the latest `show`; an older one that answers late is dropped
let barOf = "";
let keys = {};
let warned = { run: null, count: 0 };

/** Fills the tab; called once. */
export async function render() {
  await styled();
  document.body.append(parts.top, parts.bar, parts.main);
  onKeys(() => keys);
  onPlace(() => readPlace() && show(readPlace()));
  const version = await reload().catch(fail);
  parts.live.addEventListener("click", watch(version, reload, tellLive));
  tellLive("live");
}

async function reload() {
  forget();
  const answer = await ask("runs");
  runs = answer.runs;
  if (readPlace()) await show(place.view ? place : readPlace()); // else another tab is open
  return answer.version;
}

/** Shows a place; of several that are asked for, the last. */
async function show(asked) {
  const mine = ++turn;
  place = { ...asked, view: Object.hasOwn(VIEWS, asked.view ?? "") ? asked.view : "episodes" };
  place.run = asked.run ?? runs.find((run) => run.episodes)?.run ?? runs[0]?.run;
  showFrame();
  if (!(isDrawn() && parts.main.querySelector(".episode"))) {
    const shown = await current().catch((error) => ({ node: troubled(error) }));
    if (mine !== turn) return;
    replaceMain(shown);
  } // else it is an episode, which never changes
  if (place.run) await countWarnings(place.run);
}

/** Asked once until the runs grow: the server reads episodes for it. */
async function countWarnings(run) {
  const found = await ask("warnings", { run }).catch(() => ({ warnings: [] }));
  const count = found.warnings.length;
  if (run !== place.run || (warned.run === run && warned.count === count)) return;
  warned = { run, count };
  showFrame();
}

async function current() {
  if (runs.length === 0) return { node: nothingRecorded() };
  if (!ctx().info) throw new Error(`run: got ${place.run}, which is not here; choose one above.`);
  return VIEWS[place.view](ctx());
}

/** What a view may know and do. */
function ctx() {
  return { params: place, runs, info: runs.find((run) => run.run === place.run), go, note, href };
}

/** As it will be read from the address: all values are texts. */
function merged(changes) {
  const all = Object.entries({ ...place, ...changes });
  const given = all.filter(([, value]) => ![null, undefined, ""].includes(value));
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}

const href = (changes) => hrefOf(merged(changes));

/** Goes to the place that differs by `changes`; null takes a parameter away. */
function go(changes, { replace = false } = {}) {
  const next = merged(changes);
  writePlace(next, replace);
  if (replace) show(next); // the browser tells of every other change itself
}

/** Keeps what the shown view did by itself, so that it is there when the view is shown again. */
function note(changes) {
  if (!isDrawn()) return; // another is on its way
  place = drawn = merged(changes);
  writePlace(place, true);
}

function showFrame() {
  const count = warned.run === place.run ? warned.count : 0;
  refill(parts.top, ...frame(ctx(), count), parts.live);
  showBar(ctx().info);
}

function showBar(info) {
  const filtered = Boolean(info) && FILTERED.has(place.view);
  const known = { ...info, episodes: 0, status: "", view: place.view };
  const wanted = filtered ? JSON.stringify(known) : "";
  const here = ["view", "run"].every((name) => drawn[name] === place[name]);
  const inUse = here && parts.bar.contains(document.activeElement); // waits until it is left
  if (wanted !== barOf && !inUse) {
    parts.bar.replaceChildren(...(filtered ? [filterBar(ctx())] : []));
    barOf = wanted;
  }
  if (filtered) syncFilters(parts.bar, place);
}

const isDrawn = () => JSON.stringify(place) === JSON.stringify(drawn);

/** Where nothing would change all stays, with what is selected in it. */
function replaceMain(shown) {
  if (isDrawn() && parts.main.firstElementChild?.isEqualNode(shown.node)) return;
  const near = ["view", "run", "key", "pair", "page"].every((name) => drawn[name] === place[name]);
  keys = shown.keys ?? {};
  drawn = place;
  redraw(parts.main, shown.node, near);
}

function tellLive(state) {
  parts.live.className = `live ${state}`;
  parts.live.textContent = state;
  parts.live.title = STATES[state];
}

const fail = (error) => void parts.main.replaceChildren(troubled(error));
const troubled = (error) => h("div", { class: "error", role: "alert" }, error.message);

function nothingRecorded() {
  return empty(
    "No recorded episodes under this log directory.",
    "They lie in a run's folder under episodes/. Train with ",
    h("code", {}, "strategy-rl run CONFIG"),
    " or play with ",
    h("code", {}, "strategy-rl evaluate"),
    ", and start TensorBoard with --logdir on the folder of runs. This page looks again by itself.",
  );
}
