// Plays sequences: the frames of a method lie in one picture, row by row. All methods of a sample
// show the same frame; one slider moves them.
for (const section of document.querySelectorAll(".playing")) {
  const figures = [...section.querySelectorAll("figure")];
  const [chosen, slider, button, label] = ["select", "input", "button", "output"].map((tag) => section.querySelector(tag));
  const sprites = new Map(figures.map((figure) => {
    const image = new Image();
    image.onload = show;
    image.src = figure.querySelector("canvas").dataset.src;
    return [figure, image];
  }));
  let timer = null, step = 1;

  function show() {
    for (const figure of figures) figure.hidden = figure.dataset.sample !== chosen.value;
    const visible = figures.filter((figure) => !figure.hidden);
    const { frames, keys } = visible[0].dataset;
    slider.max = frames - 1;
    const frame = Number(slider.value);
    const kind = keys.split(" ").includes(String(frame)) ? "key frame" : "in between";
    label.textContent = `frame ${frame + 1} of ${frames}, ${kind}`;
    for (const figure of visible) draw(figure, frame);
  }

  function draw(figure, frame) {
    const { columns, width, height } = figure.dataset, sprite = sprites.get(figure);
    const canvas = figure.querySelector("canvas"), context = canvas.getContext("2d");
    canvas.width = 320; canvas.height = Math.round(320 * height / width);
    context.imageSmoothingQuality = "high";
    const x = (frame % columns) * width, y = Math.floor(frame / columns) * height;
    context.drawImage(sprite, x, y, width, height, 0, 0, canvas.width, canvas.height);
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }

  function play() {
    button.textContent = "Pause";
    timer = setInterval(() => {
      const frame = Number(slider.value), last = Number(slider.max);
      if (frame + step > last || frame + step < 0) step = -step;  // to and fro
      slider.value = frame + step;
      show();
    }, 160);
  }

  button.addEventListener("click", () => (timer ? pause() : play()));
  slider.addEventListener("input", () => { pause(); show(); });
  chosen.addEventListener("change", () => { slider.value = 0; show(); });
  show();
}
