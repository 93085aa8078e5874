// A small perspective viewer of equirectangular images: each canvas pixel's ray is looked up in the
// panorama. All viewers turn together, so that methods can be compared side by side.
{
  const WIDTH = 400, HEIGHT = 300, FIELD = 85 * Math.PI / 180, LIMIT = 0.12;
  const focal = WIDTH / 2 / Math.tan(FIELD / 2);
  const view = { yaw: 0, pitch: 0 };
  let touched = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const viewers = [];

  for (const section of document.querySelectorAll(".turning")) {
    const own = [...section.querySelectorAll("figure")].map(makeViewer);
    const chosen = section.querySelector("select");
    const show = () => own.forEach((viewer) => {
      viewer.figure.hidden = viewer.figure.dataset.sample !== chosen.value;
      draw(viewer);
    });
    chosen.addEventListener("change", show);
    viewers.push(...own);
    show();
  }

  function makeViewer(figure) {
    const canvas = figure.querySelector("canvas");
    canvas.width = WIDTH; canvas.height = HEIGHT;
    const viewer = { figure, canvas, source: null };
    const image = new Image();
    image.onload = () => {
      const copy = document.createElement("canvas");
      copy.width = image.width; copy.height = image.height;
      const context = copy.getContext("2d");
      context.drawImage(image, 0, 0);
      viewer.source = context.getImageData(0, 0, image.width, image.height);
      draw(viewer);
    };
    image.src = canvas.dataset.src;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => { touched = true; last = event; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const scale = WIDTH / canvas.clientWidth / focal;
      turn((last.clientX - event.clientX) * scale, (event.clientY - last.clientY) * scale);
      last = event;
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-.1, 0], ArrowRight: [.1, 0], ArrowUp: [0, .05], ArrowDown: [0, -.05] }[event.key];
      if (step) { touched = true; turn(...step); event.preventDefault(); }
    });
    return viewer;
  }

  function turn(yaw, pitch) {
    view.yaw += yaw;
    view.pitch = Math.max(-LIMIT, Math.min(LIMIT, view.pitch + pitch));
    viewers.forEach(draw);
  }

  function draw({ figure, canvas, source }) {
    if (!source || figure.hidden) return;
    const box = canvas.getBoundingClientRect();
    if (box.bottom < -200 || box.top > innerHeight + 200) return;  // nobody looks
    const context = canvas.getContext("2d"), out = context.createImageData(WIDTH, HEIGHT);
    const { width, height, data } = source, cos = Math.cos(view.pitch), sin = Math.sin(view.pitch);
    for (let row = 0, to = 0; row < HEIGHT; row++) {
      const y0 = (row - HEIGHT / 2) / focal;
      const y = y0 * cos - sin, z = y0 * sin + cos;
      for (let column = 0; column < WIDTH; column++, to += 4) {
        const x = (column - WIDTH / 2) / focal;
        const u = ((Math.atan2(x, z) + view.yaw) / (2 * Math.PI) + .5) * width - .5;
        const v = (Math.atan2(y, Math.hypot(x, z)) / Math.PI + .5) * height - .5;
        const left = Math.floor(u), top = Math.max(0, Math.min(height - 2, Math.floor(v)));
        const a = u - left, b = Math.max(0, Math.min(1, v - top));
        const c0 = ((left % width) + width) % width, c1 = (c0 + 1) % width;
        const p = 4 * (top * width + c0), q = 4 * (top * width + c1), down = 4 * width;
        for (let channel = 0; channel < 3; channel++) {
          out.data[to + channel] =
            (data[p + channel] * (1 - a) + data[q + channel] * a) * (1 - b) +
            (data[p + down + channel] * (1 - a) + data[q + down + channel] * a) * b;
        }
        out.data[to + 3] = 255;
      }
    }
    context.putImageData(out, 0, 0);
  }

  addEventListener("scroll", () => viewers.forEach(draw), { passive: true });
  const drift = () => { if (!touched) { turn(.003, 0); requestAnimationFrame(drift); } };
  requestAnimationFrame(drift);
}
