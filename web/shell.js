// Runs before the app: what the browser offers only to early listeners, and what must work even when the app does not.
"use strict";
(() => {
  const root = document.documentElement;
  const stored = (name) => {
    try {
      return localStorage.getItem(name) || "";
    } catch {
      return "";
    }
  };
  root.dataset.theme = stored("felund-theme");
  // Which static shell is painted: the chat for those who are in a circle, the first question for everyone else.
  root.dataset.known = stored("felund-here") ? "yes" : "no";

  const show = (id, shown) => {
    const element = document.getElementById(id);
    if (element) element.hidden = !shown;
  };

  let installPrompt = null;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    installPrompt = event;
    root.dataset.installable = "yes";
  });
  // The app asks for this after the first message, never before.
  addEventListener("felund-offer-install", () => {
    if (installPrompt && !stored("felund-install-declined")) show("install", true);
  });

  // What the node asks storage for first is read while its module is on the way, by the tab that may own the node and
  // under the lock that says so. felund-wasm takes both from here (`ahead.rs`).
  const { locks } = navigator;
  const result = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = reject;
    });
  const read = async (database) => {
    const stores = database.transaction(["records", "envelopes"]);
    const [records, store] = [stores.objectStore("records"), stores.objectStore("envelopes")];
    const [names, values] = await Promise.all([records.getAllKeys(), records.getAll()].map(result));
    const rows = { names, values };
    // What is written down of the index is read with the records. Where nothing is, the keys are the index.
    if (names.some((name) => name.startsWith("index/"))) return rows;
    const keys = await result(store.getAllKeys());
    const length = keys[0]?.byteLength || 0;
    rows.keys = new Uint8Array(keys.length * length);
    keys.forEach((key, at) => rows.keys.set(new Uint8Array(key), at * length));
    return rows;
  };
  const lead = (name) => {
    let take;
    let [begun, lost] = [false, false];
    const taken = new Promise((resolve) => {
      take = resolve;
    });
    const opening = indexedDB.open(name);
    // Making it is the node's.
    opening.onupgradeneeded = () => opening.transaction.abort();
    const opened = result(opening);
    const held = locks.request(name, { ifAvailable: true }, async (lock) => {
      const rows = lock && (await opened.then(read).catch(() => {}));
      opened.then((database) => database.close()).catch(() => {});
      if (!lock) return;
      const granted = await taken;
      if (lost) return;
      begun = true;
      return granted(rows);
    });
    held.catch(() => {
      lost = true;
    });
    return {
      async request(...wanted) {
        globalThis.felundLocks = locks;
        take(wanted[2]);
        await held.catch((reason) => {
          if (begun) throw reason;
        });
        if (!begun) return locks.request(...wanted);
      },
    };
  };
  if (root.dataset.known === "yes" && locks) globalThis.felundLocks = lead("felund");

  // WebAssembly cannot ask for a script by itself.
  globalThis.felundImport = (script) => import(script);

  addEventListener("DOMContentLoaded", () => {
    const click = (id, act) => document.getElementById(id)?.addEventListener("click", act);
    click("crash-reload", () => location.reload());
    click("install-yes", () => {
      show("install", false);
      installPrompt?.prompt();
      installPrompt = null;
    });
    click("install-no", () => {
      show("install", false);
      try {
        localStorage.setItem("felund-install-declined", "yes");
      } catch {
        // Asked again next time, then.
      }
    });
    click("reload", async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      if (registration?.waiting) registration.waiting.postMessage("take over");
      else location.reload();
    });
  });

  if (!("serviceWorker" in navigator)) return;
  // The first worker takes over a page that is of its own version.
  let controlled = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (controlled) location.reload();
    controlled = true;
  });
  addEventListener("load", async () => {
    try {
      const registration = await navigator.serviceWorker.register("/sw.js");
      const offer = () => {
        if (registration.waiting && navigator.serviceWorker.controller) show("update", true);
      };
      offer();
      registration.addEventListener("updatefound", () => {
        registration.installing?.addEventListener("statechange", offer);
      });
      document.addEventListener("visibilitychange", () => {
        if (document.visibilityState === "visible") registration.update().catch(() => {});
      });
    } catch {
      // Without a worker the app works, but not offline; its doctor says so.
    }
  });
})();
