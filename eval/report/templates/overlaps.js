// What two neighboring views share: the method that is pointed at, focused or touched is shown
// beside all others, both views apart and their difference as a map.
for (const section of document.querySelectorAll(".overlaps")) {
  const buttons = [...section.querySelectorAll("button")], shown = section.querySelector(".shown");
  const [first, second, difference] = shown.querySelectorAll(".three figure");
  const status = shown.querySelector("[role=status]"), matches = shown.querySelector(".matches");
  const { query, warped } = section.dataset;

  function fill(figure, source, words, caption) {
    const image = figure.querySelector("img");
    image.src = source;
    image.alt = words;
    if (caption) figure.querySelector("figcaption").textContent = caption;
  }

  function show(button) {
    const { method, psnr, correct, all } = button.dataset;
    const [one, other] = button.querySelectorAll("img");
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    status.textContent = `${method}: ${psnr} dB over the pixels that ${query} and ${warped} share`;
    fill(first, one.src, `What ${query} shows of the shared part, by ${method}`, query);
    fill(second, other.src, `What ${warped} shows of it, warped, by ${method}`, `${warped}, warped`);
    fill(difference, button.dataset.difference,
      `Map of the difference of ${query} and ${warped} by ${method}: bright where they disagree`);
    matches.hidden = !button.dataset.matches;
    if (button.dataset.matches) {
      const count = `${correct} of ${all} keypoint matches lie where the cameras put them`;
      fill(matches, button.dataset.matches,
        `Lines between matching points of ${query} and ${warped} by ${method}: ${count}`,
        `${count} (green; others red${all > 60 ? "; 60 are drawn" : ""})`);
    }
    shown.hidden = false;
  }

  for (const button of buttons)
    for (const event of ["pointerenter", "focus", "click"])
      button.addEventListener(event, () => show(button));
  show(buttons.find((button) => button.dataset.method === "MVDiffusion") || buttons[0]);
}
