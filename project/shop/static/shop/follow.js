// Keeps the list of orders true: asks every second while a mail is on its way, every ten seconds otherwise.
"use strict";

(() => {
  const QUICK_MS = 1000;
  const SLOW_MS = 10000;
  const place = document.getElementById("orders");

  const isMoving = () => place.firstElementChild?.dataset.moving === "yes";

  const refresh = async () => {
    const answer = await fetch(place.dataset.address, {
      headers: { Accept: "text/html" },
      signal: AbortSignal.timeout(SLOW_MS),
    });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const fresh = document.createElement("template");
    fresh.innerHTML = await answer.text();
    // Only a change is written, so that a screen reader is not told the same again.
    if (fresh.innerHTML.trim() !== place.innerHTML.trim()) place.replaceChildren(fresh.content);
  };

  const follow = async () => {
    let pause = SLOW_MS;
    try {
      if (!document.hidden) await refresh();
      if (isMoving()) pause = QUICK_MS;
    } catch {
      // The site is restarting, or the network is gone: the next round tells.
    }
    setTimeout(follow, pause);
  };

  setTimeout(follow, isMoving() ? QUICK_MS : SLOW_MS);
})();
