// Keeps the page of the queue fresh while somebody looks at it. Without this the page is whole, and has a link.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const EVERY = 10000;
  const queue = document.getElementById("queue");
  const trouble = document.getElementById("queue-trouble");
  if (!queue || !trouble) {
    return;
  }
  let isAsking = false;
  let askedAt = Date.now();

  // What somebody is doing with the page at this moment is not taken from under the hand.
  function isInUse() {
    const selection = document.getSelection();
    const isSelecting = selection && !selection.isCollapsed && queue.contains(selection.anchorNode);
    return isSelecting || queue.querySelector(":active") !== null;
  }

  function put(fresh) {
    const focused = queue.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...queue.querySelectorAll("details[open]")].map((details) => details.id);
    const offsets = [...queue.querySelectorAll(".queue-scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    const [left, top] = [window.scrollX, window.scrollY];
    queue.replaceChildren(...fresh.childNodes);
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    [...queue.querySelectorAll(".queue-scroll")].forEach((box, place) => {
      [box.scrollLeft, box.scrollTop] = offsets[place] ?? [0, 0];
    });
    document.getElementById(focused)?.focus({ preventScroll: true });
    window.scrollTo(left, top);
  }

  function say(words) {
    if (trouble.textContent !== words) {
      trouble.textContent = words;
    }
    trouble.hidden = !words;
  }

  async function refresh() {
    if (document.hidden || isAsking || isInUse()) {
      return;
    }
    isAsking = true;
    askedAt = Date.now();
    try {
      const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
      const isOut = response.redirected || response.status === 403;
      const text = await response.text();
      const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("queue");
      if (response.ok && fresh && !isOut) {
        if (!isInUse()) {
          put(fresh);
        }
        say("");
      } else {
        say(response.ok || isOut ? trouble.dataset.out : trouble.dataset.away);
      }
    } catch {
      say(trouble.dataset.away);
    } finally {
      isAsking = false;
    }
  }

  setInterval(refresh, EVERY);
  document.addEventListener("visibilitychange", () => {
    if (Date.now() - askedAt >= EVERY) {
      refresh();
    }
  });
});
