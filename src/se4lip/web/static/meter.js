// The true delay of each picture shown while somebody speaks, and where it went. The parts add up
// to the total because each begins where the one before it ends.
export const PARTS = ["lookahead", "encoding", "rendering", "transport", "playout"];
const NAMES = {
  lookahead: "waiting for the sound that follows", encoding: "encoding speech",
  rendering: "drawing, and its queue",
  transport: "sound there, picture back", playout: "decoding, screen, keeping step with sound",
};
const WINDOW = 50; // pictures

export class Meter {
  constructor(page) {
    this.page = page;
    this.shown = [];
    this.times = [];
    this.late = 0;
    this.skipped = 0;
    this.count = 0;
    for (const part of PARTS) {
      const [name, figure, mark] = ["dt", "dd", "i"].map((tag) => document.createElement(tag));
      mark.className = part;
      name.append(mark, NAMES[part]);
      figure.id = part;
      page.parts.append(name, figure);
      page.bar.append(Object.assign(document.createElement("i"), { className: part }));
    }
    setInterval(() => this.show(), 500);
  }

  /** A picture was shown at `now`; `timing` says how it came, null when it shows no speech. */
  add(now, timing) {
    this.count++;
    this.times.push(now);
    if (this.times.length > WINDOW) this.times.shift();
    if (!timing) return;
    const { heard, sent, arrived, encoding, held } = timing;
    this.shown.push({
      lookahead: sent - heard, encoding, rendering: held - encoding,
      transport: arrived - sent - held, playout: now - arrived, total: now - heard,
    });
    if (this.shown.length > WINDOW) this.shown.shift();
  }

  /** Median of each part and of the total over the last pictures of speech, in ms, and counts. */
  figures() {
    const sorted = (key) => this.shown.map((one) => one[key]).sort((a, b) => a - b);
    const median = (key) => sorted(key)[this.shown.length >> 1] ?? null;
    const span = this.times.at(-1) - this.times[0];
    const figures = { rate: this.times.length > 1 ? 1000 * (this.times.length - 1) / span : 0 };
    for (const key of [...PARTS, "total"]) figures[key] = median(key);
    const totals = sorted("total");
    figures.p95 = totals[Math.floor(0.95 * totals.length)] ?? null;
    return { ...figures, shown: this.count, late: this.late, skipped: this.skipped };
  }

  show() {
    const figures = this.figures(), { page } = this;
    page.rate.textContent = `${figures.rate.toFixed(1)} pictures a second, `
      + `${figures.skipped} left out by the server, ${figures.late} came too late`;
    if (figures.total === null) return;
    page.total.textContent = `${figures.total.toFixed(0)} ms`;
    page.p95.textContent = `${figures.p95.toFixed(0)} ms`;
    PARTS.forEach((part, i) => {
      document.getElementById(part).textContent = `${figures[part].toFixed(0)} ms`;
      page.bar.children[i].style.width = `${100 * Math.max(0, figures[part]) / figures.total}%`;
    });
  }
}
