// Keeps the current state up to date: the elements whose id begins with "live-". Nothing else on the
// page changes. An element is not updated while it has the focus or selected text.
"use strict";
const main = document.getElementById("main");
const stale = document.getElementById("stale");
const said = document.getElementById("said");
const BUSY_MS = 3000, IDLE_MS = 15000;
let timer = 0;

function inUse(element) {
  const selection = document.getSelection();
  return element.contains(document.activeElement)
    || (selection && !selection.isCollapsed && selection.containsNode(element, true));
}

function replace(fresh) {
  const old = document.getElementById(fresh.id);
  if (!old || old.outerHTML === fresh.outerHTML || inUse(old)) return;
  if (said && fresh.dataset.said && fresh.dataset.said !== old.dataset.said) {
    said.textContent = fresh.dataset.said;
  }
  old.replaceWith(document.importNode(fresh, true));
}

async function update() {
  clearTimeout(timer);
  let pause = IDLE_MS;
  if (!document.hidden) {
    try {
      const answer = await fetch(main.dataset.parts);
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const parts = page.getElementById("parts");
        for (const fresh of page.querySelectorAll("[id^=live-]")) replace(fresh);
        stale.hidden = stale.hidden && parts.dataset.stamp === (main.dataset.stamp || parts.dataset.stamp);
        for (const field of document.querySelectorAll("input[name=token]")) {
          field.value = parts.dataset.token || field.value;
        }
        pause = parts.querySelector(".badge.working") ? BUSY_MS : IDLE_MS;
      }
    } catch { /* the backend is unreachable: keep the page, and ask again later */ }
  }
  clearTimeout(timer);
  timer = setTimeout(update, pause);
}

if (main.dataset.parts) {
  timer = setTimeout(update, BUSY_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) update(); });
}
