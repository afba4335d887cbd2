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

const restFilled = (first, instantiate) => {
  const filled = () => {
    // What is needed offline from now on; the worker keeps what it does not have yet.
    navigator.serviceWorker?.ready.then(({ active }) => active?.postMessage("keep all"));
    first.rest.value = 1;
    restLoaded = true;
  };
  const made = instantiate({ ...__wbg_get_imports(), first });
  return made instanceof Promise ? made.then(filled) : filled();
};

// Before the first part runs.
const restBegun = async (first) => {
  if (restWanted) await restFilled(first, async (imports) => WebAssembly.instantiate(await restCompiled(), imports));
};

// For code that cannot wait: something of the rest is called before it is there.
const restNow = () => {
  console.warn("the rest of the app was called for", new Error().stack);
  const request = new XMLHttpRequest();
  request.open("GET", restUrl, false);
  request.overrideMimeType("text/plain; charset=x-user-defined");
  try {
    request.send();
  } catch (reason) {
    // Whatever was being done stays half done.
    document.getElementById("crashed")?.removeAttribute("hidden");
    throw reason;
  }
  const bytes = Uint8Array.from(request.responseText, (char) => char.charCodeAt(0));
  restFilled(wasm, (imports) => new WebAssembly.Instance(new WebAssembly.Module(bytes), imports));
};

let restLoading = null;
// The app waits for this promise, if there is one, before it asks for something that needs the rest.
globalThis.felundRest = () => {
  if (restLoaded) return;
  restLoading ||= restCompiled()
    .then((module) => restLoaded || restFilled(wasm, (imports) => WebAssembly.instantiate(module, imports)))
    .finally(() => {
      restLoading = null;
    });
  return restLoading;
};

const restWanted = document.documentElement.dataset.known === "yes";
if (restWanted) restCompiled().catch(() => {});
else {
  for (const touch of ["pointerdown", "keydown", "input"]) {
    addEventListener(touch, () => restCompiled().catch(() => {}), { once: true, capture: true });
  }
}
