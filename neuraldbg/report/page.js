
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("ready");
  const events = data.events;
  let layer = null;

  // -- causes: evidence, chain and layers light up -------------------------------------------------
  const light = (ids, chain) => {
    const lit = new Set(ids);
    for (const svg of all("#few svg, #all svg")) {
      svg.classList.toggle("dimmed", lit.size > 0);
      for (const g of all("g[data-event]", svg)) g.classList.toggle("lit", lit.has(Number(g.dataset.event)));
      for (const path of all("path[data-source]", svg)) {
        const source = Number(path.dataset.source), target = Number(path.dataset.target);
        path.classList.toggle("lit", lit.has(source) && lit.has(target) &&
          (chain.length < 2 || chain.indexOf(target) === chain.indexOf(source) + 1 && chain.includes(source)));
      }
    }
  };
  // On a narrow window a picture is wider than its box: what is lit is brought into view.
  const show = (box, mark) => {
    if (!box || !mark || box.scrollWidth <= box.clientWidth) return;
    const place = mark.getBoundingClientRect(), frame = box.getBoundingClientRect();
    box.scrollLeft += (place.left + place.right - frame.left - frame.right) / 2;
  };
  const choose = (index) => {
    const cause = index === null ? null : data.causes[index];
    for (const button of all("button.cause")) {
      const mine = cause !== null && Number(button.dataset.cause) === index;
      button.setAttribute("aria-pressed", String(mine));
      button.setAttribute("aria-expanded", String(mine));
      document.getElementById(button.getAttribute("aria-controls")).classList.toggle("open", mine);
    }
    light(cause ? [...cause.events, ...cause.chain] : [], cause ? cause.chain : []);
    if (cause) for (const box of all("#few, #all")) {
      show(box, one(`g[data-event="${cause.chain[0] ?? cause.events[0]}"]`, box));
    }
    layer = cause ? cause.layer : null;
    draw();
  };
  for (const button of all("button.cause")) {
    button.addEventListener("click", () =>
      choose(button.getAttribute("aria-pressed") === "true" ? null : Number(button.dataset.cause)));
  }

  // -- events: what one rests on ---------------------------------------------------------------------
  const told = (e) => `${e.after}${e.layer ? ` in ${e.layer}` : ""} (step ${e.first})`;
  const describe = (id) => {
    const e = events[id];
    const lines = [`${e.layer || "run"}: ${e.before} → ${e.after}, steps ${e.first} to ${e.last}`];
    lines.push(`${data.meanings[e.name] || e.name}; ` +
      (e.value === null ? "" : `worst value ${e.value}, `) +
      `strength ${e.strength}, confidence ${e.confidence}`);
    const near = (from, to) => data.edges.filter((x) => x[from] === id)
      .map((x) => `${told(events[x[to]])}, p = ${x[2]}`);
    const [before, after] = [near(1, 0), near(0, 1)];
    if (before.length) lines.push(`may come from: ${before.join("; ")}`);
    if (after.length) lines.push(`may have led to: ${after.slice(0, 6).join("; ")}`);
    one("#event").textContent = lines.join("\n");
    for (const item of all("g[data-event], tr[data-row]")) {
      item.classList.toggle("chosen", Number(item.dataset.event ?? item.dataset.row) === id);
    }
  };
  for (const g of all("g[data-event]")) {
    g.addEventListener("click", () => describe(Number(g.dataset.event)));
    g.addEventListener("focus", () => describe(Number(g.dataset.event)));
    g.addEventListener("keydown", (key) => {
      if (key.key === "Enter" || key.key === " ") { key.preventDefault(); describe(Number(g.dataset.event)); }
    });
  }
  for (const row of all("tr[data-row]")) row.addEventListener("click", () => describe(Number(row.dataset.row)));
  const toggle = one("#toggle");
  if (toggle) {
    const few = toggle.textContent;
    toggle.addEventListener("click", () => {
      const full = one("#all").hidden;
      one("#all").hidden = !full;
      one("#few").hidden = full;
      toggle.setAttribute("aria-pressed", String(full));
      toggle.textContent = full ? "show the most important events" : few;
    });
  }

  // -- heat maps ---------------------------------------------------------------------------------------
  const canvas = one("#map");
  const select = one("#signal");
  let map = null, cells = null, at = null, box = null;
  // Dark blue to yellow: rises in lightness, so that it reads in grey as well.
  const stops = [[38, 28, 84], [47, 88, 140], [37, 145, 135], [116, 191, 84], [247, 226, 60]];
  const colour = (t) => {
    const x = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
    const i = Math.min(Math.floor(x), stops.length - 2);
    return `rgb(${stops[i].map((c, k) => Math.round(c + (x - i) * (stops[i + 1][k] - c))).join(",")})`;
  };
  const value = (code) => {
    const number = map.low + (code - 1) / 252 * (map.high - map.low);
    return map.log ? 10 ** number : number;
  };
  const short = (number) => (number === 0 ? "0" :
    Math.abs(number) >= 1e4 || Math.abs(number) < 1e-3 ? number.toExponential(1) : String(Number(number.toPrecision(2))));
  const read = (row, column) => {
    const code = cells[row * map.steps.length + column];
    if (code === 0) return "not measured";
    return code === 255 ? "not finite" : `about ${short(value(code))}`;
  };
  const pick = () => {
    map = data.maps[select.selectedIndex];
    cells = Uint8Array.from(atob(map.cells), (c) => c.charCodeAt(0));
    at = null;
    const ends = [map.low, map.high].map((x) => short(map.log ? 10 ** x : x));
    one("#scale").textContent = `dark ${ends[0]} … bright ${ends[1]}${map.log ? ", logarithmic" : ""}` +
      (cells.includes(255) ? "; red: not finite" : "") + (cells.includes(0) ? "; pale: not measured" : "") +
      (document.querySelector("header.failed") && data.causes.length ? "; the dashed line is the onset" : "") +
      ". Columns are the steps that were looked at closely: many at the start, fewer later.";
    draw();
  };
  const name = (row) => data.layers[map.layers[row]];
  function draw() {
    if (!canvas || !map) return;
    const style = getComputedStyle(document.body);
    const ink = style.color, mark = style.getPropertyValue("--mark"), track = style.getPropertyValue("--track");
    const width = canvas.clientWidth, left = Math.min(190, width * 0.28), top = 4, bottom = 22;
    const rows = map.layers.length, columns = map.steps.length;
    const high = Math.max(Math.min(22, 640 / rows), 3);
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = (top + rows * high + bottom) * ratio;
    canvas.style.height = `${top + rows * high + bottom}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const wide = (width - left - 8) / columns;
    box = { left, top, wide, high };
    pen.font = `${Math.min(12, Math.max(high - 2, 8))}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const each = Math.ceil(11 / high);
    for (let r = 0; r < rows; r++) {
      const y = top + r * high;
      for (let c = 0; c < columns; c++) {
        const code = cells[r * columns + c];
        pen.fillStyle = code === 0 ? track : code === 255 ? "#e5121f" : colour((code - 1) / 252);
        pen.fillRect(left + c * wide, y, wide + 0.5, high + (high > 6 ? -1 : 0.5));
      }
      if (r % each === 0 || name(r) === layer) {
        pen.fillStyle = name(r) === layer ? mark : ink;
        pen.textAlign = "right";
        let text = name(r);
        while (text.length > 4 && pen.measureText(text).width > left - 10) text = `…${text.slice(2)}`;
        pen.fillText(text, left - 6, y + high / 2);
      }
      if (name(r) === layer) {
        pen.strokeStyle = mark; pen.lineWidth = 2;
        pen.strokeRect(left - 1, y - 1, columns * wide + 2, high + 1);
      }
    }
    pen.textAlign = "center";
    pen.fillStyle = ink;
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "right";
    pen.fillText("step", left - 6, top + rows * high + 12);
    pen.textAlign = "center";
    let free = 0;
    for (let c = 0; c < columns; c++) {
      const x = left + (c + 0.5) * wide;
      if (x < free || x > width - 16) continue;
      pen.fillText(String(map.steps[c]), x, top + rows * high + 12);
      free = x + 62;
    }
    const chosen = all("button.cause").findIndex((b) => b.getAttribute("aria-pressed") === "true");
    const cause = data.causes[Math.max(chosen, 0)];
    if (cause && document.querySelector("header.failed")) {
      const after = map.steps.findIndex((s) => s > cause.step);
      let c = after < 0 ? columns - 1 : Math.max(after - 1, 0);
      if (after > 0) c += (cause.step - map.steps[c]) / (map.steps[after] - map.steps[c]);
      pen.strokeStyle = mark; pen.lineWidth = 1.5; pen.setLineDash([5, 3]);
      pen.beginPath(); pen.moveTo(left + c * wide, top); pen.lineTo(left + c * wide, top + rows * high); pen.stroke();
      pen.setLineDash([]);
    }
    if (at) {
      pen.strokeStyle = ink; pen.lineWidth = 1.5;
      pen.strokeRect(left + at.column * wide, top + at.row * high, wide, high);
    }
  }
  const move = (row, column) => {
    at = { row: Math.min(Math.max(row, 0), map.layers.length - 1),
           column: Math.min(Math.max(column, 0), map.steps.length - 1) };
    const next = map.steps[at.column + 1];
    const when = next && next > map.steps[at.column] + 1 ? `steps ${map.steps[at.column]} to ${next - 1}` :
      `step ${map.steps[at.column]}`;
    one("#reading").textContent = `${name(at.row)}, ${when}: ${map.title} ${read(at.row, at.column)}`;
    draw();
  };
  if (canvas) {
    for (const m of data.maps) select.append(new Option(m.title));
    select.addEventListener("change", pick);
    canvas.addEventListener("mousemove", (e) => {
      const place = canvas.getBoundingClientRect();
      const row = Math.floor((e.clientY - place.top - box.top) / box.high);
      const column = Math.floor((e.clientX - place.left - box.left) / box.wide);
      if (row >= 0 && row < map.layers.length && column >= 0 && column < map.steps.length) move(row, column);
    });
    canvas.addEventListener("keydown", (e) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
      if (!step) return;
      e.preventDefault();
      move((at ? at.row : 0) + (at ? step[0] : 0), (at ? at.column : 0) + (at ? step[1] : 0));
    });
    window.addEventListener("resize", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    pick();
  }
  if (document.querySelector("header.failed") && data.causes.length) choose(0);
})();
