// Wide tables scroll sideways on a phone: let the keyboard reach them.
window.addEventListener("load", () => {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) table.tabIndex = 0;
});
