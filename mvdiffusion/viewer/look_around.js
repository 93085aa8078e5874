// Panoramas to look around in: one method beside another, or both in one frame with a divider. What
// turns one turns the other. Drawn by Pannellum, which must be there; see pages.py for the elements.
{
  const LEAST_FIELD = 25, WIDEST_FIELD = 120, FIRST_FIELD = 100;  // degrees across
  const FLAT = "This browser draws no WebGL, so the panoramas are shown unrolled.";
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const registered = new Map(), loading = new Map();
  const all = [];
  let drawable = true;  // until WebGL fails
  let active = null;  // browsers have few WebGL contexts: one viewer of the page has two, no other any

  globalThis.registerPanoramas = (key, panoramas) => registered.set(key, panoramas);

  function panoramasOf({ key, source }) {
    if (!loading.has(key)) {
      loading.set(key, new Promise((resolve, reject) => {
        const end = () => (registered.has(key) ? resolve(registered.get(key)) : reject(new Error(source)));
        if (registered.has(key)) return end();
        // A script, as pages on disk may neither fetch files nor give images among them to WebGL.
        const script = made("script", { src: source });
        script.onload = script.onerror = end;
        document.head.append(script);
      }));
    }
    return loading.get(key);
  }

  class LookAround {
    constructor(root) {
      this.root = root;
      Object.assign(this, JSON.parse(root.querySelector("script").textContent));
      this.several = Object.keys(this.titles).length > 1;
      this.view = { yaw: 0, pitch: 0, hfov: FIRST_FIELD };
      this.chosen = [this.left, this.right];
      this.sample = this.samples[0];
      this.viewers = [];
      this.cut = 50;
      this.sliding = false;
      this.build();
      root.lookAround = this;
      all.push(this);
      new IntersectionObserver((entries) => this.see(entries.at(-1).isIntersecting), { rootMargin: "200px" }).observe(this.stage);
      new ResizeObserver(() => this.viewers.forEach((viewer) => viewer.resize())).observe(this.stage);
    }

    // ---- what is on the page

    build() {
      const which = this.several ? ["Left", "Right"] : ["Method"];
      this.sampleChoice = select(this.samples.map(({ key, name }) => [key, name]), (key) => {
        this.sample = this.samples.find((sample) => sample.key === key);
        this.show();
      });
      this.choices = which.map((_, side) => select(Object.entries(this.titles), (method) => {
        this.chosen[side] = method;
        this.show();
      }));
      this.modes = [["Side by side", false], ["Slider", true]].map(([name, sliding]) =>
        button(name, "", () => this.slide(sliding)));
      const controls = made("div", { className: "controls" },
        ...(this.samples.length > 1 ? [labelled(this.noun, this.sampleChoice)] : []),
        ...(this.several ? this.choices.map((choice, side) => labelled(which[side], choice)) : []),
        ...(this.several ? [made("span", { role: "group", "aria-label": "Arrangement" }, ...this.modes)] : []),
        made("span", { role: "group", "aria-label": "Zoom" },
          button("+", "Zoom in", () => this.zoom(-10)), button("−", "Zoom out", () => this.zoom(10))),
        ...(document.fullscreenEnabled ? [button("Full screen", "", () => this.fullScreen())] : []));
      this.panes = which.map((side) => new Pane(side.toLowerCase()));
      this.divider = this.makeDivider();
      this.stage = made("div", { className: "stage", tabIndex: 0, role: "application" },
        ...this.panes.map((pane) => pane.element), ...(this.several ? [this.divider] : []));
      this.told = made("p", { className: "told", role: "status" });
      this.root.append(controls, this.stage, this.told);
      this.slide(false);
      this.listen();
    }

    makeDivider() {
      const divider = made("div", { className: "divider", tabIndex: 0, role: "slider",
        
        "aria-label": "Divider between the two methods", "aria-valuemin": 0, "aria-valuemax": 100 });
      const follow = ({ clientX }) => {
        const { left, width } = this.stage.getBoundingClientRect();
        this.cutAt(100 * (clientX - left) / width);
      };
      divider.addEventListener("pointerdown", (event) => {
        divider.setPointerCapture(event.pointerId);
        divider.focus();
        event.preventDefault();
        divider.onpointermove = follow;
      });
      divider.onpointerup = divider.onpointercancel = () => { divider.onpointermove = null; };
      divider.addEventListener("keydown", (event) => {
        const to = { ArrowLeft: this.cut - 2, ArrowDown: this.cut - 2, ArrowRight: this.cut + 2, ArrowUp: this.cut + 2,
          PageDown: this.cut - 10, PageUp: this.cut + 10, Home: 0, End: 100 }[event.key];
        if (to === undefined) return;
        this.cutAt(to);
        event.preventDefault();
        event.stopPropagation();  // the arrows of the frame around turn
      });
      return divider;
    }

    listen() {
      for (const kind of ["pointerenter", "focusin"]) this.stage.addEventListener(kind, () => this.take());
      this.stage.addEventListener("keydown", (event) => {
        const step = this.view.hfov / 10;
        const act = { ArrowLeft: () => this.turn(-step, 0), ArrowRight: () => this.turn(step, 0),
          ArrowUp: () => this.turn(0, step / 2), ArrowDown: () => this.turn(0, -step / 2),
          "+": () => this.zoom(-10), "=": () => this.zoom(-10), "-": () => this.zoom(10) }[event.key];
        if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
        act();
        event.preventDefault();
      });
      // A finger that moves up or down scrolls the page, or else a phone would be caught in the viewer.
      let start = null, scrolls = null;
      this.stage.addEventListener("touchstart", ({ touches: [first] }) => { start = first; scrolls = null; }, { capture: true, passive: true });
      this.stage.addEventListener("touchmove", (event) => {
        const { touches } = event;
        scrolls ??= touches.length === 1 && !document.fullscreenElement
          && Math.abs(touches[0].clientY - start.clientY) > Math.abs(touches[0].clientX - start.clientX);
        if (scrolls) event.stopPropagation();
      }, { capture: true, passive: true });
    }

    slide(sliding) {
      this.sliding = sliding && this.several;
      this.root.classList.toggle("sliding", this.sliding);
      this.modes.forEach((mode, slides) => mode.setAttribute("aria-pressed", Boolean(slides) === this.sliding));
      this.divider.hidden = !this.sliding;
      const both = this.several ? "Panoramas of two methods" : "Panorama";
      this.stage.setAttribute("aria-label", `${both}: drag or use the arrow keys to turn, plus and minus to zoom`);
      this.cutAt(this.cut);
    }

    cutAt(percent) {
      this.cut = Math.max(0, Math.min(100, percent));
      this.stage.style.setProperty("--cut", `${this.cut}%`);
      this.divider.setAttribute("aria-valuenow", Math.round(this.cut));
      this.divider.setAttribute("aria-valuetext", `${Math.round(this.cut)} % ${this.titles[this.chosen[0]]}, the rest ${this.titles[this.chosen[1]]}`);
    }

    fullScreen() {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.root.requestFullscreen();
    }

    // ---- what is shown

    see(inView) {
      this.inView = inView;
      if (inView) {
        active ??= this;
        return this.show();
      }
      this.destroy();
      if (active !== this) return;
      active = all.find((other) => other.inView) ?? null;
      active?.show();
    }

    take() {
      if (active === this) return;
      active?.destroy();  // what stays of it is the panoramas unrolled
      active = this;
      this.show();
    }

    destroy() {
      cancelAnimationFrame(this.frame);
      for (const viewer of this.viewers) {
        if (!viewer.isLoaded()) viewer.on("load", () => viewer.destroy());  // it would take a context yet
        viewer.destroy();
      }
      this.viewers = [];
    }

    async show() {
      const { sample, several } = this, there = new Set(sample.methods);
      const absent = Object.keys(this.titles).filter((method) => !there.has(method));
      this.chosen = this.chosen.map((method) => (there.has(method) ? method : sample.methods[0]));
      this.choices.forEach((choice, side) => {
        for (const option of choice.options) option.disabled = !there.has(option.value);
        choice.value = this.chosen[side];
      });
      const notes = absent.length ? [`Without this ${this.noun.toLowerCase()}: ${absent.map((m) => this.titles[m]).join("; ")}.`] : [];
      const asked = this.asked = [sample, ...this.chosen].map((one) => one.key ?? one).join("\n");
      let panoramas;
      try {
        panoramas = await panoramasOf(sample);
      } catch (error) {
        loading.delete(sample.key);  // tried again when it is chosen again
        this.tell([...notes, `${error.message} was not found. It belongs beside this page: move both together, or make the page again.`]);
        return;
      }
      if (asked !== this.asked) return;  // chosen otherwise meanwhile
      this.destroy();
      const shown = this.panes.map((pane, side) => {
        const method = this.chosen[side], title = this.titles[method];
        pane.show(panoramas[method], title, several ? `Panorama of ${sample.name} by ${title}, unrolled` : `${title}, unrolled`);
        return panoramas[method];
      });
      this.cutAt(this.cut);
      this.notes = notes;
      if (drawable && active === this) this.start(shown);
      this.tell(drawable ? notes : [...notes, FLAT]);
    }

    tell(sentences) {
      this.told.textContent = sentences.join(" ");
    }

    start(panoramas) {
      const shared = limits(panoramas);
      this.viewers = this.panes.map((pane, side) => {
        const { haov, vaov, vOffset } = panoramas[side];
        const viewer = pannellum.viewer(pane.fresh(), { type: "equirectangular", panorama: addressOf(panoramas[side]), haov, vaov, vOffset,
          ...shared, ...this.view, minHfov: LEAST_FIELD, maxHfov: WIDEST_FIELD, autoLoad: true, ignoreGPanoXMP: true,
          showControls: false, compass: false, disableKeyboardCtrl: true, mouseZoom: "fullscreenonly",
          doubleClickZoom: !calm, friction: calm ? 1 : 0.15, backgroundColor: [0.13, 0.13, 0.13] });
        viewer.getContainer().tabIndex = -1;  // the frame around both takes the keys
        viewer.on("error", () => setTimeout(() => this.viewers.includes(viewer) && this.giveUp()));  // when Pannellum is through
        viewer.on("load", () => viewer.resize());  // limits the field of view before the first picture, not after it
        viewer.on("mousedown", () => this.stage.focus({ preventScroll: true }));
        return viewer;
      });
      this.follow();
    }

    giveUp() {
      drawable = false;
      this.destroy();
      this.panes.forEach((pane) => pane.fresh());
      this.tell([...this.notes, FLAT]);
    }

    // ---- how it turns

    follow() {
      const moved = this.viewers.find((viewer) => viewer.isLoaded() && differs(viewOf(viewer), this.view));
      if (moved) this.look(viewOf(moved));
      if (this.viewers.length) this.frame = requestAnimationFrame(() => this.follow());
    }

    look(view) {
      this.view = view;
      for (const viewer of this.viewers) {
        if (differs(viewOf(viewer), view)) viewer.setYaw(view.yaw, false).setPitch(view.pitch, false).setHfov(view.hfov, false);
      }
    }

    turn(yaw, pitch) {
      this.viewers.forEach((viewer) => viewer.stopMovement());
      this.look({ ...this.view, yaw: (this.view.yaw + yaw + 540) % 360 - 180, pitch: this.view.pitch + pitch });
    }

    zoom(degrees) {
      const hfov = Math.max(LEAST_FIELD, Math.min(WIDEST_FIELD, this.view.hfov + degrees));
      this.look({ ...this.view, hfov });
    }
  }

  class Pane {
    constructor(side) {
      this.flat = made("img", { className: "flat", alt: "" });
      this.turning = made("div", { className: "turning" });
      this.name = made("span", { className: "name" });
      this.element = made("div", { className: `pane ${side}` }, this.flat, this.turning, this.name);
    }

    show(panorama, title, alt) {
      this.flat.src = addressOf(panorama);
      this.flat.alt = alt;
      this.name.textContent = title;
    }

    fresh() {
      const turning = made("div", { className: "turning" });
      this.turning.replaceWith(turning);
      return (this.turning = turning);
    }
  }

  // Pannellum takes no address that holds the image itself, but one of an image in memory.
  function addressOf(panorama) {
    const bytes = () => Uint8Array.from(atob(panorama.jpeg), (letter) => letter.charCodeAt(0));
    return (panorama.address ??= URL.createObjectURL(new Blob([bytes()], { type: "image/jpeg" })));
  }

  // The pitches and yaws that both panoramas show: no viewer turns to where its panorama has nothing.
  function limits(panoramas) {
    const bounds = {};
    const lowest = Math.max(...panoramas.map(({ vaov, vOffset }) => vOffset - vaov / 2));
    const highest = Math.min(...panoramas.map(({ vaov, vOffset }) => vOffset + vaov / 2));
    if (highest - lowest < 180 - 1e-6) Object.assign(bounds, { minPitch: lowest, maxPitch: highest, avoidShowingBackground: true });
    const across = Math.min(...panoramas.map(({ haov }) => haov));
    if (across < 360) Object.assign(bounds, { minYaw: -across / 2, maxYaw: across / 2 });
    return bounds;
  }

  function viewOf(viewer) {
    return { yaw: viewer.getYaw(), pitch: viewer.getPitch(), hfov: viewer.getHfov() };
  }

  function differs(one, other) {
    const turned = Math.abs((one.yaw - other.yaw + 540) % 360 - 180);
    return Math.max(turned, Math.abs(one.pitch - other.pitch), Math.abs(one.hfov - other.hfov)) > 1e-4;
  }

  function made(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element && name !== "role") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function button(text, label, act) {
    return made("button", { type: "button", textContent: text, onclick: act, ...(label ? { "aria-label": label, title: label } : {}) });
  }

  function select(options, act) {
    const element = made("select", {}, ...options.map(([value, text]) => made("option", { value, textContent: text })));
    element.addEventListener("change", () => act(element.value));
    return element;
  }

  function labelled(text, element) {
    return made("label", {}, `${text} `, element);
  }

  document.querySelectorAll(".look-around").forEach((root) => new LookAround(root));
}
