/* Follows a run: asks for the page anew and swaps the parts that changed, where they stand. */
"use strict";
(() => {
  const line = document.getElementById("live");
  const [follows, gone] = [line.textContent, line.dataset.gone];
  const LONGEST_ANSWER_MS = 20000;
  const GONE = new Error();
  const written = new WeakMap(); // a part as the server wrote it, whatever a reader opened in it
  const parts = () => [...document.querySelector("main").children].filter(part => part !== line);
  const key = part => part.id || part.tagName;
  parts().forEach(part => written.set(part, part.outerHTML));
  document.documentElement.style.overflowAnchor = "none"; // the place is kept here
  let timer = 0, lost = false, stopped = "";

  function say(text, bad) {
    if (line.textContent !== text) line.textContent = text;
    line.className = bad ? "warning" : "small";
    lost = bad;
  }

  function swap(fresh) {
    const main = document.querySelector("main");
    const seen = parts().find(part => part.getBoundingClientRect().bottom > 0);
    const place = seen && { key: key(seen), top: seen.getBoundingClientRect().top };
    const known = new Map(parts().map(part => [key(part), part]));
    let after = null;
    for (const part of [...fresh.querySelector("main").children]) {
      if (part.id === line.id) continue;
      const source = part.outerHTML, old = known.get(key(part));
      let now = old;
      if (!old || written.get(old) !== source) {
        now = document.importNode(part, true);
        if (old) {
          const opened = [...old.querySelectorAll("details")].map(each => each.open);
          now.querySelectorAll("details").forEach((each, index) => {
            if (index < opened.length) each.open = opened[index];
          });
          old.replaceWith(now);
        }
        written.set(now, source);
      }
      known.delete(key(part));
      const next = after ? after.nextElementSibling : main.firstElementChild;
      if (next !== now && !(next === line && line.nextElementSibling === now)) {
        main.insertBefore(now, next);
      }
      after = now;
    }
    known.forEach(part => part.remove());
    main.dataset.seconds = fresh.querySelector("main").dataset.seconds;
    document.title = fresh.title;
    const again = place && parts().find(part => key(part) === place.key);
    if (again) scrollBy(0, again.getBoundingClientRect().top - place.top);
  }

  async function look() {
    clearTimeout(timer);
    const marked = getSelection();
    // Words that a reader marks stay marked, and a page that nobody sees asks for nothing.
    if (!document.hidden && (!marked || marked.isCollapsed)) {
      try {
        const answer = await fetch(location.pathname + location.search, {
          cache: "no-store", signal: AbortSignal.timeout(LONGEST_ANSWER_MS),
        });
        // The server says itself why it has no page, unless it is another one by now.
        if (answer.status === 500) throw new Error((await answer.json()).error);
        if (!answer.ok) throw GONE;
        swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
        say(follows, false);
      } catch (error) {
        if (!lost) stopped = new Date().toLocaleTimeString();
        const known = error.name === "Error" && error !== GONE;
        say(known ? error.message : `${gone} ${stopped}`, true);
      }
    }
    timer = setTimeout(look, 1000 * Number(document.querySelector("main").dataset.seconds));
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  timer = setTimeout(look, 1000 * Number(document.querySelector("main").dataset.seconds));
})();
