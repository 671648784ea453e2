"use strict";
(() => {
  const scores = JSON.parse(document.getElementById("scores").textContent);
  const above = (values, bound) => values.filter((value) => value > bound).length;
  const of = (values, bound) => `${above(values, bound)} of ${values.length}`;
  const short = (value) => Number(value.toPrecision(4)).toString();

  const mark = (bound) => {
    for (const item of document.querySelectorAll("#verdict .suspects li")) {
      const score = Number(item.querySelector("data").value);
      item.classList.toggle("above-threshold", score > bound);
    }
    const place = (100 * (bound - scores.low)) / (scores.high - scores.low);
    const seen = String(Math.min(Math.max(place, 0), 100));
    for (const line of document.querySelectorAll(".bound")) {
      line.setAttribute("x1", seen);
      line.setAttribute("x2", seen);
    }
  };
  const counted = (bound) => {
    const pasted = Object.entries(scores.pasted);
    const said = [];
    if (pasted.length) {
      const kinds = pasted.map(([kind, values]) => `${kind} ${of(values, bound)}`).join(", ");
      said.push(` Pasted defects caught: ${kinds}.`);
    }
    if (scores.truth.length) {
      const by = (wanted) => scores.test.filter((_, index) => scores.truth[index] === wanted);
      said.push(` By the labels: ${of(by(true), bound)} defective images caught, ` +
        `${of(by(false), bound)} good ones flagged.`);
    }
    return said.join("");
  };

  const rate = document.getElementById("rate");
  const said = document.getElementById("rate-said");
  const thresholdAt = (share) => {
    const sorted = scores.held_out;
    const allowed = Math.floor((share / 100) * sorted.length + 1e-9);
    return allowed >= sorted.length ? -Infinity : sorted[sorted.length - 1 - allowed];
  };
  const show = (bound) => {
    const where = Number.isFinite(bound) ? `threshold ${short(bound)}` : "no threshold";
    said.textContent =
      `At ${rate.value} %: ${where}; ${of(scores.test, bound)} unlabelled images and ` +
      `${of(scores.held_out, bound)} held-out normal ones lie above it.${counted(bound)}`;
    mark(bound);
  };
  rate.addEventListener("input", () => show(thresholdAt(Number(rate.value))));
  show(scores.threshold);

  const large = document.getElementById("large");
  const whole = large.insertBefore(document.createElement("img"), large.querySelector("p"));
  const pictures = [...document.querySelectorAll(".zoom")];
  let at = 0;
  const enlarge = (index) => {
    at = (index + pictures.length) % pictures.length;
    const shown = pictures[at].querySelector("img");
    whole.src = shown.src;
    whole.alt = shown.alt;
    large.querySelector("p").textContent = shown.alt;
    if (!large.open) large.showModal();
  };
  pictures.forEach((button, index) => button.addEventListener("click", () => enlarge(index)));
  large.addEventListener("click", (event) => {
    if (event.target === large || event.target.id === "close") large.close();
  });
  large.addEventListener("close", () => pictures[at].focus());
  large.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") enlarge(at + 1);
    if (event.key === "ArrowLeft") enlarge(at - 1);
  });
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => {
      const line = button.parentElement.querySelector("code");
      getSelection().selectAllChildren(line);
      const told = () => { button.textContent = "copied"; };
      // A page opened as a file may have no clipboard; the selection then is copied as ever.
      if (navigator.clipboard) navigator.clipboard.writeText(line.textContent).then(told, () => {});
      else if (document.execCommand("copy")) told();
    });
  }

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
