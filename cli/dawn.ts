/**
 * Which WebGPU runs the kernels; and Dawn's package, which only those who ask for it download, into the cache folder.
 * @module
 */
import { join } from "@std/path";
import { cacheFolder, type ReadVariable } from "../pipeline/cache_folder.ts";
import { DAWN_VERSION, type DeviceOptions, NoGpuError, type ProviderName } from "../pipeline/webgpu.ts";
import { type Environment, isOffline, say } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { options, type OptionValues } from "./options.ts";
import { systemWords } from "./reading.ts";

/** Milliseconds after which a download is given up. */
const MOST_MILLISECONDS = 600_000;

/** Ends the name of a folder that is not whole. */
const INCOMPLETE = ".incomplete";

/** What is installed, and the hashes that npm's packages must have. */
const FILES = {
  "deno.json": { imports: { webgpu: `npm:webgpu@${DAWN_VERSION}` }, nodeModulesDir: "auto" },
  "deno.lock": {
    version: "5",
    specifiers: { [`npm:webgpu@${DAWN_VERSION}`]: DAWN_VERSION },
    npm: {
      "@webgpu/types@0.1.74": {
        integrity: "sha512-lgiI4hbuLcI9unnm2cL/tvCaQU45dp0xcLWJh5uB/9MBGvIA4F8XIk7nSiBeg+K4xWGYwgZKn80LmERI5CxoTA==",
      },
      "debug@4.4.3": {
        integrity: "sha512-RGwwWnwQvkVfavKVt22FGLw+xYSdzARwm0ru6DhTVA3umU5hZc28V3kO4stgYryrTlLpuvgI9GiijltAjNbcqA==",
        dependencies: ["ms"],
      },
      "ms@2.1.3": {
        integrity: "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA==",
      },
      [`webgpu@${DAWN_VERSION}`]: {
        integrity: "sha512-3L4GfmqJLvYUIEWJngEQY+2HQiUlAFkg8+P8NDDj3Xx5hHHIFO/r8JW+ynfqBj7kHN4mbnwO74uB+lrRtLhp4Q==",
        dependencies: ["@webgpu/types", "debug"],
        scripts: true,
      },
    },
    workspace: { dependencies: [`npm:webgpu@${DAWN_VERSION}`] },
  },
} as const;

const OTHERWISE = `let DENOISE_DAWN name a folder in which "npm install webgpu@${DAWN_VERSION}" has run`;

/**
 * The provider that `--webgpu` names, or else `DENOISE_WEBGPU`; Deno's own where neither does.
 *
 * @throws {UsageError} when the variable names another.
 */
export function providerOf({ webgpu }: Pick<OptionValues, "webgpu">, variable: ReadVariable): ProviderName {
  if (webgpu !== undefined) return webgpu;
  try {
    return options.webgpu.read(variable("DENOISE_WEBGPU") || "deno");
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`DENOISE_WEBGPU ${cause.message}`, { cause });
  }
}

/**
 * How devices of a provider are opened. Dawn is fetched when it is not there.
 *
 * @throws {NoGpuError} when it cannot be.
 */
export async function deviceOptions(webgpu: ProviderName, environment: Environment): Promise<DeviceOptions> {
  return webgpu === "dawn" ? { webgpu, dawn: await fetchDawn(environment) } : { webgpu };
}

/** The folder with Dawn's package, whether it is `there` or not; undefined where nothing says where files are kept. */
export function findDawn(variable: ReadVariable): { readonly folder: string; readonly there: boolean } | undefined {
  const cache = cacheFolder(variable);
  const folder = variable("DENOISE_DAWN") || (cache && join(cache, `dawn-${DAWN_VERSION}`));
  return folder ? { folder, there: isThere(folder) } : undefined;
}

function isThere(folder: string): boolean {
  try {
    return Deno.statSync(join(folder, "node_modules", "webgpu", "index.js")).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

/**
 * The folder with Dawn's package. Where nobody named one it is fetched: whole or not at all, by one process at a time.
 *
 * @throws {NoGpuError} when it cannot be, saying what to do.
 */
export async function fetchDawn(environment: Environment, install: typeof installDawn = installDawn): Promise<string> {
  const { variable } = environment;
  const { folder, there } = findDawn(variable) ?? {};
  if (folder === undefined) {
    throw new NoGpuError(`Dawn has no folder to be fetched into: set HOME or XDG_CACHE_HOME, or ${OTHERWISE}`);
  }
  // One that is named, and empty, is told when it is opened.
  if (there || variable("DENOISE_DAWN")) return folder;
  if (Deno.build.standalone) {
    throw new NoGpuError(`Dawn is not in ${folder}, and a compiled program cannot fetch it: ${OTHERWISE}`);
  }
  try {
    const cache = cacheFolder(variable)!;
    Deno.mkdirSync(cache, { recursive: true });
    say(environment, `Dawn ${DAWN_VERSION} is fetched once, 51 MB, into ${folder}`);
    using lock = Deno.openSync(join(cache, "dawn.lock"), { create: true, write: true });
    await lock.lock(true);
    if (!isThere(folder)) await replace(cache, folder, (partial) => install(partial, isOffline(environment)));
    return folder;
  } catch (cause) {
    if (cause instanceof NoGpuError || cause instanceof Deno.errors.NotCapable) throw cause;
    throw new NoGpuError(`Dawn cannot be kept in ${folder}: ${systemWords(cause as Error)}; ${OTHERWISE}`, { cause });
  }
}

/** Fills a new folder in `cache` and gives it its name. What earlier runs left, which nobody else fills now, is removed. */
async function replace(cache: string, folder: string, fill: (partial: string) => Promise<void>): Promise<void> {
  for (const { name } of Deno.readDirSync(cache)) {
    if (name.startsWith("dawn-") && name.endsWith(INCOMPLETE)) Deno.removeSync(join(cache, name), { recursive: true });
  }
  const partial = Deno.makeTempDirSync({ dir: cache, prefix: "dawn-", suffix: INCOMPLETE });
  try {
    await fill(partial);
    remove(folder);
    Deno.renameSync(partial, folder);
  } finally {
    remove(partial);
  }
}

function remove(folder: string): void {
  try {
    Deno.removeSync(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Installs the package in an empty folder, with Deno itself, which checks the hashes.
 *
 * @param variables of the environment that Deno runs in, beside this one's
 * @throws {NoGpuError} when it cannot be had, or not in time.
 */
export async function installDawn(
  folder: string,
  offline: boolean,
  variables: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const [name, content] of Object.entries(FILES)) {
    Deno.writeTextFileSync(join(folder, name), `${JSON.stringify(content, undefined, 2)}\n`);
  }
  const child = new Deno.Command(Deno.execPath(), {
    args: ["install", "--frozen", "--quiet", ...(offline ? ["--cached-only"] : [])],
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    env: { NO_COLOR: "1", ...variables },
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill();
  }, MOST_MILLISECONDS);
  const { success, stderr } = await child.output().finally(() => clearTimeout(timer));
  if (success) return;
  const why = late
    ? `it took more than ${MOST_MILLISECONDS / 60_000} minutes`
    : reasonOf(new TextDecoder().decode(stderr));
  throw new NoGpuError(
    `Dawn ${DAWN_VERSION} cannot be fetched from npm: ${why}; where there is no network, ${OTHERWISE}`,
  );
}

/** The first cause that Deno names, or what it says first. */
function reasonOf(stderr: string): string {
  const [, cause = stderr] = /Caused by:\s*(?:0: )?(.+)/.exec(stderr) ?? [];
  return cause.trim().split("\n")[0]!.slice(0, 300);
}
