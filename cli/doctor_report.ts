/**
 * What `denoise doctor` found, how people read it, and what can be done about it.
 * @module
 */
import type {
  AdapterInfo,
  Examination,
  MatrixShape,
  ModelDefaults,
  ProviderName,
  StageBytes,
} from "../pipeline/mod.ts";
import type { CacheSize, ModelDescription } from "../pipeline/models.ts";
import type { Build } from "./build.ts";
import { showBytes, showStages } from "./byte_count.ts";
import { inline } from "./terminal.ts";

/** A WebGPU that the program can run on. */
export interface ProviderDescription {
  readonly name: ProviderName;
  readonly version: string;
  /** Where it is, or would be fetched into; Deno's own is part of Deno. */
  readonly folder?: string;
  readonly there: boolean;
}

/** GPU memory that a picture of a model's own size takes, in bytes by stage, or why there is none. */
export interface ModelMemory extends Partial<Pick<ModelDefaults, "width" | "height">> {
  readonly name: string;
  readonly stageBytes?: StageBytes;
  readonly problem?: string;
}

/** What was found: the document under `--json`. What needs a GPU is absent without one. */
export interface DoctorReport extends Build, Partial<Examination> {
  readonly schema: 1;
  readonly providers: readonly ProviderDescription[];
  readonly adapter?: AdapterInfo;
  /** What a subgroup multiplies at once, as far as the provider can use it. */
  readonly matrices?: readonly MatrixShape[];
  readonly memory?: readonly ModelMemory[];
  /** Why there is no GPU. */
  readonly problem?: string;
  readonly models: readonly ModelDescription[];
  readonly caches: readonly CacheSize[];
  readonly advice: readonly string[];
}

/** The report as text. */
export function writeDoctorReport(report: DoctorReport): string {
  const { version, commit, deno, models, memory = [], caches, advice } = report;
  const tests = report.tests?.map(({ name, failure }) => failure ? `WRONG: ${name}: ${failure}` : `right: ${name}`);
  const sections: readonly (readonly [heading: string, lines: readonly string[]])[] = [
    [`denoise ${version}${commit === undefined ? "" : `, commit ${commit}`}, Deno ${deno}`, []],
    ["WebGPU", report.providers.map(describeProvider)],
    describeGpu(report),
    ["Self-tests", tests ?? []],
    [
      "Models",
      models.map(({ name, bytes, family, problem }) => {
        return `${name}, ${showBytes(bytes)}${family ? `, ${family}` : ""}${problem ? `: ${problem}` : ""}`;
      }),
    ],
    ["GPU memory that stages of a picture take", memory.map(describeMemory)],
    ["Caches", caches.map(({ owner, folder, bytes }) => `${owner}: ${folder}, ${showBytes(bytes)}`)],
    ["To know", advice],
  ];
  return sections.filter(([, lines], i) => i < 2 || lines.length > 0)
    .flatMap(([heading, lines]) => [inline(heading), ...lines.map((line) => `  ${inline(line)}`)])
    .map((line) => `${line}\n`).join("");
}

function describeMemory({ name, width, height, stageBytes = {}, problem }: ModelMemory): string {
  return `${name}${problem === undefined ? ` at ${width}x${height}: ${showStages(stageBytes)}` : `: ${problem}`}`;
}

function describeProvider({ name, version, folder, there }: ProviderDescription): string {
  if (name === "deno") return `deno ${version}, Deno's own`;
  return `${name} ${version}, ${there ? "in" : "not yet in"} ${folder ?? "any folder"}`;
}

