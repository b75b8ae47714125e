// Sends what is typed to the program that serves this page, and shows its answer. The program decodes
// and verifies; nothing of that happens here. Text is only ever set as text.
"use strict";

const at = (id) => document.getElementById(id);
const form = at("form"), token = at("token"), verdict = at("verdict"), blocks = at("blocks");
let running = null;
let timer = 0;

const task = () => form.elements.task.value;

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// The options of the program, each with its values.
function options(of) {
  const found = {};
  for (const field of of.querySelectorAll("[data-option]")) {
    const text = field.value.trim();
    if (field.type === "checkbox") {
      if (field.checked) found[field.dataset.option] = [];
    } else if (text) {
      const { list } = field.dataset;
      found[field.dataset.option] =
        list === "words" ? text.split(/\s+/) : list === "lines" ? text.split(/\s*\n\s*/) : [text];
    }
  }
  return found;
}

async function answer(command, signal) {
  let response;
  try {
    response = await fetch("run", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ command, token: token.value, options: options(at(command)) }),
      cache: "no-store", credentials: "omit", redirect: "error", signal,
    });
    if (response.ok) return (await response.json()).blocks;
  } catch (error) {
    if (signal.aborted) return null;
    return failure("The program can't be reached. Start `introspect ui` again, and open its new URL.");
  }
  if (response.status === 413) return failure("This is longer than any token.");
  if (response.status === 503) return failure("Other requests still wait for a server. Try again later.");
  return failure(`The program refused the request (${response.status}).`);
}

const EMPTY = {
  decode: "Paste a token to see its header, its claims, and what is wrong with it.",
  verify: "The verdict, the reason of a refusal and every check are shown here.",
  explain: "The response of your service and its reason are shown here.",
};
const failure = (text) => [{ line: ["bad", text] }];

async function run() {
  clearTimeout(timer);
  running?.abort();
  const command = task();
  at("issuer").required = at("jwks").value.trim() === "";
  at("audience").required = !at("any-audience").checked;
  token.required = command !== "decode" && !(command === "explain" && at("no-token").checked);
  if (!form.reportValidity()) return;
  if (command === "decode" && token.value.trim() === "") {
    show([]);
    return;
  }
  const mine = (running = new AbortController());
  if (command !== "decode") show([{ line: ["plain", "Waiting for a server…"] }]);
  at("result").setAttribute("aria-busy", "true");
  const result = await answer(command, mine.signal);
  if (running !== mine) return;
  at("result").removeAttribute("aria-busy");
  if (!result) return;
  show(result);
  if (command !== "decode") verdict.scrollIntoView({ block: "nearest" });
}

// The first line is the verdict. Sections with a warning come next, and lists of checks are folded.
function show([first, ...rest]) {
  const [tone, text] = first?.line ?? ["", ""];
  at("empty").hidden = first !== undefined;
  verdict.className = tone;
  verdict.replaceChildren(...prose(text));
  const parts = [[]];
  for (const block of rest) {
    if (block.heading) parts.push([]);
    parts.at(-1).push(block);
  }
  const [lead, ...sections] = parts;
  const warns = (part) => part.some(({ item }) => item?.[0] === "bad");
  const urgent = sections.filter(warns), others = sections.filter((part) => !warns(part));
  const isList = (part) => part.some((block) => block.checks);
  blocks.replaceChildren(...[lead, ...urgent, ...others].flatMap((part) => (isList(part) ? folded(part) : nodes(part))));
}

function folded([{ heading }, ...rest]) {
  return [element("details", "", element("summary", "", heading), ...nodes(rest))];
}

// Names in backticks, as in the texts of the program.
function prose(text) {
  return text.split(/`([^`]+)`/).map((piece, index) => (index % 2 ? element("code", "", piece) : piece));
}

function nodes(part) {
  const made = [];
  for (const { line, heading, item, fields, checks } of part) {
    if (item) {
      const [tone, mark, text] = item;
      if (made.at(-1)?.className !== "items") made.push(element("ul", "items"));
      made.at(-1).append(element("li", "", element("span", `mark ${tone}`, mark),
        element("span", "", ...prose(text))));
    } else if (heading) {
      made.push(element("h3", "", heading));
    } else if (fields) {
      made.push(element("dl", "", ...fields.map(({ name, value, remark }) =>
        element("div", "", element("dt", "", name),
          element("dd", "", value, remark && element("small", ...remark))))));
    } else if (checks) {
      made.push(element("ul", "checks", ...checks.map(({ tone, mark, title, section, detail }) =>
        element("li", "", element("span", `mark ${tone}`, mark),
          element("div", "",
            element("div", "title", element("span", "", title), element("small", "", section)),
            detail && element("p", "detail", detail))))));
    } else if (line?.[1].trim()) {
      made.push(element("p", line[0], ...prose(line[1].trim())));
    }
  }
  return made;
}

// Another text or another setting: the result is of the former one.
function changed() {
  clearTimeout(timer);
  if (task() === "decode") {
    timer = setTimeout(run, 150);
  } else {
    running?.abort();
    show([]);
  }
}

function choose(name) {
  form.elements.task.value = name;
  for (const one of ["decode", "verify", "explain"]) at(one).hidden = at(one).disabled = one !== name;
  at("go").hidden = name === "decode";
  at("go").querySelector("button").textContent = name === "verify" ? "Verify" : "Explain";
  at("empty").textContent = EMPTY[name];
  blocks.className = name;
  changed();
}

form.addEventListener("input", (event) => {
  if (event.target.name === "task") choose(event.target.value);
  else changed();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (task() === "decode") choose("verify");
  run();
});
at("clear").addEventListener("click", () => {
  token.value = "";
  changed();
  token.focus();
});
// A page that is left keeps nothing, nor does one that the browser fills in again.
addEventListener("pagehide", () => {
  form.reset();
  show([]);
});
choose("decode");
