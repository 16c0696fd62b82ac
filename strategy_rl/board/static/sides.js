/**
 * Which two policies are compared, and the controls that choose them.
 */

import { choice, h, tickBox } from "./dom.js";
import { iterationField } from "./filters.js";

const SORTS = [
  ["-gain", "greatest gain first"],
  ["gain", "greatest loss first"],
  ["row", "row"],
];

/** What is compared: as the address says, else the first two policies of the run. */
export function sidesOf({ params, info, runs }) {
  const run_b = params.run_b ?? params.run;
  const other = runs.find((run) => run.run === run_b) ?? info;
  const policies = [...(info.policies ?? [])];
  const policy_a = params.policy_a ?? (policies.includes("sft") ? "sft" : policies[0]);
  const rest =
    run_b === params.run ? policies.filter((name) => name !== policy_a) : (other.policies ?? []);
  return {
    run_a: params.run,
    policy_a,
    iteration_a: params.iteration_a,
    run_b,
    policy_b: params.policy_b ?? (rest.includes("ppo") ? "ppo" : rest[0]),
    iteration_b: params.iteration_b,
    split: params.split,
    changed: params.all ? 0 : 1,
    sort: params.by ?? "-gain",
  };
}

/** The controls that choose the two sides. */
export function sideControls(ctx, asked) {
  const set = (name) => (value) =>
    ctx.go({ [name]: value || null, page: null, pair: null }, { replace: true });
  const of = (run) => ctx.runs.find((item) => item.run === run) ?? ctx.info;
  const some = (values) => [
    ["", "any"],
    ...(values ?? []).map((value) => [String(value), String(value)]),
  ];
  const iteration = (side, values) => {
    const value = asked[`iteration_${side}`] ?? "";
    const onchange = (event) => set(`iteration_${side}`)(event.target.value.trim());
    return iterationField(`iteration-${side}`, values, { value, onchange });
  };
  const one = (side, run) => [
    choice(
      `policy-${side}`,
      "policy",
      of(run).policies ?? [],
      asked[`policy_${side}`],
      set(`policy_${side}`),
    ),
    (of(run).iterations ?? []).length > 1 && iteration(side, of(run).iterations),
  ];
  return h(
    "div",
    { class: "filters" },
    h("span", { class: "side" }, "Before"),
    one("a", asked.run_a),
    h("span", { class: "side" }, "After"),
    choice(
      "run-b",
      "run",
      ctx.runs.map(({ run, label }) => [run, label]),
      asked.run_b,
      set("run_b"),
    ),
    one("b", asked.run_b),
    choice("split", "split", some(ctx.info.splits), asked.split, set("split")),
    choice("by", "order", SORTS, asked.sort, set("by")),
    tickBox("only-changed", "only rows that changed", { checked: !ctx.params.all }, (ticked) =>
      set("all")(ticked ? null : "1"),
    ),
  );
}
