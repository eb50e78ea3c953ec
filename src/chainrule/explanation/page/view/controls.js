// Buttons and keys: they walk, play and switch the colours, whatever is drawn.

const PLAY = 4500; // milliseconds at each stop

class Controls {
  constructor(page) {
    this.page = page;
    const on = (id, event, f) => page.find(id).addEventListener(event, f);
    on("first", "click", () => page.go(0));
    on("back", "click", () => page.go(page.at - 1));
    on("next", "click", () => page.go(page.at + 1));
    on("last", "click", () => page.go(Infinity));
    on("play", "click", () => this.#play());
    on("slider", "input", (event) => page.go(Number(event.target.value)));
    on("sample", "change", (event) => page.show(Number(event.target.value)));
    on("scene", "click", (event) => page.pointing.clicked(event));
    on("scene", "scroll", () => markMore(page.find("scene")));
    on("scene", "pointermove", (event) => page.pointing.moved(event));
    on("scene", "pointerleave", (event) => page.pointing.moved(event));
    on("panel", "click", (event) => {
      const button = event.target.closest("[data-choose]");
      if (button) page.choose(Number(button.dataset.choose), Number(button.dataset.at));
    });
    on("theme", "click", () => this.#switch());
    document.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("resize", () => page.soon());
    for (const media of [page.narrow, matchMedia("(prefers-color-scheme: dark)")])
      media.addEventListener("change", () => page.repaint());
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { page } = this;
    const { target } = event;
    const own = target.closest("input:not(#slider), select, textarea, .grid, .wide");
    const moves = {
      ArrowLeft: () => page.go(page.at - 1),
      ArrowRight: () => page.go(page.at + 1),
      Home: () => page.go(0),
      End: () => page.go(Infinity),
      Escape: () => page.forget(),
    };
    if (!target.closest("button, summary, a")) moves[" "] = () => this.#play();
    if (own || !(event.key in moves)) return;
    moves[event.key]();
    event.preventDefault();
  }

  /** Walk on by itself, or stop walking. */
  #play() {
    const { page } = this;
    const running = this.timer !== undefined;
    clearInterval(this.timer);
    this.timer = undefined;
    if (!running) {
      if (page.isAtEnd) page.go(0);
      this.timer = setInterval(() => (page.isAtEnd ? this.#play() : page.go(page.at + 1)), PLAY);
    }
    const button = page.find("play");
    button.setAttribute("aria-pressed", String(!running));
    button.setAttribute("aria-label", running ? "Play" : "Pause");
    button.textContent = running ? "▶" : "❚❚";
  }

  /** Light or dark. */
  #switch() {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    this.page.find("theme").setAttribute("aria-pressed", String(!dark));
    this.page.repaint();
  }
}
