// The offline shell: keeps the app's files and nothing else. Messages never pass through here.
// `cargo xtask web` fills in both placeholders.
"use strict";
const BUILD = /*BUILD_ID*/ "dev";
const FILES = /*PRECACHE*/ [];
const CACHE = "felund-" + BUILD;

addEventListener("install", (event) => {
  // Where the browser can, it takes the files from the cache itself: starting this worker is most of what they cost.
  const cached = FILES.map((pathname) => ({ urlPattern: { pathname, search: "" } }));
  const known = { condition: { or: cached }, source: { cacheName: CACHE } };
  event.waitUntil(event.addRoutes?.([known])?.catch(() => {}));
  event.waitUntil(
    caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })))),
  );
});

// A new version waits until the user agrees to reload: tabs of two versions must not share one node.
addEventListener("message", (event) => {
  if (event.data === "take over") skipWaiting();
});

addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith("felund-") && name !== CACHE) await caches.delete(name);
      }
      await clients.claim();
    })(),
  );
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  const page = request.mode === "navigate" && url.pathname === "/";
  if (!page && !FILES.includes(url.pathname)) return;
  event.respondWith(
    (async () => {
      const cache = await caches.open(CACHE);
      return (await cache.match(page ? "/" : url.pathname)) || fetch(request);
    })(),
  );
});

addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(
    (async () => {
      const [open] = await clients.matchAll({ type: "window", includeUncontrolled: true });
      if (open) await open.focus();
      else await clients.openWindow("/");
    })(),
  );
});
