"use strict";
const form = document.querySelector("form.controls");
const { task, group, words, ranked } = form.elements;
const groups = [...document.querySelectorAll("section.group")];

// One group at a time; without this script all of them are there.
function show(wanted) {
  task.value = wanted.dataset.task;
  group.replaceChildren(
    ...groups.filter((one) => one.dataset.task === task.value).map((one) => new Option(one.dataset.title, one.id)),
  );
  group.value = wanted.id;
  for (const one of groups) one.hidden = one !== wanted;
  filter();
}

function filter() {
  const shown = groups.find((one) => !one.hidden);
  const rows = [...shown.querySelectorAll("tbody tr")];
  const part = words.value.trim().toLowerCase();
  for (const row of rows) {
    const name = row.cells[0].textContent.toLowerCase();
    row.hidden = !name.includes(part) || (ranked.checked && row.classList.contains("unranked"));
  }
  const left = rows.filter((row) => !row.hidden).length;
  form.querySelector("output").textContent = `${left} of ${rows.length} shown`;
}

// Sorts by a column: the better end first, then the other way round. Rows without a number come
// last, and those without a rank behind the ranked ones, whichever way it goes.
function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  const first = heading.dataset.better === "higher" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? other : first;
  for (const one of heading.parentNode.cells) one.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const place = heading.cellIndex;
  const number = (row) => Number(row.cells[place].dataset.value ?? NaN);
  const behind = (row) => 2 * Number(Number.isNaN(number(row))) + Number(row.classList.contains("unranked"));
  const sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => behind(a) - behind(b) || (behind(a) < 2 ? sign * (number(a) - number(b)) : 0);
  body.append(...[...body.rows].sort(compare));
}

for (const heading of document.querySelectorAll("th[data-sortable]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(heading));
  heading.append(button);
}
task.addEventListener("change", () => show(groups.find((one) => one.dataset.task === task.value)));
group.addEventListener("change", () => {
  history.replaceState(null, "", `#${group.value}`);
  show(document.getElementById(group.value));
});
words.addEventListener("input", filter);
ranked.addEventListener("change", filter);
form.addEventListener("submit", (event) => event.preventDefault());
const linked = () => groups.find((one) => `#${one.id}` === location.hash);
window.addEventListener("hashchange", () => linked() && show(linked()));
form.hidden = false;
show(linked() ?? groups[0]);
