/**
 * Drivers keep what they compiled on disk, and what one thread or process compiled serves every other. Deno 2.9 makes
 * pipelines within the call, even where they are asked for asynchronously: the first ones that a machine ever makes are
 * compiled side by side all the same, by threads with devices of their own that leave them in that cache.
 * @module
 */

/** Of 57 pipelines on an H200, 8.3 s long on one thread, twelve threads compile no faster than four: one is the longest. */
const MOST_THREADS = 4;

const WORKER = new URL("./compile_worker.ts", import.meta.url);

/**
 * Compiles shaders on other threads. What fails there is left to whoever makes the pipeline; returns how many shaders the
 * threads went through: none where this program may not start them.
 */
export async function fillShaderCache(texts: readonly string[]): Promise<number> {
  // Otherwise Deno would ask the user.
  const isAllowed = WORKER.protocol !== "file:" ||
    (await Deno.permissions.query({ name: "read", path: WORKER })).state === "granted";
  if (!isAllowed) return 0;
  const threads = Math.min(MOST_THREADS, texts.length, navigator.hardwareConcurrency);
  const shares = Array.from({ length: threads }, (_, thread) => texts.filter((_, i) => i % threads === thread));
  const done = await Promise.all(shares.map(compileAside));
  return done.reduce((sum, count) => sum + count, 0);
}

async function compileAside(texts: readonly string[]): Promise<number> {
  const worker = new Worker(WORKER, { type: "module" });
  const { promise, resolve } = Promise.withResolvers<number>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve(0);
  };
  worker.postMessage(texts);
  try {
    return await promise;
  } finally {
    worker.terminate();
  }
}
