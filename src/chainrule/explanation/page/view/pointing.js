// The pointer in the picture: what it names, and what it chooses.

const LEAST_CELL = 3; // pixels of a cell that a pointer can choose

class Pointing {
  constructor(page, line) {
    Object.assign(this, { page, line, plans: new Map() });
  }

  /** After drawing: nothing is under the pointer. */
  rest(view) {
    this.plans = view.plans;
    this.line.textContent = this.#resting();
  }

  /** Choose what has been clicked on; the stop stays, except for steps that are folded. */
  clicked(event) {
    const { page } = this;
    const fold = event.target.closest("[data-step]");
    if (fold) {
      const phase = ["start", "forward"].includes(page.stop.phase) ? "forward" : "backward";
      const step = Number(fold.dataset.step);
      page.go(page.stops.findIndex((s) => s.phase === phase && s.step === step));
      return;
    }
    const hit = event.target.closest("[data-id]");
    if (!hit) return;
    const id = Number(hit.dataset.id);
    const index = this.#under(hit, event) ?? strongest(page.network, id);
    if (page.network.isChangeable(id)) page.choose(id, index);
    if (page.network.nodes.get(id).phase === "input") return;
    page.choice.picked = { id, index };
    page.pickUnit(id, index);
    page.say(`Chosen: ${this.#reading(id, index)}`);
  }

  /** The element at the pointer in a part of the picture; null where cells are too small to choose. */
  #under(hit, event) {
    if (hit.dataset.index !== undefined) return Number(hit.dataset.index);
    const plan = this.plans.get(Number(hit.dataset.id));
    const area = hit.querySelector("image")?.getBoundingClientRect();
    if (!plan || !area || Math.min(plan.cell, plan.tall ?? plan.cell) < LEAST_CELL) return null;
    const [across, down] = [event.clientX - area.left, event.clientY - area.top];
    const cell = cellAt(plan, across / area.width, down / area.height);
    return cell && plan.start + plan.at(...cell);
  }

  #reading(id, index) {
    const { network } = this.page;
    const g = network.gradient(id);
    const value = network.text(id, Number(network.value(id)[index]));
    return `${network.element(id, index)} = ${value}${g ? `, gradient ${number(Number(g[index]))}` : ""}`;
  }

  /** Name what is under the pointer. */
  moved(event) {
    const { network } = this.page;
    const hit = event.target.closest?.("[data-id]");
    const id = hit && Number(hit.dataset.id);
    const index = hit && this.#under(hit, event);
    this.line.textContent = !hit
      ? this.#resting()
      : index === null
        ? `${network.name(id)}, ${shapeText(network.shape(id))}`
        : this.#reading(id, index);
  }

  #resting() {
    const { network, sample } = this.page;
    const { picked } = this.page.choice;
    const chosen = picked ? `chosen: ${this.#reading(picked.id, picked.index)} (Esc: none)` : "";
    const which = network.batch > 1 ? `sample ${sample}, of samples 0 to ${network.batch - 1}` : "";
    return [which, chosen].filter(Boolean).join("; ");
  }
}
