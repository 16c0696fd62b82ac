/**
 * The Policy tab without a server: answers the plugin's routes from files under data/.
 *
 * As the server does; a test holds both to the same answers.
 */

import { answer } from "./answers.js";
import { Refused } from "./select.js";

const fetchFile = globalThis.fetch;
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const readFile = async (path) => {
  const response = await fetchFile(new URL(`data/${path}`, import.meta.url));
  if (!response.ok) throw new Error(`data/${path}: HTTP ${response.status}; is the copy whole?`);
  return response.json();
};

/** What the front end fetches: routes are answered here, everything else is a file. */
globalThis.fetch = async (resource, options) => {
  const url = new URL(String(resource), document.baseURI);
  const route = url.pathname.slice(new URL(".", document.baseURI).pathname.length);
  if (route.includes(".")) return fetchFile(resource, options);
  try {
    return Response.json(await answer(readFile, route, Object.fromEntries(url.searchParams)));
  } catch (error) {
    return Response.json({ error: error.message }, { status: error instanceof Refused ? 400 : 500 });
  }
};

const followTheme = () => document.body.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followTheme);
followTheme();

const { render } = await import("./static/index.js");
render();
