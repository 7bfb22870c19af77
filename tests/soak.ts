/**
 * Days of use in an hour: `deno task soak`, or with smaller numbers `deno task soak --mutations 10000 --pictures 20
 * --kills 10`. Prints what was measured; the exit code is 1 where memory or time grew, or something was left half done.
 * @module
 */
import { join } from "@std/path";
import process from "node:process";
import { Gpu, Pipeline, type Request } from "../pipeline/mod.ts";
import { startDenoise } from "./cli/denoise_process.ts";
import { inFolder } from "./cli/temporary_folder.ts";
import { openTinyModel } from "./tiny_model.ts";
import { drawing, openMutated } from "./weights/safetensors_mutations.ts";

/** How much a process may grow after it has warmed up, and how much slower it may become. */
const MOST_GROWTH = 0.05;
const MOST_SLOWDOWN = 0.25;

/** The young generation grows in steps to 32 MiB, the last one after 150,000 files: held small, what grows is kept. */
const V8 = "--v8-flags=--max-semi-space-size=2";

/** Fewer repetitions than this have not warmed up. */
const FEWEST = 200;

/** Each part, how often it repeats, and what it does; it returns a line for people, or fails with one. */
const PARTS = { mutations: [1_000_000, mutate], pictures: [500, draw], kills: [200, kill] } as const;
type Part = keyof typeof PARTS;

/** What a process has used when some repetitions were done. */
interface Sample {
  readonly bytes: number;
  /** Of all its threads, so that other work on the machine does not count. */
  readonly microseconds: number;
}

/** Repeats `act` and compares the second quarter with the last. */
async function repeat(count: number, act: (i: number) => void | Promise<void>): Promise<string> {
  const samples: Sample[] = [];
  const every = Math.max(1, Math.floor(count / 200));
  for (let i = 0; i < count; i += every) {
    const before = process.cpuUsage();
    for (let k = i; k < Math.min(i + every, count); k++) await act(k);
    const { user, system } = process.cpuUsage(before);
    samples.push({ bytes: Deno.memoryUsage().rss, microseconds: (user + system) / Math.min(every, count - i) });
  }
  const [second, last] = [1, 3].map((from) => {
    const quarter = samples.slice(from * samples.length / 4, (from + 1) * samples.length / 4);
    return {
      bytes: quarter.map(({ bytes }) => bytes).toSorted((a, b) => a - b)[quarter.length >> 1] ?? NaN,
      // Other work on the machine takes caches and clock away, and never gives any.
      microseconds: Math.min(...quarter.map(({ microseconds }) => microseconds)),
    };
  }) as [Sample, Sample];
  const { bytes, microseconds } = last;
  const growth = bytes / second.bytes - 1;
  const slowdown = microseconds / second.microseconds - 1;
  const percent = (share: number) => `${share < 0 ? "" : "+"}${(100 * share).toFixed(1)} %`;
  const told = `${(microseconds / 1000).toFixed(2)} ms of CPU each (${percent(slowdown)}), ` +
    `RSS ${(bytes / 2 ** 20).toFixed(0)} MiB (${percent(growth)})`;
  if (count < FEWEST) return `${told}; too few to judge`;
  if (growth > MOST_GROWTH || slowdown > MOST_SLOWDOWN) throw new Error(`${told}: it grew or slowed down`);
  return told;
}

/** Opens files that are nearly good. */
function mutate(count: number): Promise<string> {
  return inFolder(async (folder) => {
    const outcomes = { model: 0, error: 0 };
    const told = await repeat(count, (seed) => void outcomes[openMutated(join(folder, "model.safetensors"), seed)]++);
    return `${outcomes.error} refused, ${outcomes.model} read; ${told}`;
  });
}

/** Draws pictures of changing sizes with the library; every fifth is unguided, so that programs are recorded anew. */
async function draw(count: number): Promise<string> {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model);
  const held = new Set<number>();
  const told = await repeat(count, async (i) => {
    const request: Request = {
      prompt: `a (red:1.2) fox ${i}`,
      negativePrompt: "",
      promptSyntax: "a1111",
      seed: BigInt(i),
      steps: 2,
      guidance: i % 5 === 0 ? 1 : 5,
      width: i % 3 === 0 ? 72 : 64,
      height: 64,
      rng: "cpu",
    };
    await Array.fromAsync(pipeline.generate(request));
    if (i % 15 === 14) held.add(gpu.bytes);
  });
  if (held.size > 1) throw new Error(`The GPU's memory is not what it was: ${[...held].join(", ")} bytes`);
  return `${told}, ${((held.values().next().value ?? gpu.bytes) / 2 ** 20).toFixed(1)} MiB of the GPU`;
}

