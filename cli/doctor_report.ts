/**
 * What `denoise doctor` found, and how people read it.
 * @module
 */
import type { AdapterInfo, Examination } from "../pipeline/mod.ts";
import type { CacheSize, ModelDescription } from "../pipeline/models.ts";
import type { Build } from "./build.ts";
import { showBytes } from "./byte_count.ts";

/** What was found: the document under `--json`. What needs a GPU is absent without one. */
export interface DoctorReport extends Build, Partial<Examination> {
  readonly schema: 1;
  /** The GPU. */
  readonly adapter?: AdapterInfo;
  /** Why there is none. */
  readonly problem?: string;
  /** What there is to draw with. */
  readonly models: readonly ModelDescription[];
  /** Cache folders. */
  readonly caches: readonly CacheSize[];
  /** What is wrong or slow, why, and what can be done. */
  readonly advice: readonly string[];
}

/** The report as text. */
export function writeDoctorReport(report: DoctorReport): string {
  const { version, commit, deno, models, caches, advice } = report;
  const sections: readonly (readonly [heading: string, lines: readonly string[]])[] = [
    [`denoise ${version}${commit === undefined ? "" : `, commit ${commit}`}, Deno ${deno}`, []],
    describeGpu(report),
    [
      "Self-tests",
      report.tests?.map(({ name, failure }) => failure ? `WRONG: ${name}: ${failure}` : `right: ${name}`) ?? [],
    ],
    [
      "Models",
      models.map(({ name, bytes, problem }) => `${name}, ${showBytes(bytes)}${problem ? `: ${problem}` : ""}`),
    ],
    ["Caches", caches.map(({ owner, folder, bytes }) => `${owner}: ${folder}, ${showBytes(bytes)}`)],
    ["To know", advice],
  ];
  return sections.filter(([, lines], i) => i < 2 || lines.length > 0)
    .map(([heading, lines]) => [heading, ...lines.map((line) => `  ${line}`)].join("\n") + "\n").join("");
}

function describeGpu(
  { adapter, driver, problem, features = {}, limits = {}, kernels }: DoctorReport,
): readonly [heading: string, lines: readonly string[]] {
  if (adapter === undefined) return ["GPU: none that works", [problem ?? ""]];
  const { description, vendor, architecture, software } = adapter;
  const told = [
    ["vendor", vendor],
    ["architecture", architecture],
    ["driver", driver],
    ...Object.entries(features).map(([name, has]) => [name, has ? "yes" : "no"]),
    ...Object.entries(limits).map(([name, value]) => [name, `${value}`]),
    ["kernels", kernels && `${kernels.backend} (${kernels.why})`],
  ];
  const lines = told.flatMap(([name, value]) => value ? [`${name}: ${value}`] : []);
  return [`GPU: ${description}${software ? ", a software renderer" : ""}`, lines];
}
