/**
 * Where files are kept that can be made or fetched again.
 * @module
 */
import { isAbsolute, join } from "@std/path";

/** Reads an environment variable; undefined when it is not set. */
export type ReadVariable = (name: string) => string | undefined;

/**
 * The program's cache folder, which need not exist: `$XDG_CACHE_HOME/denoise` where that is absolute, otherwise the
 * system's own place for caches. Undefined where nothing says where the user's files are.
 */
export function cacheFolder(
  variable: ReadVariable,
  system: typeof Deno.build.os = Deno.build.os,
): string | undefined {
  const named = variable("XDG_CACHE_HOME");
  if (named !== undefined && isAbsolute(named)) return join(named, "denoise");
  if (system === "windows") {
    const local = variable("LOCALAPPDATA");
    return local ? join(local, "denoise") : undefined;
  }
  const home = variable("HOME");
  return home ? join(home, ...(system === "darwin" ? ["Library", "Caches"] : [".cache"]), "denoise") : undefined;
}