const LINES = Array.from({ length: 12 }, (_, i) => `a red apple ${i}`);
const BATCH = ["batch", "../lines.txt", "--steps", "1", "--width", "64", "--height", "64", "--preview", "preview.png"];

/** Kills batches at random moments; what they leave is whole, and the next run sweeps the rest. */
function kill(count: number): Promise<string> {
  return inFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "lines.txt"), LINES.join("\n"));
    const variables = { XDG_CACHE_HOME: join(folder, "cache") };
    const pictures = join(folder, "pictures");
    Deno.mkdirSync(pictures);
    const run = async (args: readonly string[], milliseconds?: number) => {
      const child = startDenoise([...BATCH, ...args], {
        folder: pictures,
        variables,
      });
      const timer = milliseconds === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), milliseconds);
      const { code } = await child.output();
      clearTimeout(timer);
      return code;
    };
    // The first one also times kernels, which the others know then.
    if (await run([]) !== 0) throw new Error("A batch that nobody kills fails");
    const start = performance.now();
    await run([]);
    const whole = performance.now() - start;
    const random = drawing(1);
    let killed = 0;
    let seen = 0;
    for (let i = 0; i < count; i++) {
      for (const { name } of Deno.readDirSync(pictures)) if (random(2) === 0) Deno.removeSync(join(pictures, name));
      if (await run(random(2) === 0 ? [] : ["--skip-existing"], random(Math.ceil(whole))) !== 0) killed++;
      seen += checkWhole(pictures) + checkWhole(variables.XDG_CACHE_HOME);
    }
    if (await run([]) !== 0) throw new Error("The batch after all kills failed");
    const left = Array.from(Deno.readDirSync(pictures), ({ name }) => name);
    if (left.length !== LINES.length + 1) throw new Error(`Left over: ${left.join(", ")}`);
    return `${killed} killed, ${count - killed} had ended; ${seen} files looked at, none half written`;
  });
}

/** Looks at every file that has its own name; returns how many there are. */
function checkWhole(folder: string): number {
  let seen = 0;
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) seen += checkWhole(path);
    if (/\.json$/.test(name)) JSON.parse(Deno.readTextFileSync(path));
    else if (!/^[^.].*\.png$/.test(name)) continue;
    else if (!Deno.readFileSync(path).toHex().endsWith("0000000049454e44ae426082")) throw new Error(`${path} is cut`);
    seen++;
  }
  return seen;
}

/** The options, `--name number`. */
function readOptions(args: readonly string[]): ReadonlyMap<string, number> {
  const options = new Map<string, number>();
  for (let i = 0; i < args.length; i += 2) {
    const [name, count] = [args[i]!.replace(/^--/, ""), Number(args[i + 1])];
    if (!(name in PARTS) || !Number.isInteger(count)) {
      throw new Error(`--${Object.keys(PARTS).join(", --")} take numbers`);
    }
    options.set(name, count);
  }
  return options;
}

if (import.meta.main) {
  const say = (line: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  const options = readOptions(Deno.args);
  const [only] = options.keys();
  if (options.size === 1) {
    const [, act] = PARTS[only as Part];
    try {
      say(`${options.get(only!)} ${only}: ${await act(options.get(only!)!)}`);
    } catch (error) {
      say(`${only}: ${(error as Error).message}`);
      Deno.exit(1);
    }
  } else {
    // Each in a process of its own, whose memory nothing else has filled.
    const codes: number[] = [];
    for (const [part, [count]] of Object.entries(PARTS)) {
      const args = ["run", "-A", V8, import.meta.filename!, `--${part}`, `${options.get(part) ?? count}`];
      codes.push((await new Deno.Command(Deno.execPath(), { args }).spawn().status).code);
    }
    Deno.exit(Math.max(...codes));
  }
}
