// Keeps the list of mails fresh: asks for the page again every two seconds and takes over what has changed.
"use strict";

const EVERY_MS = 2000;
const SELECTOR = "[data-refresh]";

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(SELECTOR);
  const shown = document.querySelector(SELECTOR);
  if (fresh && shown && fresh.innerHTML !== shown.innerHTML) {
    const focused = document.activeElement?.getAttribute("href");
    shown.innerHTML = fresh.innerHTML;
    if (focused) shown.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }
}

async function keepFresh() {
  try {
    await refresh();
  } catch {
    // The site restarts; the next turn finds it.
  }
  setTimeout(keepFresh, EVERY_MS);
}

setTimeout(keepFresh, EVERY_MS);
