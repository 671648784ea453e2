"use strict";
(() => {
  const scores = JSON.parse(document.getElementById("scores").textContent);
  const above = (values, bound) => values.filter((value) => value > bound).length;
  const short = (value) => Number(value.toPrecision(4)).toString();

  const mark = (bound) => {
    for (const item of document.querySelectorAll("#images .suspects li")) {
      const score = Number(item.querySelector("data").value);
      item.classList.toggle("above-threshold", score > bound);
    }
  };

  const rate = document.getElementById("rate");
  const said = document.getElementById("rate-said");
  const thresholdAt = (share) => {
    const sorted = scores.held_out;
    const allowed = Math.floor((share / 100) * sorted.length + 1e-9);
    return allowed >= sorted.length ? -Infinity : sorted[sorted.length - 1 - allowed];
  };
  rate.addEventListener("input", () => {
    const bound = thresholdAt(Number(rate.value));
    const stopped = above(scores.test, bound);
    const alarms = above(scores.held_out, bound);
    const where = Number.isFinite(bound) ? `threshold ${short(bound)}` : "no threshold";
    said.textContent =
      `At ${rate.value} %: ${where}; ${stopped} of ${scores.test.length} unlabelled images and ` +
      `${alarms} of ${scores.held_out.length} held-out normal ones lie above it.`;
    mark(bound);
  });
  mark(scores.threshold);

  const changed = document.getElementById("changed-only");
  const table = document.getElementById("hyperparameters");
  const narrow = () => table.classList.toggle("only-changed", changed.checked);
  changed.addEventListener("change", narrow);
  narrow();

  const body = document.querySelector("#all-trials tbody");
  const shown = document.getElementById("shown");
  const state = document.getElementById("state");
  const filter = () => {
    let count = 0;
    for (const row of body.rows) {
      row.hidden = state.value !== "" && row.dataset.state !== state.value;
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${body.rows.length} trials`;
  };
  state.addEventListener("change", filter);
  filter();

  const heads = [...document.querySelectorAll("#all-trials thead th")];
  const content = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const value = text === "" || text === "–" ? NaN : Number(text);
    return { text, value };
  };
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const numeric = [...body.rows].some((row) => !Number.isNaN(content(row, column).value));
      const order = (one, other) => {
        const a = content(one, column), b = content(other, column);
        if (!numeric) return a.text.localeCompare(b.text);
        if (Number.isNaN(a.value) || Number.isNaN(b.value)) return 0;
        return a.value - b.value;
      };
      const known = [...body.rows].filter((row) => !numeric || !Number.isNaN(content(row, column).value));
      const unknown = [...body.rows].filter((row) => !known.includes(row));
      known.sort((one, other) => (up ? order(one, other) : order(other, one)));
      body.append(...known, ...unknown);
    });
  });
})();
