// Draws the tasks of the report, each when it comes into view. The data stand in the element
// `data`; `report.py` writes them. A grid is drawn as `grid.svg` draws it. Ids get into the page
// as texts, never as HTML.

"use strict";
const {attempts, tasks} = JSON.parse(document.getElementById("data").textContent);
const PHONE = window.matchMedia("(max-width: 40rem)").matches;
const WIDEST = PHONE ? 110 : 200;  // pixels of a grid's longest side
const CELL = [4, 20];  // least and most pixels of a cell's side
const FIRST = 5;  // answers that are shown without a click
const AHEAD = "600px";  // how far below the view a task is drawn

const ORDERS = {  // name -> what to sort by, and whether the highest comes first
  score: [task => task.score, true],
  pixels: [task => task.pixels, true],
  votes: [task => task.votes, true],
  "validation loss": [task => task.loss, false],
  size: [task => task.cells, false],
  id: [task => task.id, false],
};
// The local time at which the file was written, as YYYY-MM-DD hh:mm; the file itself has no date.
const written = document.lastModified.replace(/(\d+).(\d+).(\d+) (\d+:\d+).*/, "$3-$1-$2 $4");
const STATUSES = ["solved", "partly", "unsolved", "unanswered"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const listed = facts => element("ul", {}, ...facts.map(fact => element("li", {}, fact)));
const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const percent = share => `${Math.floor(100 * share + 1e-6)} %`;  // 100 % is all of them
const signed = (number, digits) => number.toFixed(digits).replace("-", "\u2212");
const grid = (text, truth) => text.split("/").map((row, y) => row || truth[y]);
const sized = rows => `${rows.length} by ${rows[0].length}`;
const longest = rows => Math.max(rows.length, rows[0].length);
const fits = (rows, truth) => rows.length === truth.length && rows[0].length === truth[0].length;

function wrongCells(rows, truth) {
  return rows.flatMap((row, y) =>
    [...row].flatMap((color, x) => color === truth[y][x] ? [] : [[x, y]]));
}

function picture(rows, side, wrong) {
  const paths = new Map();
  rows.forEach((row, y) => {
    for (const {0: run, 1: color, index: x} of row.matchAll(/(.)\1*/g)) {
      const shape = `M${x} ${y}h${run.length}v1h-${run.length}z`;
      paths.set(color, (paths.get(color) ?? "") + shape);
    }
  });
  const [height, width] = [rows.length, rows[0].length];
  let shapes = [...paths].map(([color, path]) => `<path class="c${color}" d="${path}"/>`).join("");
  let lines = "";
  for (let x = 1; x < width; x++) lines += `M${x} 0v${height}`;
  for (let y = 1; y < height; y++) lines += `M0 ${y}h${width}`;
  shapes += `<path class="lines" d="${lines}"/>`;
  if (wrong.length) {
    const crosses = wrong.map(([x, y]) => `M${x + .2} ${y + .2}l.6 .6m0 -.6l-.6 .6`).join("");
    shapes += `<path class="under" d="${crosses}"/><path class="wrong" d="${crosses}"/>`;
  }
  const crossed = wrong.length ? `, ${wrong.length} wrong` : "";
  const made = document.createElement("template");
  made.innerHTML = `<svg role="img" aria-label="grid of ${height} by ${width} cells${crossed}"`
    + ` width="${side * width}" height="${side * height}" viewBox="0 0 ${width} ${height}">`
    + `${shapes}</svg>`;
  return made.content;
}

function figure(rows, most, wrong = []) {
  const side = Math.floor(WIDEST / Math.max(most, longest(rows)));
  return element("figure", {},
    picture(rows, Math.min(Math.max(side, CELL[0]), CELL[1]), wrong),
    element("figcaption", {}, sized(rows)));
}

const framed = (name, kind, ...children) =>
  element("div", {class: `pair ${kind}`}, element("h3", {}, name), ...children);

const arrow = () => element("div", {class: "arrow"}, "\u2193");

function answer([text, votes, logprob, rescored], place, test, most) {
  const truth = grid(test.truth), rows = grid(text, truth), same = fits(rows, truth);
  const wrong = same ? wrongCells(rows, truth) : [];
  const right = same && !wrong.length;
  const facts = [
    right ? "right"
      : same ? `${wrong.length} of ${counted(rows.length * rows[0].length, "cell")} wrong`
      : `wrong size: ${sized(rows)}, not ${sized(truth)}`,
    `${counted(votes, "vote")} of ${test.asked}`,
    `log p ${signed(logprob, 3)} a token`,
  ];
  if (rescored !== null) facts.push(`re-scored ${signed(rescored, 2)}`);
  const kind = `answer${place < attempts ? " attempt" : ""}${right ? " right" : ""}`;
  const name = place < attempts ? `attempt ${place + 1}` : `answer ${place + 1}`;
  return framed(name, kind, figure(rows, most, wrong), listed(facts));
}

function answered(test, number, most) {
  const truth = grid(test.truth);
  const place = test.answers.findIndex(([text]) => grid(text, truth).join("/") === test.truth);
  const found = test.answers.reduce((sum, [, votes]) => sum + votes, 0);
  const facts = !found ? [`no answer in ${counted(test.asked, "candidate")}`] : [
    place < 0 ? "the right answer is not among them" : `the right answer is number ${place + 1}`,
    `${counted(test.answers.length, "distinct answer")} in ${counted(test.asked, "candidate")}`,
    `${test.asked - found} without a grid`,
  ];
  const drawn = places => places.map(one => answer(test.answers[one], one, test, most));
  const places = [...test.answers.keys()];
  const row = [
    element("h3", {}, `test ${number + 1} `, element("span", {}, facts.join(" \u00b7 "))),
    element("div", {class: "pairs"},
      framed("test", "test", figure(grid(test.input), most)),
      framed("truth", "test", figure(truth, most)),
      ...drawn(places.slice(0, FIRST))),
  ];
  const rest = places.slice(FIRST);
  if (rest.length) {
    const more = element("details", {}, element("summary", {}, `${rest.length} more`));
    more.addEventListener("toggle", () => {
      more.append(element("div", {class: "pairs"}, ...drawn(rest)));
    }, {once: true});
    row.push(more);
  }
  return row;
}

function draw(task, card) {
  if (card.classList.contains("drawn")) return;
  card.classList.add("drawn");
  const pairs = task.train.map(pair => pair.map(text => grid(text)));
  const asked = task.tests.flatMap(test => [grid(test.input), grid(test.truth)]);
  const most = Math.max(...[...pairs.flat(), ...asked].map(longest));
  card.lastElementChild.append(
    element("div", {class: "pairs"}, ...pairs.map(([input, output], number) =>
      framed(`demonstration ${number + 1}`, "", figure(input, most), arrow(),
        figure(output, most)))),
    ...task.tests.flatMap((test, number) => answered(test, number, most)));
}

const address = task => `#${encodeURIComponent(task.id)}`;

function card(task) {
  const tests = counted(task.tests.length, "test");
  const facts = [
    `${Math.round(task.score * task.tests.length)} of ${tests} solved`,
    ...(task.status === "unanswered" ? [] : [
      `${percent(task.pixels)} of cells right in attempt 1`,
      `${task.votes.toFixed(Number.isInteger(task.votes) ? 0 : 1)} vote${task.votes === 1 ? "" : "s"} for it`,
    ]),
    task.loss === null ? "no validation loss" : `validation loss ${signed(task.loss, 3)}`,
    counted(task.cells, "cell"),
  ];
  return element("section", {class: `card ${task.status}`, "data-task": task.id},
    element("h2", {}, element("a", {href: address(task)}, task.id)), element("span", {class: "badge"}, task.status),
    listed(facts), element("div", {class: "body"}));
}

const find = id => document.getElementById(id);
const cards = new Map(tasks.map(task => [task, card(task)]));
let visited = null;  // the card that the address names, until the reader moves on
const seen = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    draw(tasks.find(task => cards.get(task) === target), target);
  }
  visited?.scrollIntoView();  // the cards before it have grown
}, {rootMargin: AHEAD});

