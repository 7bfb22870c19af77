/**
 * Folders that live as long as a test.
 * @module
 */

/** Runs `test` in an empty folder, which is then removed. */
export async function inFolder<Result>(test: (folder: string) => Result | Promise<Result>): Promise<Result> {
  const folder = await Deno.makeTempDir();
  try {
    return await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The same as a function without parameters, as `Deno.test` takes it. */
export function withFolder(test: (folder: string) => void | Promise<void>): () => Promise<void> {
  return () => inFolder(test);
}
