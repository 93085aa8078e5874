// Plays walks: the frames of a method lie in one picture, row by row. All methods of a sample show
// the same frame; one time line, on which key frames are marked, moves them.
for (const section of document.querySelectorAll(".playing")) {
  const figures = [...section.querySelectorAll("figure")];
  const [chosen, slider, button, label, ticks, back, on] =
    ["select", "input", ".play", "output", ".ticks", ".back", ".on"].map((name) => section.querySelector(name));
  const sprites = new Map();  // by figure: decoded when it is first seen
  let timer = null, step = 1, near = false;

  function show() {
    for (const figure of figures) figure.hidden = figure.dataset.sample !== chosen.value;
    const visible = figures.filter((figure) => !figure.hidden);
    const { frames } = visible[0].dataset, keys = keyFrames(visible[0]);
    slider.max = frames - 1;
    const frame = Number(slider.value), isKey = keys.includes(frame);
    const words = `frame ${frame + 1} of ${frames}, ${isKey ? "key frame" : "in between"}`;
    label.textContent = words;
    slider.setAttribute("aria-valuetext", words);
    ticks.replaceChildren(...keys.map((key) => {
      const tick = document.createElement("i");
      tick.style.left = `${(100 * key) / Math.max(1, frames - 1)}%`;
      return tick;
    }));
    section.classList.toggle("on-key", isKey);
    if (near) for (const figure of visible) draw(figure, frame);
  }

  function spriteOf(figure) {
    if (!sprites.has(figure)) {
      const image = new Image();
      image.onload = () => figure.hidden || draw(figure, Number(slider.value));
      image.src = figure.querySelector("canvas").dataset.src;
      sprites.set(figure, image);
    }
    return sprites.get(figure);
  }

  function keyFrames(figure) {
    return figure.dataset.keys.split(" ").map(Number);
  }

  function jump(step) {
    pause();
    const frame = Number(slider.value);
    const keys = keyFrames(figures.find((figure) => !figure.hidden));
    const next = step > 0 ? keys.find((key) => key > frame) : keys.findLast((key) => key < frame);
    if (next !== undefined) slider.value = next;
    show();
  }

  function draw(figure, frame) {
    const { columns, width, height } = figure.dataset, sprite = spriteOf(figure);
    if (!sprite.naturalWidth) return;  // it draws itself when it has been decoded
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
  back.addEventListener("click", () => jump(-1));
  on.addEventListener("click", () => jump(1));
  slider.addEventListener("input", () => { pause(); show(); });
  chosen.addEventListener("change", () => { slider.value = 0; show(); });
  show();
  const arrive = () => { near = true; arrival.disconnect(); show(); };
  const arrival = new IntersectionObserver(([at]) => at.isIntersecting && arrive(), { rootMargin: "100%" });
  arrival.observe(section);
  addEventListener("beforeprint", arrive);
}
