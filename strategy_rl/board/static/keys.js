/**
 * The keyboard: "/" goes to the text filter, Escape leaves a field, the rest belongs to the view.
 */

/** @param {() => Object<string, () => void>} current the view's keys by `event.key`. */
export function onKeys(current) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) leave(event);
    else if (event.key === "/") focusFilter(event);
    else current()[event.key]?.();
  });
}

/** j and k go through `names`, of which `open` is shown; Escape shows none. */
export function rowKeys(names, open, go) {
  const at = names.indexOf(open);
  const to = (i) => () => names[i] !== undefined && go(names[i]);
  return { j: to(at + 1), k: to(at - 1), Escape: () => at >= 0 && go(null) };
}

function leave(event) {
  if (event.key === "Escape") event.target.blur();
}

function focusFilter(event) {
  const field = document.getElementById("filter-text");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
}
