// Keeps a page's live parts up to date. Without it everything works but that.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  const sign = document.querySelector(".live");
  if (!main || !sign || !window.EventSource) return;
  let source = null, timer = 0, wait = 1000, over = false;

  const say = (text, lost) => {
    sign.hidden = false;
    sign.textContent = text;
    sign.classList.toggle("is-lost", lost);
  };

  // Changes what differs and nothing else: what is open, chosen, focused or selected stays.
  const kept = { DETAILS: ["open"], INPUT: ["checked", "value"], TEXTAREA: [], SELECT: [] };
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const morph = (from, to) => {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    const own = kept[from.nodeName] || [];
    for (const { name, value } of [...to.attributes]) {
      if (!own.includes(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!own.includes(name) && !to.hasAttribute(name)) from.removeAttribute(name);
    }
    children(from, to);
  };
  const children = (from, to) => {
    let old = from.firstChild;
    for (const next of [...to.childNodes]) {
      if (old && same(old, next)) {
        morph(old, next);
        old = old.nextSibling;
      } else {
        from.insertBefore(next, old);
        if (old && old.nodeName === next.nodeName) {
          const gone = old;
          old = old.nextSibling;
          gone.remove();
        }
      }
    }
    while (old) {
      const gone = old;
      old = old.nextSibling;
      gone.remove();
    }
  };

  const part = ({ name, mark, html }) => {
    let place = document.getElementById("part-" + name);
    if (place && place.dataset.mark === mark) return;
    if (!place) {
      place = document.createElement("div");
      place.className = "part";
      place.id = "part-" + name;
      place.dataset.part = name;
      main.append(place);
    }
    const next = document.createElement("template");
    next.innerHTML = html;
    children(place, next.content);
    place.dataset.mark = mark;
  };

  const close = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };

  const again = (why) => {
    close();
    if (over || document.hidden) return;
    say(why + ", trying again", true);
    timer = setTimeout(open, wait + Math.random() * 500);
    wait = Math.min(wait * 2, 15000);
  };

  const finish = (why) => {
    over = true;
    close();
    say(why, true);
  };

  // A refusal has no words in an event source, so it is asked for.
  const ended = async () => {
    const address = source && source.url;
    close();
    let status = 0;
    try {
      if (address) ({ status } = await fetch(address, { method: "HEAD", cache: "no-store" }));
    } catch {}
    if (source) return;
    if (status === 401 || status === 403) finish("signed out: load the page again");
    else if (status === 404) finish("what this page shows is gone");
    else if (status === 503) again("too many open pages, not kept up to date");
    else again("connection lost");
  };

  const open = () => {
    close();
    if (over || document.hidden) return;
    const marks = [...document.querySelectorAll("[data-mark]")].map((place) => place.dataset.mark);
    source = new EventSource(main.dataset.live + "&have=" + marks.join(","));
    source.addEventListener("hello", (event) => {
      wait = 1000;
      if (JSON.parse(event.data).version !== document.body.dataset.version) location.reload();
      else say("live", false);
    });
    source.addEventListener("part", (event) => {
      part(JSON.parse(event.data));
      say("live", false);
    });
    source.addEventListener("trouble", (event) => say(JSON.parse(event.data).detail, true));
    source.addEventListener("end", () => finish("signed out: load the page again"));
    source.onerror = ended;
  };

  // A hidden tab holds no connection: a browser has six of them for a host.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && open());
  open();
})();
