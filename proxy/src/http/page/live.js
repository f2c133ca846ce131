// Brings the page up to date every few seconds, part by part, while somebody can see it.
(() => {
  "use strict";
  const periodMs = 2000;
  const limitMs = 6000;
  const root = document.documentElement;
  const state = document.getElementById("live");
  const page = () => document.getElementById("page");
  let timer = 0;
  let asking = false;
  let at = page().dataset.at;
  let goodMs = Date.now();
  let lost = false;

  const say = (kind, text) => {
    if (root.dataset.live !== kind) root.dataset.live = kind;
    if (state.textContent !== text) state.textContent = text;
  };
  const show = () => {
    if (document.hidden) return;
    if (lost) {
      const s = Math.round((Date.now() - goodMs) / 1000);
      say("lost", `Connection lost: these are the numbers of ${at}, ${s} s ago`);
    } else {
      say("good", `Live · ${at}`);
    }
  };
  // Somebody who marks a text wants to copy it.
  const isMarked = (part) => {
    const marked = document.getSelection();
    return !marked.isCollapsed && marked.containsNode(part, true);
  };
  const replace = (old, next) => {
    const places = [...old.querySelectorAll(".scroll")];
    const lefts = places.map((place) => place.scrollLeft);
    const focused = places.indexOf(document.activeElement);
    old.replaceChildren(...next.childNodes);
    [...old.querySelectorAll(".scroll")].forEach((place, index) => {
      place.scrollLeft = lefts[index] || 0;
      if (index === focused) place.focus({ preventScroll: true });
    });
  };
  const take = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html").getElementById("page");
    if (!next) throw new Error("not the page");
    if (next.dataset.version !== page().dataset.version) {
      location.reload();
      return;
    }
    at = next.dataset.at;
    document.title = next.dataset.title;
    for (const part of next.querySelectorAll("[data-part]")) {
      const old = document.querySelector(`[data-part="${part.dataset.part}"]`);
      if (old && old.innerHTML !== part.innerHTML && !isMarked(old)) replace(old, part);
    }
  };
  const ask = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch("/live", { signal: AbortSignal.timeout(limitMs) });
      if (!answer.ok) throw new Error(answer.status);
      take(await answer.text());
      lost = false;
      goodMs = Date.now();
    } catch {
      lost = true;
    }
    asking = false;
    show();
  };
  const turn = () => {
    clearInterval(timer);
    if (document.hidden) {
      say("paused", `Paused · ${at}`);
      return;
    }
    timer = setInterval(ask, periodMs);
    ask();
  };
  document.addEventListener("visibilitychange", turn);
  turn();
})();