function compared(one, other) {
  // Tasks without a value come last in both directions.
  if (one === other) return 0;
  if (one === null || other === null) return one === null ? 1 : -1;
  const [, descending] = ORDERS[find("order").value];
  return (one < other ? -1 : 1) * (descending !== find("reverse").checked ? -1 : 1);
}

function arrange() {
  const [key] = ORDERS[find("order").value];
  const status = find("filters").querySelector(":checked").value;
  const wanted = find("search").value.trim().toLowerCase();
  const sorted = [...tasks].sort((one, other) => compared(key(one), key(other)));
  let shown = 0;
  for (const task of sorted) {
    const is = (status === "all" || task.status === status)
      && task.id.toLowerCase().includes(wanted);
    cards.get(task).hidden = !is;
    shown += is;
  }
  find("tasks").append(...sorted.map(task => cards.get(task)));
  find("none").hidden = shown > 0;
  find("shown").textContent = `${shown} of ${counted(tasks.length, "task")}`;
}

function showAll() {
  find("tools").reset();
  arrange();
}

function fit() {
  // The bar above the tasks has several lines in a narrow window.
  document.body.style.setProperty("--bar", `${find("tools").offsetHeight}px`);
}

function visit() {
  // Show the task that the address of the page names.
  const named = tasks.find(task => address(task) === location.hash);
  if (!named) return;
  if (cards.get(named).hidden) showAll();
  visited = cards.get(named);
  draw(named, visited);
  visited.scrollIntoView();
}

function start() {
  for (const status of ["all", ...STATUSES]) {
    const count = tasks.filter(task => status === "all" || task.status === status).length;
    const first = status === "all" ? {checked: ""} : {};
    const input = element("input", {type: "radio", name: "status", value: status, ...first});
    find("filters").append(
      element("label", {}, input, `${status} `, element("span", {}, String(count))));
  }
  find("order").append(...Object.keys(ORDERS).map(name => element("option", {}, name)));
  for (const event of ["input", "change"]) find("tools").addEventListener(event, arrange);
  find("tools").addEventListener("submit", event => event.preventDefault());
  find("all").addEventListener("click", showAll);
  find("scores").append(element("li", {}, `file of ${written}`));
  window.addEventListener("beforeprint", () => cards.forEach((made, task) => draw(task, made)));
  arrange();
  fit();
  new ResizeObserver(fit).observe(find("tools"));
  cards.forEach(made => seen.observe(made));
  window.addEventListener("hashchange", visit);
  for (const event of ["wheel", "touchmove", "pointerdown", "keydown"]) {
    window.addEventListener(event, () => { visited = null; }, {passive: true});
  }
  visit();
}

start();
