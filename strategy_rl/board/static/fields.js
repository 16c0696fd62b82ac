/**
 * Whatever a task put into an observation, or gave its reward, as names and readable values.
 */

import { h } from "./dom.js";
import { known, number, spaced } from "./format.js";

const SHOWN_NUMBERS = 12;

/** A list of names and values; `skip` names what is shown elsewhere. */
export function fieldList(fields, skip = []) {
  const entries = Object.entries(fields ?? {});
  const shown = entries.filter(([name]) => !name.startsWith("_") && !skip.includes(name));
  return h(
    "dl",
    { class: "fields" },
    shown.map(([name, value]) => [h("dt", {}, spaced(name)), h("dd", {}, readable(value))]),
  );
}

/** The texts of `value`, for a preview; "" where there is none. */
export function firstText(value) {
  if (typeof value === "string") return value;
  if (value === null || typeof value !== "object") return "";
  const parts = Array.isArray(value) ? [...value].reverse() : Object.values(value);
  return parts.map(firstText).find(Boolean) ?? "";
}

function readable(value) {
  if (!known(value)) return h("span", { class: "muted" }, "none");
  if (typeof value === "string") return h("div", { class: "prose" }, value || "(empty)");
  if (typeof value !== "object")
    return typeof value === "number" ? plainNumber(value) : String(value);
  if (!Array.isArray(value)) return fieldList(value);
  if (value.length === 0) return h("span", { class: "muted" }, "empty");
  if (value.every((item) => item === null || typeof item === "number")) return numbers(value);
  if (value.every((item) => typeof item === "string")) return texts(value);
  return h("span", { class: "numbers" }, `${value.length} \u00d7 `, readable(value[0]));
}

function numbers(value) {
  const rest = value.length - SHOWN_NUMBERS;
  const shown = value.slice(0, SHOWN_NUMBERS).map(plainNumber).join("  ");
  return h(
    "span",
    { class: "numbers" },
    shown,
    rest > 0 && h("span", { class: "muted" }, `  and ${rest} more`),
  );
}

const texts = (value) =>
  h(
    "ol",
    { class: "texts", start: "0" },
    value.map((item) => h("li", { class: "prose" }, item || "(empty)")),
  );

const plainNumber = (value) => (Number.isInteger(value) ? String(value) : number(value));
