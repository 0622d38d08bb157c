"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // ---- light and dark ----
  const theme = byId("theme");
  if (theme) {
    const dark = () => (document.documentElement.dataset.theme
      || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const show = () => { theme.setAttribute("aria-pressed", String(dark())); };
    theme.addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      show();
    });
    show();
  }

  // ---- charts: drawn by Vega where they come into view ----
  const specOf = (id) => JSON.parse(byId(id).textContent);
  const drawn = new WeakSet();
  const drawing = [];
  const draw = (element) => {
    if (drawn.has(element)) return;
    drawn.add(element);
    // The element around it is an image with a text; Vega's marks have none of their own.
    const target = make("div", null, { "aria-hidden": "true" });
    element.replaceChildren(target);
    const options = { actions: false, renderer: "svg", mode: "vega-lite", ast: false };
    drawing.push(vegaEmbed(target, specOf(element.dataset.spec), options)
      .then(() => {
        element.dataset.drawn = "yes";
        // What scrolls sideways must do so by key as well.
        if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
      }));
  };
  const charts = [...document.querySelectorAll(".chart")];
  // Some browsers turn a wheel with the shift key sideways; Vega zooms by what goes up and down.
  const upright = (event) => {
    if (!event.shiftKey || event.deltaY !== 0 || event.deltaX === 0) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.dispatchEvent(new WheelEvent("wheel", {
      bubbles: true, cancelable: true, view: window, shiftKey: true,
      clientX: event.clientX, clientY: event.clientY,
      deltaY: event.deltaX, deltaMode: event.deltaMode,
    }));
  };
  for (const chart of charts) {
    chart.addEventListener("wheel", upright, { capture: true, passive: false });
  }
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "400px" });
  for (const chart of charts) watch.observe(chart);
  const opened = [];
  addEventListener("beforeprint", () => {
    charts.forEach(draw);
    for (const one of document.querySelectorAll("details:not([open])")) {
      one.open = true;
      opened.push(one);
    }
  });
  addEventListener("afterprint", () => { for (const one of opened.splice(0)) one.open = false; });

  // ---- the data of a chart ----
  const rowsOf = (id) => Object.values(specOf(id).datasets || {})
    .reduce((most, one) => (one.length > most.length ? one : most), []);
  const columnsOf = (rows) => [...new Set(rows.flatMap(Object.keys))];
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (rows) => {
    const columns = columnsOf(rows);
    const lines = rows.map((row) => columns.map((name) => quoted(row[name])).join(","));
    return [columns.map(quoted).join(","), ...lines, ""].join("\r\n");
  };
  const tableOf = (rows) => {
    const columns = columnsOf(rows);
    const table = make("table", null, { class: "plain" });
    const head = table.createTHead().insertRow();
    for (const name of columns) head.append(make("th", name, { scope: "col" }));
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const name of columns) line.insertCell().textContent = row[name] ?? "";
    }
    return table;
  };
  for (const button of document.querySelectorAll("[data-csv]")) {
    button.addEventListener("click", () => {
      const blob = new Blob([csv(rowsOf(button.dataset.csv))], { type: "text/csv" });
      const link = make("a", null, {
        href: URL.createObjectURL(blob),
        download: `${button.dataset.csv.replace(/-spec$/, "")}.csv`,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
  for (const button of document.querySelectorAll("[data-table]")) {
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      const figure = button.closest("figure");
      if (open) figure.querySelector(".shown").remove();
      else {
        const frame = make("div", null, {
          class: "scroll shown", tabindex: "0", role: "region", "aria-label": "Data of this chart",
        });
        frame.append(tableOf(rowsOf(button.dataset.table)));
        figure.append(frame);
      }
      button.setAttribute("aria-expanded", String(!open));
    });
  }

  // ---- matches ----
  const holder = byId("matches-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  if (!data.matches.length) return;
  byId("browser").hidden = false;
  const PAGE = 20;
  const state = { page: 0, found: data.matches };
  const line = (number) => data.lines[number];
  const seatNames = ["row", "column"];

  const BROKEN = "-";
  // Of both seats in the last round; null is no valid answer.
  const outcomeOf = (match) => {
    const acts = match.seats.map((seat) => seat.n[seat.n.length - 1].a);
    return acts.includes(null) ? BROKEN : acts.join();
  };
  // In the words of a game, where it is known which.
  const outcomeIn = (outcome, game) => {
    if (outcome === BROKEN) return "broke off";
    const words = data.games[game]?.actions ?? ["action 0", "action 1"];
    const [row, column] = outcome.split(",").map((action) => words[action]);
    return row === column ? `both took ${row}` : `row took ${row}, column ${column}`;
  };
  const titles = Object.values(data.games).map((game) => game.title);
  const titleOf = (name) => {
    const title = data.games[name]?.title ?? name;
    return titles.filter((one) => one === title).length > 1 ? `${title} (${name})` : title;
  };
  const form = byId("filters");
  const options = {
    agent: [...new Set(data.matches.flatMap((m) => m.agents))].sort(),
    other: [...new Set(data.matches.flatMap((m) => m.agents))].sort(),
    game: [...new Set(data.matches.map((m) => m.game))],
    mode: [...new Set(data.matches.flatMap((m) => m.modes))].sort(),
    outcome: [...new Set(data.matches.map(outcomeOf))].sort(),
  };
  for (const [name, values] of Object.entries(options)) {
    const select = form.elements[name];
    select.append(make("option", "any", { value: "" }));
    for (const value of values) {
      select.append(make("option", name === "game" ? titleOf(value) : value, { value }));
    }
  }
  const sayOutcomes = () => {
    const game = options.game.length === 1 ? options.game[0] : form.elements.game.value;
    options.outcome.forEach((outcome, place) => {
      form.elements.outcome.options[place + 1].textContent = outcomeIn(outcome, game);
    });
  };
  const plays = (match, first, second) => {
    const [row, column] = match.agents;
    const is = (agent, wanted) => !wanted || agent === wanted;
    return (is(row, first) && is(column, second)) || (is(column, first) && is(row, second));
  };
  const filter = () => {
    const want = Object.fromEntries(Object.keys(options).map((n) => [n, form.elements[n].value]));
    state.found = data.matches.filter((match) =>
      plays(match, want.agent, want.other)
      && (!want.game || match.game === want.game)
      && (!want.mode || match.modes.includes(want.mode))
      && (!want.outcome || outcomeOf(match) === want.outcome));
    state.page = 0;
    sayOutcomes();
    list();
  };

  const shown = (action) => (action === null ? "ax" : `a${action}`);
  const cell = (match, seat, round) => {
    const one = match.seats[seat].n[round];
    return make("span", one.a === null ? "–" : match.labels[one.a].slice(0, 2), {
      class: shown(one.a),
    });
  };
  const taken = (match, seat, round) => {
    const action = match.seats[seat].n[round].a;
    return action === null ? "no valid answer" : match.labels[action];
  };
  const list = () => {
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    byId("count").textContent = `${state.found.length} of ${data.matches.length} matches`;
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("back").disabled = state.page === 0;
    byId("on").disabled = state.page >= pages - 1;
    const body = byId("list").tBodies[0];
    body.replaceChildren();
    for (const match of state.found.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
      const row = body.insertRow();
      const about = row.insertCell();
      about.append(make("div", titleOf(match.game)));
      about.append(make("div", match.form, { class: "means" }));
      const agents = row.insertCell();
      match.agents.forEach((agent, seat) => {
        agents.append(make("div", `${seatNames[seat]}: ${agent} (${match.modes[seat]})`));
      });
      if (match.order !== "simultaneous") {
        agents.append(make("div", match.order.replaceAll("_", " "), { class: "means" }));
      }
      const strip = make("div", null, { class: "rounds" });
      match.seats[0].n.forEach((_, round) => {
        const said = seatNames.map((name, seat) => `${name} ${taken(match, seat, round)}`);
        const button = make("button", null, {
          type: "button", "aria-pressed": "false", title: `round ${round + 1}: ${said.join(", ")}`,
          "aria-label": `round ${round + 1}: ${said.join(", ")}`,
        });
        button.append(cell(match, 0, round), cell(match, 1, round));
        button.addEventListener("click", () => {
          for (const other of document.querySelectorAll(".rounds [aria-pressed=true]")) {
            other.setAttribute("aria-pressed", "false");
          }
          button.setAttribute("aria-pressed", "true");
          open(match, round);
        });
        strip.append(button);
      });
      row.insertCell().append(strip);
    }
  };

  // What a seat saw, as nashlens.page.transcripts puts it together.
  const promptOf = (seat, round) => {
    const first = data.window === null ? 0 : Math.max(0, round - data.window);
    const lines = data.rules[seat.r].map(line);
    for (const past of seat.n.slice(first, round)) {
      for (const number of [past.t, past.s]) if (number !== undefined) lines.push(line(number));
    }
    const now = seat.n[round];
    if (now.t !== undefined) lines.push(line(now.t));
    return [...lines, ...(now.m ?? []).map(line), line(now.q)].join("\n");
  };
  const bars = (labels, probabilities, kind) => {
    const frame = make("div");
    labels.forEach((label, action) => {
      const p = probabilities[action];
      const bar = make("div", null, { class: "bar" });
      const track = make("div", null, { class: "track" });
      const filled = make("i", null, { class: `a${action}` });
      filled.style.width = `${100 * p}%`;
      track.append(filled);
      bar.append(make("span", `${kind}(${label})`), track, make("span", p.toFixed(2)));
      frame.append(bar);
    });
    return frame;
  };
  const open = (match, round) => {
    const panel = byId("round");
    panel.replaceChildren(make("h3", `Round ${round + 1} of ${match.id}`));
    const seats = make("div", null, { class: "seats" });
    match.seats.forEach((seat, place) => {
      const one = seat.n[round];
      const frame = make("div", null, { class: "seat" });
      const agent = match.agents[place];
      frame.append(make("h4", `${seatNames[place]}: ${agent} (${match.modes[place]})`));
      const took = one.pay === null ? "" : `, and got ${one.pay}`;
      frame.append(make("p", `Took ${taken(match, place, round)}${took}.`));
      if (one.p[0] !== null) frame.append(bars(match.labels, one.p, "P"));
      if (one.mass !== undefined) {
        frame.append(make("p", `Both labels have ${one.mass} of all probability.`, { class: "means" }));
      }
      if (one.e !== undefined) {
        frame.append(make("p", `${line(one.x)} It expected:`, { class: "means" }));
        frame.append(bars(match.labels, [one.e, 1 - one.e], "other: "));
      }
      if (match.modes[place] === "script") {
        frame.append(make("p", "A script: it sees the moves alone.", { class: "means" }));
      } else {
        frame.append(make("h5", "What it saw"));
        if (data.system) frame.append(make("pre", data.system, { class: "system" }));
        frame.append(make("pre", promptOf(seat, round), { class: "saw" }));
      }
      for (const [kind, text] of one.w ?? []) {
        frame.append(make("h5", `What it wrote (${kind})`));
        frame.append(make("pre", text, { class: "wrote" }));
      }
      seats.append(frame);
    });
    panel.append(seats);
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  };

  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  byId("back").addEventListener("click", () => { state.page -= 1; list(); });
  byId("on").addEventListener("click", () => { state.page += 1; list(); });
  sayOutcomes();
  list();
})();
