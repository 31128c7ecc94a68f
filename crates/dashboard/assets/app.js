"use strict";
// Two things that HTML alone does not do: the choice of light or dark, and panels that the server renders anew.
(function () {
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("tollgate-theme"); } catch { return null; } };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") { root.dataset.theme = theme; } else { delete root.dataset.theme; }
  };
  apply(kept());

  function themeButton() {
    const button = document.getElementById("theme");
    if (!button) { return; }
    const names = { auto: "as the system", light: "light", dark: "dark" };
    const show = (theme) => { button.textContent = "Theme: " + names[theme]; };
    let theme = names[kept()] ? kept() : "auto";
    show(theme);
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = { auto: "dark", dark: "light", light: "auto" }[theme];
      try { localStorage.setItem("tollgate-theme", theme); } catch { /* kept for this page alone */ }
      apply(theme);
      show(theme);
    });
  }

  // What somebody is reading or filling in is not replaced under their hands.
  function busy(panel) {
    const active = document.activeElement;
    if (active && panel.contains(active) && /^(INPUT|SELECT|BUTTON|TEXTAREA)$/.test(active.tagName)) { return true; }
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && panel.contains(selection.anchorNode)) { return true; }
    return Array.from(panel.querySelectorAll("input:not([type=hidden])")).some((i) => i.value !== i.defaultValue);
  }

  function swap(id, html) {
    const panel = document.getElementById(id);
    if (!panel || busy(panel)) { return; }
    const open = Array.from(panel.querySelectorAll("details[open]"), (d) => d.dataset.keep);
    const focused = panel.contains(document.activeElement) ? document.activeElement.closest("details") : null;
    const key = focused && focused.dataset.keep;
    // The server made and escaped it, and the page's policy runs nothing that stands in it.
    panel.innerHTML = html;
    for (const details of panel.querySelectorAll("details")) {
      if (open.includes(details.dataset.keep)) { details.open = true; }
      if (key && details.dataset.keep === key) { details.querySelector("summary").focus(); }
    }
  }

  function live() {
    const url = document.body.dataset.live;
    const state = document.getElementById("live");
    if (!url || !state || typeof EventSource === "undefined") { return; }
    let source = null;
    let retry = 0;
    let pause = 1000;
    const say = (text) => { state.textContent = text; };
    const close = () => { clearTimeout(retry); if (source) { source.close(); source = null; } };
    const open = () => {
      close();
      source = new EventSource(url);
      source.addEventListener("open", () => { pause = 1000; say("live"); });
      source.addEventListener("panel", (event) => { const p = JSON.parse(event.data); swap(p.id, p.html); });
      source.addEventListener("error", () => {
        close();
        say("reconnecting");
        retry = setTimeout(open, pause);
        pause = Math.min(pause * 2, 30000);
      });
    };
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { close(); say("paused"); } else { open(); }
    });
    window.addEventListener("pagehide", close);
    if (!document.hidden) { open(); }
  }

  document.addEventListener("DOMContentLoaded", () => { themeButton(); live(); });
})();
