/**
 * What `denoise bench` found, as data, as text and, of an ablation, as a chart.
 * @module
 */
import type {
  AblationRow,
  Ceilings,
  Choice,
  KernelRate,
  OperationTime,
  Spread,
  StageOperations,
  StageTimes,
} from "../pipeline/bench/mod.ts";
import type { AdapterInfo, Deviation, Precision, StageBytes } from "../pipeline/mod.ts";
import type { Optimizations } from "../pipeline/optimizations.ts";
import type { Build } from "./build.ts";
import { showCount, showGibibytes, showStages } from "./byte_count.ts";
import { inline } from "./terminal.ts";

/** The document of `bench --json`; times are milliseconds. */
export interface BenchReport extends Build {
  readonly schema: 1;
  readonly adapter: AdapterInfo;
  readonly model: string;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidance: number;
  readonly precision: Precision;
  readonly kernels: Optimizations;
  /** What the machine reached before and after: where they differ it was disturbed. */
  readonly ceilings: { readonly before: Ceilings; readonly after: Ceilings };
  /** Reading weights and sending them to the GPU. */
  readonly load: number;
  readonly pipelines: { readonly count: number; readonly milliseconds: number };
  readonly peakBytes: number;
  /** What each stage takes by itself. */
  readonly stageBytes: StageBytes;
  readonly stages?: StageTimes;
  readonly operations?: StageOperations;
  /** Kernels on shapes that no model has. */
  readonly rates?: readonly KernelRate[];
  readonly ablation?: readonly AblationRow[];
  readonly choices?: readonly Choice[];
  /** How far each stage is from what diffusers computed. */
  readonly check?: readonly Deviation[];
}

/** How many operations of each stage the text shows; JSON has all. */
const SHOWN = 20;

export function writeReport(report: BenchReport): string {
  const { stages, operations, rates, ablation, choices, check } = report;
  return [
    describe(report),
    ...(stages ? [writeStages(stages)] : []),
    ...(operations ? [writeOperations(report, "One step", operations.step)] : []),
    ...(operations ? [writeOperations(report, "Decode", operations.decode)] : []),
    ...(rates ? [writeRates(report, rates)] : []),
    ...(ablation ? [writeAblation(ablation)] : []),
    ...(choices ? [writeChoices(choices)] : []),
    ...(check ? [writeCheck(check)] : []),
  ].join("\n");
}

function describe(report: BenchReport): string {
  const { adapter, driver, version, commit, ceilings, pipelines } = report;
  const [before, after] = [ceilings.before, ceilings.after].map(({ teraflops, gigabytes }) =>
    `${rate(teraflops * 1e12, "FLOP")} in registers and ${rate(gigabytes * 1e9, "B")} copied`
  );
  return [
    `${adapter.description}${driver ? `, driver ${driver}` : ""}`,
    `denoise ${version}${commit ? ` at ${commit}` : ""}, ${runtimeOf(report)}`,
    `${report.model}, ${report.width}x${report.height}, ${
      showCount(report.steps, "step")
    }, guidance ${report.guidance}`,
    `Reached ${before} before, ${after} after`,
    `Loaded in ${seconds(report.load)}; ${showCount(pipelines.count, "pipeline")} made in ${
      seconds(pipelines.milliseconds)
    }; ` +
    `at most ${showGibibytes(report.peakBytes)} of GPU memory, by itself ${showStages(report.stageBytes)}`,
  ].map((text) => `${inline(text)}\n`).join("");
}

/** Deno, and the WebGPU where it is another. */
function runtimeOf({ deno, adapter: { webgpu } }: BenchReport): string {
  return [...new Set([`Deno ${deno}`, webgpu])].join(", ");
}

function writeStages({ text, step, decode, picture, first }: StageTimes): string {
  const row = (name: string, { low, median, count }: Spread) => [name, number(low), number(median), `${count}`];
  return table(["Stage", "ms", "median", "times"], [
    row("text encoder", text),
    row("one step", step),
    row("decode", decode),
    row("whole picture", picture),
    row("first picture", { low: first, median: first, count: 1 }),
  ]);
}

function writeOperations({ ceilings }: BenchReport, stage: string, operations: readonly OperationTime[]): string {
  const total = operations.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = operations.slice(0, SHOWN).map((operation) => {
    const { count, milliseconds } = operation;
    const share = `${(100 * milliseconds / total).toFixed(1)} %`;
    const name = `${operation.operation}, ${operation.kernels}`;
    const reached = ceilingPercent(operation, ceilings);
    return [name, `${count}`, number(milliseconds), share, operationRate(operation, milliseconds), reached];
  });
  return table([`${stage}: ${number(total)} ms`, "times", "ms", "share", "rate", "of ceiling"], rows);
}

function writeRates({ ceilings }: BenchReport, rates: readonly KernelRate[]): string {
  const rows = rates.map(({ name, elements, flops, milliseconds }) => {
    const operation = { flops, bytes: 0, milliseconds };
    const reached = [operationRate(operation, milliseconds), ceilingPercent(operation, ceilings)];
    return [`${name}, ${elements}`, number(milliseconds), ...reached];
  });
  return table(["Kernel", "ms", "rate", "of ceiling"], rows);
}

function writeAblation(rows: readonly AblationRow[]): string {
  const cells = rows.map(({ name, times: { step, decode, picture } }, i) => [
    name,
    number(step.low),
    reduction(rows, i, "step"),
    number(decode.low),
    number(picture.low),
    reduction(rows, i),
  ]);
  return table(["", "one step ms", "reduction", "decode ms", "picture ms", "reduction"], cells);
}

