// Runs a WebAssembly test program under Node, for cargo: `node wasi.mjs PROGRAM.wasm ARGUMENTS…`.
// The program sees the checkout's files at the paths they have outside.
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { argv, cwd, env, exit } from "node:process";
import { fileURLToPath } from "node:url";
import { WASI } from "node:wasi";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [, , program, ...args] = argv;
const wasi = new WASI({
  version: "preview1",
  args: [program, ...args],
  env: { ...env, PWD: cwd() },
  preopens: { [root]: root, ".": cwd() },
  returnOnExit: true,
});
const module = await WebAssembly.compile(await readFile(resolve(program)));
const imports = wasi.getImportObject();
// An older C library for WASI knows nothing of threads, which the test harness names and does not use.
const missing = WebAssembly.Module.imports(module).filter((entry) => !(entry.module in imports));
for (const { module: from, name } of missing) {
  imports[from] ??= {};
  imports[from][name] = () => {
    throw new Error(`${from}.${name} is missing`);
  };
}
try {
  exit(wasi.start(await WebAssembly.instantiate(module, imports)));
} catch (error) {
  // A panic: it has already been printed, and this says where it came from.
  console.error(error);
  exit(101);
}