function describeGpu(
  { adapter, matrices = [], driver, problem, features = {}, limits = {}, kernels }: DoctorReport,
): readonly [heading: string, lines: readonly string[]] {
  if (adapter === undefined) return ["GPU: none that works", [problem ?? ""]];
  const { description, vendor, architecture, software, webgpu } = adapter;
  const shapes = matrices.map(({ m, n, k }) => `${m}x${n}x${k}`).join(", ") || "none";
  const told = [
    ["WebGPU", webgpu],
    ["vendor", vendor],
    ["architecture", architecture],
    ["driver", driver],
    ...Object.entries(features).map(([name, has]) => [name, has ? "yes" : "no"]),
    ...Object.entries(limits).map(([name, value]) => [name, `${value}`]),
    ["matrices of float16 that a subgroup multiplies", isDawn(adapter) ? shapes : "Deno's own WebGPU has none"],
    ["kernels", kernels && `${kernels.backend} (${kernels.why})`],
  ];
  const lines = told.flatMap(([name, value]) => value ? [`${name}: ${value}`] : []);
  return [`GPU: ${description}${software ? ", a software renderer" : ""}`, lines];
}

/** The oldest Deno that the program is tested with. */
const OLDEST_DENO = [2, 9] as const;

/** What is wrong or slow, why, and what can be done; a sentence each. */
export function adviseOn(found: Omit<DoctorReport, "advice">): readonly string[] {
  const { deno, adapter, matrices, features, limits, kernels, tests = [], caches } = found;
  const card = adapter !== undefined && !adapter.software;
  const lacks = (name: string) => features?.[name] === false;
  const wrong = tests.filter(({ failure }) => failure !== undefined);
  const bound = limits?.maxStorageBufferBindingSize ?? Infinity;
  const rules: readonly (readonly [applies: boolean | undefined, advice: string])[] = [
    [isOld(deno), `Deno ${deno} is older than ${OLDEST_DENO.join(".")}, which this program needs: run deno upgrade`],
    [
      wrong.length > 0,
      "This GPU returns wrong results, and pictures would be wrong, too: another version of its driver may help",
    ],
    [
      wrong.length > 0 && wrong.every(({ name }) => name.includes("float16")),
      "Only float16 is wrong: --precision f32 does without it",
    ],
    [
      adapter?.software,
      "This GPU is a software renderer, which runs on the CPU: a picture of the embedded model takes seconds, one of " +
      "Stable Diffusion many minutes; if there is a graphics card, it needs its driver",
    ],
    [
      adapter?.software && kernels?.backend === "buffer",
      "Kernels that read buffers are slow on software renderers, but those that read textures do not pay off here",
    ],
    [
      card && !isDawn(adapter),
      "Deno's own WebGPU does not reach a GPU's tensor cores, and Dawn does: draw with --webgpu dawn once, which fetches " +
      "it, then doctor --webgpu dawn tells whether this GPU has some. On an NVIDIA H200 a step of Stable Diffusion 1.4 " +
      "took 17 ms with them and 36 ms without",
    ],
    [
      card && isDawn(adapter) && matrices?.length === 0,
      "This GPU and its driver offer Dawn no matrices of float16, so nothing is gained over Deno's own WebGPU",
    ],
    [lacks("shader-f16"), "Without shader-f16 all arithmetic is float32: activations take twice the memory"],
    [lacks("subgroups"), "Without subgroups sums go through workgroup memory, which is slower"],
    [
      lacks("timestamp-query"),
      "Without timestamp-query kernels cannot be timed: built-in tables choose them, and bench cannot run",
    ],
    [
      bound < 2 ** 30,
      `This GPU binds at most ${
        bound / 2 ** 20
      } MiB at once: that is enough for Stable Diffusion 1.4 at 512x512, and ` +
      "pictures that need more are decoded in tiles",
    ],
    [caches.length === 0, "There is no cache folder, so timings are not kept: set HOME or XDG_CACHE_HOME"],
  ];
  return rules.flatMap(([applies, advice]) => applies ? [advice] : []);
}

function isDawn({ webgpu }: AdapterInfo): boolean {
  return webgpu.startsWith("Dawn ");
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major < OLDEST_DENO[0] || (major === OLDEST_DENO[0] && minor < OLDEST_DENO[1]);
}
