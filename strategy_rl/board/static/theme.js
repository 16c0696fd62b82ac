/**
 * Follows TensorBoard's dark mode: it tells plugins nothing, but marks its own body.
 */

export function followTheme() {
  const body = window.parent.document.body;
  const follow = () => {
    document.documentElement.dataset.theme = body.classList.contains("dark-mode")
      ? "dark"
      : "light";
  };
  new MutationObserver(follow).observe(body, { attributes: true, attributeFilter: ["class"] });
  follow();
}
