// Appended to the script that wasm-bindgen makes for the app. The app's module has been cut in two: the first part runs the
// first screens, the rest is everything else (`xtask/src/web/split/`). Who is in a circle already needs both at once;
// everyone else loads the rest as soon as they touch or type something.
const restUrl = new URL(/*REST*/ "", import.meta.url);
let [restModule, restLoaded] = [null, false];

const restCompiled = () => {
  restModule ||= WebAssembly.compileStreaming(fetch(restUrl)).catch((reason) => {
    restModule = null;
    throw reason;
  });
  return restModule;
};

const restImports = (first) => ({ ...__wbg_get_imports(), first });

const restFilled = (first) => {
  first.rest.value = 1;
  restLoaded = true;
  // What is needed offline from now on; the worker keeps what it does not have yet.
  navigator.serviceWorker?.ready.then(({ active }) => active?.postMessage("keep all"));
};

const restInto = async (first) => {
  const module = await restCompiled();
  first ||= wasm;
  // Who touches the page before its first part runs has it loaded, and not filled in yet.
  if (restLoaded || !first) return;
  await WebAssembly.instantiate(module, restImports(first));
  restFilled(first);
};

// Before the first part runs.
const restBegun = async (first) => {
  if (restWanted) await restInto(first);
};

// For code that cannot wait: something of the rest is called before it is there.
const restNow = () => {
  console.warn("the rest of the app was called for", new Error().stack);
  try {
    const request = new XMLHttpRequest();
    request.open("GET", restUrl, false);
    request.overrideMimeType("text/plain; charset=x-user-defined");
    request.send();
    const bytes = Uint8Array.from(request.responseText, (char) => char.charCodeAt(0));
    new WebAssembly.Instance(new WebAssembly.Module(bytes), restImports(wasm));
  } catch (reason) {
    // Whatever was being done stays half done.
    document.getElementById("crashed")?.removeAttribute("hidden");
    throw reason;
  }
  restFilled(wasm);
};

// The app waits for this promise, if there is one, before it asks for something that needs the rest.
globalThis.felundRest = () => (restLoaded ? undefined : restInto());

const restWanted = document.documentElement.dataset.known === "yes";
if (restWanted) restCompiled().catch(() => {});
else {
  for (const touch of ["pointerdown", "keydown", "input"]) {
    addEventListener(touch, () => restInto().catch(() => {}), { once: true, capture: true });
  }
}
