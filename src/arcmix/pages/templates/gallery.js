// Shows the tasks or samples whose title and facts have all the words of the filter.

"use strict";
const find = id => document.getElementById(id);
const sections = [...document.querySelectorAll("section")];
const texts = sections.map(section =>
  section.querySelector("h2").textContent + " " + section.querySelector("ul").textContent);

function filter() {
  const words = find("search").value.toLowerCase().split(/\s+/);
  let shown = 0;
  sections.forEach((section, place) => {
    const text = texts[place].toLowerCase();
    section.hidden = !words.every(word => text.includes(word));
    shown += !section.hidden;
  });
  find("none").hidden = shown > 0;
  find("shown").textContent = `${shown} of ${sections.length}`;
}

find("tools").hidden = false;
find("tools").addEventListener("submit", event => event.preventDefault());
find("search").addEventListener("input", filter);
filter();
