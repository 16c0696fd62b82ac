/**
 * Tells when to look again: TensorBoard's reload button, and a cheap question every few seconds.
 */

import { askNow } from "./api.js";

const PERIOD_MS = 4000;

/**
 * @param {number} version of what is shown.
 * @param {() => Promise<number>} reload shows what there is now and returns its version.
 * @param {(state: "live" | "paused" | "lost") => void} tell
 * @returns {() => void} pauses, or goes on.
 */
export function watch(version, reload, tell) {
  let paused = false;
  let busy = false;
  const inHand = pointerWatch();
  const look = async (always) => {
    if (busy || (paused && !always) || inHand() || choosing()) return;
    busy = true;
    try {
      const now = await askNow("./changed");
      if (always || now.version !== version) version = await reload();
      tell(paused ? "paused" : "live");
    } catch {
      tell("lost");
    } finally {
      busy = false;
    }
  };
  setInterval(() => document.hidden || look(false), PERIOD_MS);
  onReloadButton(() => look(true));
  return () => {
    paused = !paused;
    tell(paused ? "paused" : "live");
  };
}

/** Tells whether a button of the pointer is down: drawn anew, what it holds would slip away. */
function pointerWatch() {
  let down = false;
  for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
    document.addEventListener(type, (event) => (down = event.buttons > 0), { capture: true });
  return () => down;
}

/** Whether a list of choices is open, which would close if it were drawn anew. */
const choosing = () =>
  CSS.supports("selector(:open)") && document.querySelector("select:open") !== null;

function onReloadButton(listener) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.isReply) return;
    if (message.type === "experimental.DataReloaded") listener();
    const reply = { type: message.type, id: message.id, payload: null, error: null, isReply: true };
    port1.postMessage(JSON.stringify(reply));
  };
  if (window.parent !== window) {
    window.parent.postMessage("experimental.bootstrap", window.location.origin, [port2]);
  }
}