function writeChoices(choices: readonly Choice[]): string {
  const rows = choices.flatMap((choice) => [
    [choice.operation, "", "", ""],
    ...choice.kernels.toSorted((a, b) => a.milliseconds - b.milliseconds).map(({ name, milliseconds, chosen }) => [
      `${chosen ? "* " : "  "}${name}`,
      number(milliseconds),
      operationRate(choice, milliseconds),
      chosen ? choice.by ?? "option" : "",
    ]),
  ]);
  return table(["Operation, and its kernels; * runs", "ms", "rate", "chosen by"], rows);
}

function writeCheck(deviations: readonly Deviation[]): string {
  const rows = deviations.map(({ name, error, allowed }) => [
    name,
    error.toExponential(1),
    allowed.toExponential(0),
    error <= allowed ? "right" : "WRONG",
  ]);
  return table(["Compared with diffusers", "relative error", "allowed", ""], rows);
}

/** How much less time a row's picture, or step, takes than the first row's, as the paper writes it: `-52.2 %`. */
function reduction(rows: readonly AblationRow[], index: number, stage: "picture" | "step" = "picture"): string {
  if (index === 0) return "";
  const share = 1 - rows[index]!.times[stage].low / rows[0]!.times[stage].low;
  return `${share < 0 ? "+" : "-"}${Math.abs(100 * share).toFixed(1)} %`;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toPrecision(3)} s`;
}

function number(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 100 ? 2 : 0);
}

/**
 * An operation's share of what the machine reached without a model, of arithmetic where it has any, otherwise of memory.
 * Winograd, which multiplies less than the definition, and data in caches can be above 100 %.
 */
function ceilingPercent(
  { flops, bytes, milliseconds }: Pick<OperationTime, "flops" | "bytes" | "milliseconds">,
  { before, after }: BenchReport["ceilings"],
): string {
  const most = (name: "teraflops" | "gigabytes") => Math.max(before[name], after[name]);
  const [amount, ceiling] = flops > 0 ? [flops, 1e9 * most("teraflops")] : [bytes, 1e6 * most("gigabytes")];
  return `${(100 * amount / milliseconds / ceiling).toFixed(0)} %`;
}

/** What an operation reaches: arithmetic where it has any, otherwise memory. */
function operationRate({ flops, bytes }: Pick<OperationTime, "flops" | "bytes">, milliseconds: number): string {
  if (flops > 0) return rate(1000 * flops / milliseconds, "FLOP");
  return bytes > 0 ? rate(1000 * bytes / milliseconds, "B") : "";
}

function rate(perSecond: number, unit: string): string {
  const [size, prefix] = perSecond >= 1e12 ? [1e12, "T"] : [1e9, "G"];
  return `${(perSecond / size).toPrecision(3)} ${prefix}${unit}/s`;
}

/** Columns as wide as they need to be, the first one aligned to the left, the others to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd();
  return [head, ...rows].map((cells) => `${line(cells)}\n`).join("");
}

/** The chart's measures in pixels. */
const WIDTH = 840;
const NAMES = 264;
const BARS = 400;
const ROW = 34;
const TOP = 84;

/** Parts of a bar, from the left; the colours differ in brightness, too. */
const PARTS = [
  { name: "denoising", colour: "#1f5fa8" },
  { name: "VAE decoder", colour: "#6fa8dc" },
  { name: "everything else", colour: "#cfd8e3" },
] as const;

/** An SVG of what whole pictures take, a bar for each row of the report's ablation. */
export function drawChart(report: BenchReport): string {
  const rows = report.ablation ?? [];
  const longest = Math.max(...rows.map(({ times }) => times.picture.low));
  const { adapter, model, width, height, steps } = report;
  const bottom = TOP + rows.length * ROW + 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${bottom}" viewBox="0 0 ${WIDTH} ${bottom}" ` +
    `font-family="sans-serif" font-size="14">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(16, 28, `${model}, ${width}x${height}, ${showCount(steps, "step")}`, `font-size="17" font-weight="bold"`),
    text(16, 50, adapter.description),
    ...PARTS.flatMap(({ name, colour }, i) => [
      rectangle(NAMES + 150 * i, TOP - 24, 12, 12, colour),
      text(NAMES + 150 * i + 18, TOP - 13, name),
    ]),
    ...rows.flatMap((_, i) => bar(rows, i, BARS / longest)),
    "</svg>\n",
  ].join("\n");
}

function bar(rows: readonly AblationRow[], index: number, scale: number): readonly string[] {
  const { name, times } = rows[index]!;
  const { step, decode, picture, evaluations } = times;
  const y = TOP + index * ROW;
  const known = [evaluations * step.low, decode.low];
  const parts = [...known, Math.max(0, picture.low - known[0]! - known[1]!)];
  const starts = parts.map((_, i) => NAMES + scale * parts.slice(0, i).reduce((a, b) => a + b, 0));
  const label = [seconds(picture.low), reduction(rows, index)].filter(Boolean).join(", ");
  return [
    text(16, y + 20, name),
    ...parts.map((part, i) => rectangle(starts[i]!, y + 5, scale * part, ROW - 12, PARTS[i]!.colour)),
    text(starts[2]! + scale * parts[2]! + 8, y + 20, label),
  ];
}

function rectangle(x: number, y: number, width: number, height: number, colour: string): string {
  return `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${height}" fill="${colour}"/>`;
}

function text(x: number, y: number, words: string, attributes = ""): string {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y}" fill="#1b1f24" ${attributes}>${escaped}</text>`;
}
