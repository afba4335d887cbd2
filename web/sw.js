// The offline shell: keeps the app's files and nothing else. Messages never pass through here.
// `cargo xtask web` fills in the placeholders.
"use strict";
const BUILD = /*BUILD_ID*/ "dev";
// What a first visit loads, and what only those need who stay.
const FIRST = /*FIRST*/ [];
const FILES = /*PRECACHE*/ [];
const CACHE = "felund-" + BUILD;

const keep = async (files) => {
  const cache = await caches.open(CACHE);
  const kept = (await cache.keys()).map(({ url }) => new URL(url).pathname);
  const missing = files.filter((file) => !kept.includes(file));
  await cache.addAll(missing.map((file) => new Request(file, { cache: "no-cache" })));
};

addEventListener("install", (event) => {
  // Where the browser can, it takes the files from the cache itself: starting this worker is most of what they cost.
  const cached = FILES.map((pathname) => ({ urlPattern: { pathname, search: "" } }));
  const known = { condition: { or: cached }, source: { cacheName: CACHE } };
  event.waitUntil(event.addRoutes?.([known])?.catch(() => {}));
  // A later version is for somebody who has stayed.
  event.waitUntil(keep(registration.active ? FILES : FIRST));
});

// A new version waits until the user agrees to reload: tabs of two versions must not share one node.
addEventListener("message", (event) => {
  if (event.data === "take over") skipWaiting();
  // Tried again at every start of the app.
  if (event.data === "keep all") event.waitUntil(keep(FILES).catch(() => {}));
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
      if (!open) return clients.openWindow("/");
      // The tag is the channel.
      open.postMessage(event.notification.tag);
      await open.focus();
    })(),
  );
});
